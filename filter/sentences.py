"""The sentences of a text, and those of them that can stand alone below a picture."""
from __future__ import annotations

import re

_BREAK = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])")
_ABBREVIATION = re.compile(r"\b(?:[A-Z]|Mr|Mrs|Messrs|Ms|Dr|St|Prof|Fig|No|vol|ed|pp?|e\.g|i\.e|cf|approx|ca|vs|Jr|Sr)"
                           r"\.$")
WINDOW = 300                      # characters: a longer text may be cut at both ends
# A sentence that only its predecessor explains.
_LEANS_BACK = re.compile(r"(?:But|And|Or|So|Then|However|Therefore|It|Its|They|Their|He|His|She|Her|These|Those)\b")


def sentences(text: str) -> list[str]:
    """Returns the sentences of a text; a stop after an initial or a common abbreviation does not end one."""
    found: list[str] = []
    for piece in _BREAK.split(text):
        if found and _ABBREVIATION.search(found[-1]):
            found[-1] += " " + piece
        else:
            found.append(piece)
    return [piece.strip() for piece in found if piece.strip()]


def whole_sentences(text: str) -> list[str]:
    """Returns the sentences that stand alone: a long text was a window, which cuts its first and its last sentence."""
    found = sentences(text)
    if len(text) >= WINDOW and found[0][0].islower():
        del found[0]
    if len(text) >= WINDOW and found and found[-1].rstrip("\"')]")[-1:] not in (".", "!", "?"):
        del found[-1]
    return [piece for place, piece in enumerate(found) if not (place and _LEANS_BACK.match(piece))
            and piece.count('"') % 2 == 0 and piece.count("(") == piece.count(")")]
