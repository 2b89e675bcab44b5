"""Word pieces put together from words that are known are those of the whole caption."""
import random
import string

import pytest

from shards import tokens
from shards.tokens import MAX_PIECES, SPECIALS, tokenizer_of

PIECES = ("a", "##a", "b", "##b", "ab", "##ab", "1", "##1", "cat", "##s", "don", "t", "'", "-", "!", "[", "]", "mask",
          "é")
VOCAB = "".join(f"{piece}\n" for piece in (*SPECIALS, *PIECES)).encode()


def of_the_library(tokenizer, caption):
    ids = tokenizer._tokenizer.encode(caption, add_special_tokens=False).ids
    return ids[:MAX_PIECES], max(len(ids) - MAX_PIECES, 0)


@pytest.mark.parametrize("letters", ["ab1 cats'-![]", string.printable, "aAéÉ ’猫\u200d\x00\t b"])
def test_pieces_are_those_of_the_library(letters, monkeypatch):
    monkeypatch.setattr(tokens, "_MOST_KNOWN", 20)      # forgotten now and then, too
    tokenizer, draw = tokenizer_of(VOCAB, "vocab"), random.Random(7)
    cut = 0
    for length in [*range(40), *[200] * 20]:
        caption = "".join(draw.choices(letters, k=length))
        assert tokenizer.encode(caption) == of_the_library(tokenizer, caption), caption
        cut += tokenizer.encode(caption)[1] > 0
    assert cut


def test_names_of_special_tokens_and_endless_words():
    tokenizer = tokenizer_of(VOCAB, "vocab")
    for caption in ("[MASK] cats [CLS]", "a" * 101 + " cat", "a" * 100, "don't", "", " "):
        assert tokenizer.encode(caption) == of_the_library(tokenizer, caption)
    ids, _ = tokenizer.encode("cats cats")
    ids.append(0)
    assert tokenizer.encode("cats cats")[0] == ids[:-1]      # what a caller does with its list is its own business
    assert tokenizer.encode("cats")[0] == ids[:2]
