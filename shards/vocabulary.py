"""The word pieces of a dataset: BERT's vocab.txt as the user gives it, or one trained on the training captions."""
from __future__ import annotations

import collections
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from crawl import stages, storage
from crawl.errors import UsageError
from crawl.stages import Manifest, Stage
from crawl.tables import FileEntry
from shards.tokens import SPECIALS, UNK, parse_vocab

FORMAT = 1
VOCAB = "vocab.txt"
# The trainer counts words by reading them; only ratios matter, so a large corpus is scaled down to about this many.
_MAX_WORDS_READ = 2_000_000
_WORDS_A_LINE = 1000


@dataclasses.dataclass(frozen=True)
class VocabConfig:
    """Where the word pieces come from."""

    file: str = ""                 # a vocab.txt to use as it is; "" trains one
    size: int = 30_522             # pieces at most; BERT-uncased has as many
    min_count: int = 2             # of a pair of pieces, to become one piece
    max_words: int = 200_000       # distinct words trained on, the most frequent
    max_alphabet: int = 1000       # distinct characters, the most frequent

    def __post_init__(self) -> None:
        if self.size < 100 or self.min_count < 1 or self.max_words < 1 or self.max_alphabet < 1:
            raise ValueError(f"vocab: size {self.size} (at least 100), min_count {self.min_count}, max_words "
                             f"{self.max_words}, max_alphabet {self.max_alphabet} (at least 1 each)")


def vocab(out: str, config: VocabConfig, run: Callable[[str, Callable[[Any], None]], None]) -> Manifest:
    """Writes `vocab.txt` and returns the manifest; its `extra` has the digest and the number of pieces.

    Raises UsageError when the file the config names is missing or is no vocabulary.
    """
    if config.file:
        return _copied(out, config.file)
    filtered = stages.current_manifest(out, "filter")
    stage = Stage.open(out, "vocab", FORMAT, config, {"filter": filtered.digest})
    done = stage.finished()
    if done is not None:
        return done
    from shards.transforms import TrainVocabulary
    run("vocab", lambda root: root | "Vocabulary" >> TrainVocabulary(filtered.paths("best"), stage.directory, config))
    return _commit(stage)


def _copied(out: str, path: str) -> Manifest:
    if not storage.exists(path) or not storage.is_remote(path) and os.path.isdir(path):
        raise UsageError(f"{path}: no such vocabulary; give a vocab.txt, one word piece a line, or none to train one")
    data = storage.read_bytes(path)
    parse_vocab(data, path)
    # The file's bytes count, not where it lies.
    stage = Stage.open(out, "vocab", FORMAT, VocabConfig(), {"file": hashlib.sha256(data).hexdigest()})
    done = stage.finished()
    if done is not None:
        return done
    storage.commit_bytes(storage.join(stage.directory, VOCAB), data)
    return _commit(stage)


def _commit(stage: Stage) -> Manifest:
    data = storage.read_bytes(storage.join(stage.directory, VOCAB))
    pieces = parse_vocab(data, storage.join(stage.directory, VOCAB))
    digest = hashlib.sha256(data).hexdigest()
    return stage.commit({"vocab": [FileEntry(name=VOCAB, bytes=len(data), sha256=digest)]}, (),
                        extra={"tokenizer_digest": digest, "pieces": len(pieces)})


def words_of(caption: str) -> list[str]:
    """Returns the words of a caption after BERT-uncased normalisation; punctuation marks are words.

    >>> words_of("A Café, twice!")
    ['a', 'cafe', ',', 'twice', '!']
    """
    normalizer, splitter = _bert()
    return [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(caption))]


@functools.cache
def _bert() -> tuple[Any, Any]:
    from tokenizers import normalizers, pre_tokenizers
    return normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()


def train_pieces(counts: Iterable[tuple[str, int]], config: VocabConfig) -> tuple[str, ...]:
    """Returns a WordPiece vocabulary for words with their counts: specials first, ids by position.

    Equal counts give equal pieces in every process and whatever order the words come in.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    words = sorted(counts)
    letters: collections.Counter[str] = collections.Counter()
    for word, count in words:
        for letter in word:
            letters[letter] += count
    ranked = sorted(letters, key=lambda letter: (-letters[letter], letter))[:config.max_alphabet]
    alphabet = set(ranked)
    words = [(word, count) for word, count in words if alphabet.issuperset(word)]
    # The library gives "##x" its id when it first meets it, in the order of a randomly seeded hash map, and breaks ties
    # between merges by id.  Listed as special tokens they have fixed ids before the first word is seen.
    inner = ["##" + letter for letter in sorted(alphabet)]
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNK))      # type: ignore[call-arg]
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    trainer = trainers.WordPieceTrainer(
        vocab_size=max(config.size, len(SPECIALS) + 2 * len(alphabet)), min_frequency=config.min_count,
        special_tokens=[*SPECIALS, *inner], initial_alphabet=sorted(alphabet), limit_alphabet=2 * len(alphabet) + 1,
        show_progress=False)
    tokenizer.train_from_iterator(_lines(words), trainer)
    ids = tokenizer.get_vocab()
    return tuple(sorted(ids, key=lambda piece: ids[piece]))


def _lines(words: list[tuple[str, int]]) -> Iterator[str]:
    """Yields lines in which each word stands as often as it was counted, scaled down for a large corpus."""
    total = sum(count for _, count in words)
    for word, count in words:
        times = count if total <= _MAX_WORDS_READ else max(count * _MAX_WORDS_READ // total, 1)
        for start in range(0, times, _WORDS_A_LINE):
            yield " ".join([word] * min(_WORDS_A_LINE, times - start))


def write_vocabulary(counts: Iterable[tuple[str, int]], directory: str, config: VocabConfig) -> None:
    """Commits `vocab.txt` for words with their counts."""
    text = "".join(piece + "\n" for piece in train_pieces(counts, config))
    storage.commit_bytes(storage.join(directory, VOCAB), text.encode())
