"""Is the image that arrived the one that a caption table was made from?

A table may give hashes of the bytes it saw (`Candidate.expected`).  Bytes of another sha256 or md5 have drifted; where
the table gives a perceptual hash alone, a picture beyond a radius has.  Several rows may give different hashes for one
URL, so that is decided for a row, not for an image.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from filter.hashes import distance
from filter.records import ImageFacts

SAME, DRIFTED, NOT_ASKED = "same", "drifted", ""
DROP, KEEP = "drop", "keep"


@dataclasses.dataclass(frozen=True, slots=True)
class DriftRules:
    """What becomes of a pair whose image is not the one its table saw."""

    action: str = DROP             # drop: the pair ends as `drifted`; keep: it stays, and its sample says so
    radius: int = 8                # bits; beyond them a picture has drifted where a perceptual hash is all there is

    def __post_init__(self) -> None:
        if self.action not in (DROP, KEEP):
            raise ValueError(f"action is {self.action!r}; it is {DROP} or {KEEP}")
        if not 0 <= self.radius <= 64:
            raise ValueError(f"radius is {self.radius}; it is a number of bits, 0 to 64")


class Drift(NamedTuple):
    """What a row's hashes say of the bytes that arrived."""

    verdict: str                   # same, drifted, "" where the row gives no hash or nothing could be compared
    distance: int                  # bits between the perceptual hashes, 0 to 64; -1 where one of them is missing


UNASKED = Drift(NOT_ASKED, -1)


def drift_of(expected: Sequence[str], facts: ImageFacts, radius: int) -> Drift:
    """Returns the verdict on an image.

    Args:
        expected: `sha256:…`, `md5:…` and `perceptual:…` in hex.
        radius: bits within which a perceptual hash alone counts as the same picture.
    """
    given = dict(one.split(":", 1) for one in expected)
    seen = {"sha256": facts.sha256, "md5": facts.md5}
    exact = [seen[name] == digits for name, digits in given.items() if seen.get(name)]
    bits = distance(given["perceptual"], facts.perceptual_hash) \
        if "perceptual" in given and facts.perceptual_hash else -1
    if exact:
        return Drift(SAME if all(exact) else DRIFTED, bits)
    return Drift(NOT_ASKED if bits < 0 else SAME if bits <= radius else DRIFTED, bits)
