"""Captions as word pieces: BERT-uncased normalisation, WordPiece, cut at the paper's 41 pieces."""
from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

from crawl import storage
from crawl.errors import UsageError

# Section 2.2 of paper.md: 144 positions are 100 regions and 44 others, of which [CLS] and two [SEP] are no word pieces.
MAX_PIECES = 41
PAD, UNK, CLS, SEP, MASK = SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# What BERT's splitting makes of printable ASCII in small letters: words, and each other sign for itself.
_ASCII_WORDS = re.compile("[a-z0-9]+|[!-/:-@[-`{-~]")
_MOST_KNOWN = 1 << 16              # words whose pieces are kept


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CaptionTokenizer:
    """A WordPiece vocabulary and the way captions are cut with it."""

    vocab: tuple[str, ...]         # pieces by id
    digest: str                    # sha256 of vocab.txt
    ids: dict[str, int]            # special token -> id
    _tokenizer: Any
    _known: dict[str, list[int]] = dataclasses.field(default_factory=dict)     # word -> its pieces

    @property
    def vocab_size(self) -> int:
        """Returns the number of pieces, specials included."""
        return len(self.vocab)

    def encode(self, caption: str) -> tuple[list[int], int]:
        """Returns the ids of a caption's first 41 pieces, without [CLS] and [SEP], and how many pieces were cut."""
        if caption.isascii() and caption.isprintable():
            # Pieces are those of single words, and most words were seen before: a tenth of the time.
            ids = []
            for word in _ASCII_WORDS.findall(caption.lower()):
                ids += self._known.get(word) or self._learned(word)
        else:
            ids = self._pieces(caption)
        return ids[:MAX_PIECES], max(len(ids) - MAX_PIECES, 0)

    def decode(self, ids: list[int]) -> str:
        """Returns pieces as readable text."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)

    def _pieces(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _learned(self, word: str) -> list[int]:
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[word] = found = self._pieces(word)
        return found


def load_tokenizer(vocab_path: str) -> CaptionTokenizer:
    """Returns the tokenizer of a `vocab.txt`, one piece a line, in the order of their ids.

    Raises UsageError when the file is missing, is not UTF-8, repeats a piece or lacks a special token.
    """
    try:
        return tokenizer_of(storage.read_bytes(vocab_path), vocab_path)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UsageError(f"{vocab_path}: no such vocabulary; give a vocab.txt with one word piece a line") from error


def tokenizer_of(data: bytes, name: str) -> CaptionTokenizer:
    """Returns the tokenizer of the bytes of a vocab.txt; raises UsageError that names the file."""
    vocab = parse_vocab(data, name)
    return CaptionTokenizer(vocab=vocab, digest=hashlib.sha256(data).hexdigest(),
                            ids={token: vocab.index(token) for token in SPECIALS}, _tokenizer=_tokenizer_of(vocab))


def parse_vocab(data: bytes, name: str) -> tuple[str, ...]:
    """Returns the pieces in the bytes of a vocab.txt; raises UsageError that names the file."""
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name}: not UTF-8 at byte {error.start}; save the vocabulary as UTF-8") from error
    vocab = tuple(line.rstrip("\r") for line in (lines[:-1] if lines[-1] == "" else lines))
    missing = [token for token in SPECIALS if token not in vocab]
    if missing:
        raise UsageError(f"{name}: no {', '.join(missing)} in the vocabulary; BERT's vocab.txt has all of "
                         f"{', '.join(SPECIALS)}")
    if len(set(vocab)) != len(vocab):
        twice = next(piece for number, piece in enumerate(vocab) if piece in vocab[:number])
        raise UsageError(f"{name}: the piece {twice!r} stands twice; remove one of its lines")
    return vocab


def _tokenizer_of(vocab: tuple[str, ...]) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    tokenizer = Tokenizer(models.WordPiece(vocab={piece: number for number, piece in enumerate(vocab)},
                                           unk_token=UNK, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer
