"""Kinds of words that a published rule asks a caption to have: those of the closed classes, and any other.

Determiners and prepositions are few and can be listed; a noun cannot be told without a tagger, so `content_word`, a
word that is neither frequent nor a determiner nor a preposition, stands for it and lets more pass.
"""
from __future__ import annotations

from collections.abc import Iterable

from filter.language import stop_words
from filter.noise import word_list

DETERMINERS = word_list("determiners.txt")
PREPOSITIONS = word_list("prepositions.txt")
KINDS = ("determiner", "preposition", "content_word")


def missing_kinds(words: Iterable[str], needed: Iterable[str]) -> list[str]:
    """Returns the kinds that no word, lower-case, is of.

    >>> missing_kinds(["sunset", "beach"], KINDS)
    ['determiner', 'preposition']
    """
    listed = frozenset(words)
    there = {"determiner": bool(listed & DETERMINERS), "preposition": bool(listed & PREPOSITIONS),
             "content_word": any(len(word) > 1 and not word.isdigit() and word not in stop_words() and
                                 word not in DETERMINERS and word not in PREPOSITIONS for word in listed)}
    return [kind for kind in needed if not there[kind]]
