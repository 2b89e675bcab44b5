"""Which images are the same picture?  Banded hashes; no connected components.

An image gives way to a strictly better one (score, then pixels, then id) that shares a band of one of its two hashes
and is confirmed by both hashes, the shape and, where the hashes are further apart, the colours.
"""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from filter.colours import NAMES
from filter.records import SCORE_GRID, ImageFacts

_BLOCK = 256                       # images that are compared with all better ones at once: some MiB


@dataclasses.dataclass(frozen=True, slots=True)
class NearRules:
    """When two images are one picture; each is a `--set near.NAME=VALUE` of the filter stage.

    Chosen on 60 photographs and 12 kinds of copies of them among 550 others, and on 1,500 drawn scenes that resemble
    each other (`make bench-near-duplicates`).
    """

    radius: int = 8                    # bits of the perceptual hash, within which the colours are not asked
    second_radius: int = 14            # bits of the difference hash, likewise
    far_radius: int = 12               # within these the colours must agree: borders, cut edges
    far_second_radius: int = 18
    max_colour_distance: float = 0.25  # sum of the differences of the shares of basic colours, 0 to 2
    max_aspect_ratio: float = 1.4      # of the two images' aspects: a picture squeezed from 4:3 to 1:1 is the same
    bands: int = 6                     # of each hash; 5 beyond some 20 million images, 4 beyond 100 million
    max_met: int = 4096                # images that one band value may bring together; more are dealt out in groups
    leaders: int = 256                 # the best of such a band value: they are in every group

    def __post_init__(self) -> None:
        if not 1 <= self.bands <= 16:
            raise ValueError(f"bands is {self.bands}; a hash of 64 bits is cut into 1 to 16")
        for name in ("max_met", "leaders"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for near, far in (("radius", "far_radius"), ("second_radius", "far_second_radius")):
            if not 0 <= getattr(self, near) <= getattr(self, far) <= 64:
                raise ValueError(f"{near} is {getattr(self, near)} and {far} {getattr(self, far)}; "
                                 "0 to 64 bits, the far one not below the other")


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """What the comparison needs of an image."""

    sha256: str
    score: float                   # 0 to 1, on the grid
    pixels: int
    perceptual_hash: str           # 16 hex digits
    difference_hash: str
    aspect: float                  # width / height
    colours: tuple[float, ...]     # ImageFacts.colours


def card_of(facts: ImageFacts, score: float) -> Card:
    """Returns the card of a decoded image."""
    return Card(facts.sha256, score, facts.width * facts.height, facts.perceptual_hash, facts.difference_hash,
                facts.width / facts.height, facts.colours)


# A card in 73 bytes, best first in the order of bytes: what meets in a band is millions of them.
_PACKED = np.dtype([("worse", ">u2"), ("smaller", ">u4"), ("sha256", "V32"), ("perceptual", ">u8"),
                    ("difference", ">u8"), ("aspect", ">f8"), ("colours", "u1", (len(NAMES),))])
_HASHES_AT = (38, 46)


def pack(card: Card) -> bytes:
    """Returns a card as bytes of one length; the smaller of two is the better image."""
    row = np.zeros((), dtype=_PACKED)
    row["worse"] = SCORE_GRID - round(card.score * SCORE_GRID)
    row["smaller"] = max(0, 0xffffffff - card.pixels)
    row["sha256"] = bytes.fromhex(card.sha256)
    row["perceptual"] = int(card.perceptual_hash, 16)
    row["difference"] = int(card.difference_hash, 16)
    row["aspect"] = card.aspect
    row["colours"] = [round(share * 255) for share in card.colours]
    return row.tobytes()


def sha256_of(packed: bytes) -> str:
    """Returns the id of a packed card's image."""
    return packed[6:38].hex()


def bands(packed: bytes, rules: NearRules) -> list[int]:
    """Returns the keys under which an image meets its near-duplicates: different numbers below `band_count`."""
    width = _width(rules.bands)
    keys = []
    for which, at in enumerate(_HASHES_AT):
        bits = int.from_bytes(packed[at:at + 8])
        for place, (shift, mask) in enumerate(_cuts(rules.bands)):
            keys.append((which * rules.bands + place) << width | bits >> shift & mask)
    return keys


def band_count(rules: NearRules) -> int:
    """Returns how many different bands there can be."""
    return (len(_HASHES_AT) * rules.bands) << _width(rules.bands)


def group_of(packed: bytes, groups: int) -> int:
    """Returns which of `groups` groups an image of a crowded band is dealt to: by its id alone."""
    return int.from_bytes(packed[30:38]) % groups


@functools.cache
def _cuts(count: int) -> tuple[tuple[int, int], ...]:
    edges = [64 * place // count for place in range(count + 1)]
    return tuple((64 - high, (1 << high - low) - 1) for low, high in zip(edges, edges[1:], strict=False))


def _width(count: int) -> int:
    return -(-64 // count)


def same_picture(first: Card, second: Card, rules: NearRules) -> bool:
    """Returns whether two images pass every test of being one picture."""
    rows = np.frombuffer(pack(first) + pack(second), dtype=_PACKED)
    return bool(_same(rows[:1], rows[1:], rules)[0])


def _same(first: NDArray[np.void], second: NDArray[np.void], rules: NearRules) -> NDArray[np.bool_]:
    """The tests, row by row."""
    bits = _apart(first["perceptual"], second["perceptual"])
    second_bits = _apart(first["difference"], second["difference"])
    wide, narrow = (pick(first["aspect"], second["aspect"]) for pick in (np.maximum, np.minimum))
    colours = np.abs(first["colours"].astype(np.int16) - second["colours"]).sum(axis=1)
    near = (bits <= rules.radius) & (second_bits <= rules.second_radius)
    far = ((bits <= rules.far_radius) & (second_bits <= rules.far_second_radius)
           & (colours <= rules.max_colour_distance * 255))
    return (near | far) & (wide <= rules.max_aspect_ratio * narrow)


def _apart(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint8]:
    return np.bitwise_count(first.astype(np.uint64) ^ second.astype(np.uint64))


def packed_rows(cards: bytes) -> NDArray[np.void]:
    """Returns packed cards, one after another, as rows that `same_as_any` asks."""
    return np.frombuffer(cards, dtype=_PACKED)


def same_as_any(packed: bytes, rows: NDArray[np.void], rules: NearRules) -> bool:
    """Returns whether an image passes every test of being one of the pictures in the rows."""
    own = packed_rows(packed)
    near = rows[_apart(rows["perceptual"], own["perceptual"]) <= rules.far_radius]
    return bool(len(near)) and bool(_same(near, np.broadcast_to(own, near.shape), rules).any())


def give_way(cards: Iterable[bytes], rules: NearRules) -> Iterator[tuple[str, bytes]]:
    """Yields (sha256 of an image, the best image it gives way to) for the packed cards that met."""
    ranked = sorted(set(cards))
    rows = np.frombuffer(b"".join(ranked), dtype=_PACKED)
    hashes = rows["perceptual"].astype(np.uint64)
    for start in range(0, len(rows), _BLOCK):
        own = hashes[start:start + _BLOCK]
        near = np.bitwise_count(own[:, None] ^ hashes[None, :start + len(own)]) <= rules.far_radius
        loser, winner = np.nonzero(np.tril(near, start - 1))       # the better ones come first
        same = _same(rows[start + loser], rows[winner], rules)
        found, first = np.unique(loser[same], return_index=True)
        for place, best in zip(found, winner[same][first], strict=True):
            yield sha256_of(ranked[start + place]), ranked[best]
