"""Is a word spelt like English?  Stands for a vocabulary, which would be a download.

A word is unknown when too many of its letter triples (with `^` and `$` at its ends) never occur in English words.  The
triples in data/english_triples.txt were counted over the word types of two public-domain books (Project Gutenberg 20417
and 30221) and of Python's own documentation.  It is a rule on characters: rare words and most names pass.
"""
from __future__ import annotations

import functools
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence

_TRIPLES = pathlib.Path(__file__).parent / "data" / "english_triples.txt"
_MAX_UNSEEN_SHARE = 0.25           # of a word's triples; one unseen triple is always let pass
_MAX_LETTERS = 22
_APOSTROPHES = re.compile(r"['’]")


def unknown_share(words: Sequence[str]) -> float:
    """Returns the share of lower-case words that are not spelt like English; 0 for no words."""
    return sum(map(is_unknown, words)) / len(words) if words else 0.0


@functools.lru_cache(maxsize=65536)
def is_unknown(word: str) -> bool:
    """Returns whether a lower-case word is not spelt like English; plain numbers are known.

    >>> [word for word in ("elephant", "snowboarder", "xqzvbk", "kd93jf", "1987") if is_unknown(word)]
    ['xqzvbk', 'kd93jf']
    """
    parts = [part for part in re.split(r"-", _APOSTROPHES.sub("", word)) if part]
    return any(_part_is_unknown(part) for part in parts)


def _part_is_unknown(part: str) -> bool:
    if part.isdigit() or len(part) <= 2:
        return False
    if re.fullmatch(r"\d+(?:st|nd|rd|th|s|m|cm|mm|km|kg|g|ft|px|in|d|x|am|pm|bc|ad)", part):
        return False
    if not part.isascii() or not part.isalpha() or len(part) > _MAX_LETTERS:
        return True
    triples = _triples_of(part)
    unseen = sum(triple not in _known() for triple in triples)
    return unseen > max(1, _MAX_UNSEEN_SHARE * len(triples))


def _triples_of(word: str) -> list[str]:
    padded = f"^{word}$"
    return [padded[n:n + 3] for n in range(len(padded) - 2)]


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(_TRIPLES.read_text(encoding="ascii").split())


def count_triples(texts: Iterable[str]) -> list[str]:
    """Returns the triples that occur in at least two word types of the texts, sorted: what the data file holds.

    Words that are written with a capital (names) are left out.
    """
    seen = Counter(word for text in texts for word in re.findall(r"\b[a-z]{2,}\b", text))
    counts = Counter(triple for word in seen for triple in set(_triples_of(word)))
    return sorted(triple for triple, number in counts.items() if number > 1)
