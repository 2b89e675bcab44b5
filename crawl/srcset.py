"""What does a srcset attribute offer, and which image of it is the one to download?

The parser is WHATWG's (HTML, "parse a srcset attribute"): commas may stand inside URLs, so nothing is split at commas.
"""
from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence

# The largest picture worth downloading: wider ones are cut down before training anyway.
TARGET_WIDTH = 2048
# A srcset with more entries is hostile; real ones have about ten.
MAX_ENTRIES = 64

_SPACE = " \t\n\f\r"
_WHOLE = re.compile(r"(?=0*[1-9])[0-9]{1,9}")      # above 0; no picture is larger
_FLOAT = re.compile(r"-?(?:[0-9]+|[0-9]*\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """One image of a srcset."""

    url: str                       # as written, not resolved
    width: int                     # w descriptor in px, 0 without one
    density: float                 # x descriptor; 1.0 without one


def parse_srcset(value: str) -> tuple[Offer, ...]:
    """Returns the offers of a srcset attribute in order; entries with a wrong descriptor are dropped, as browsers do.

    >>> parse_srcset("a,b.jpg 480w, c.jpg 2x")
    (Offer(url='a,b.jpg', width=480, density=1.0), Offer(url='c.jpg', width=0, density=2.0))
    """
    offers: list[Offer] = []
    position, end = 0, len(value)
    while len(offers) < MAX_ENTRIES:
        while position < end and (value[position] in _SPACE or value[position] == ","):
            position += 1
        if position >= end:
            break
        start = position
        while position < end and value[position] not in _SPACE:
            position += 1
        url = value[start:position]
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, position = _descriptors(value, position)
        offer = _offer(url, descriptors)
        if offer is not None:
            offers.append(offer)
    return tuple(offers)


def _descriptors(value: str, position: int) -> tuple[list[str], int]:
    """Returns the descriptors from `position` to the comma that ends the entry.

    Parentheses hide commas and spaces, and do not nest: the first `)` ends what the first `(` began.
    """
    found, current, inside = [], "", False
    while position < len(value):
        character = value[position]
        position += 1
        if not inside and character == ",":
            break
        if not inside and character in _SPACE:
            if current:
                found.append(current)
            current = ""
            continue
        inside = character != ")" if inside else character == "("
        current += character
    if current:
        found.append(current)
    return found, position


def _offer(url: str, descriptors: list[str]) -> Offer | None:
    width, density, height = 0, None, 0
    for descriptor in descriptors:
        number, unit = descriptor[:-1], descriptor[-1]
        if unit == "w" and _WHOLE.fullmatch(number) and not width and density is None:
            width = int(number)
        elif unit == "x" and _FLOAT.fullmatch(number) and not width and density is None and not height \
                and 0 <= float(number) < math.inf:
            density = float(number)
        elif unit == "h" and _WHOLE.fullmatch(number) and not height and density is None:
            height = int(number)
        else:
            return None
    if height and not width:
        return None
    return Offer(url, width, 1.0 if density is None else density)


def pick(offers: Sequence[Offer], target: int = TARGET_WIDTH) -> int | None:
    """Returns the index of the offer to download, or None where `src` is the better choice.

    The largest width up to `target`, else the largest density above 1; on a tie the first.
    """
    by_width = [(-offer.width, index) for index, offer in enumerate(offers) if 0 < offer.width <= target]
    if by_width:
        return min(by_width)[1]
    by_density = [(-offer.density, index) for index, offer in enumerate(offers)
                  if not offer.width and 1 < offer.density <= 8]
    return min(by_density)[1] if by_density else None
