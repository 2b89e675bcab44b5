"""Which images are the same picture?  Banded hashes; no connected components.

An image gives way to a strictly better one (score, then pixels, then id) that shares a band of its perceptual hash,
lies within the radius, and is confirmed by the difference hash and the shape.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np

from filter.hashes import distance

# Of 16 bits each, cut once in rows of the 8 x 8 frequencies and once across them.  Distance 3 always shares a band; of
# 500 drawn scenes copied at another size and format (distance up to 6) one cut found 495, both found 499.
_BANDS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class NearRules:
    """When two images are one picture."""

    radius: int = 8                # bits of the perceptual hash
    second_radius: int = 14        # bits of the difference hash
    max_aspect_ratio: float = 1.05   # of the two images' aspects
    max_compared: int = 4096       # best images of one band value that the others are compared with


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """What the comparison needs of an image."""

    sha256: str
    score: float
    pixels: int
    perceptual_hash: str
    difference_hash: str
    aspect: float                  # width / height

    @property
    def rank(self) -> tuple[float, int, str]:
        """Returns the order of better images: smaller is better."""
        return (-self.score, -self.pixels, self.sha256)


def bands(card: Card) -> Iterator[str]:
    """Yields the keys under which an image meets its near-duplicates."""
    width = len(card.perceptual_hash) // _BANDS
    for band in range(_BANDS):
        yield f"{band}:{card.perceptual_hash[band * width:(band + 1) * width]}"
        yield f"{band + _BANDS}:{card.perceptual_hash[band::_BANDS]}"


def same_picture(first: Card, second: Card, rules: NearRules) -> bool:
    """Returns whether two images pass every test of being one picture."""
    return (distance(first.perceptual_hash, second.perceptual_hash) <= rules.radius
            and distance(first.difference_hash, second.difference_hash) <= rules.second_radius
            and max(first.aspect, second.aspect) <= rules.max_aspect_ratio * min(first.aspect, second.aspect))


def give_way(cards: Iterable[Card], rules: NearRules) -> Iterator[tuple[str, Card]]:
    """Yields (sha256 of an image, the best image it gives way to) for the images of one band value."""
    ranked = sorted({card.sha256: card for card in cards}.values(), key=lambda card: card.rank)
    hashes = np.array([int(card.perceptual_hash, 16) for card in ranked], dtype=np.uint64)
    for place in range(1, len(ranked)):
        better = hashes[:min(place, rules.max_compared)]
        near = np.flatnonzero(np.bitwise_count(better ^ hashes[place]) <= rules.radius)
        winner = next((ranked[n] for n in near if same_picture(ranked[place], ranked[n], rules)), None)
        if winner is not None:
            yield ranked[place].sha256, winner


def best_of(cards: Iterable[Card]) -> Card:
    """Returns the best of the images that one gives way to in its bands."""
    return min(cards, key=lambda card: card.rank)


def survivor_of(sha256: str, gave_way: dict[str, str]) -> str:
    """Returns the image that stands for this one: the end of the chain of better ones (ranks only rise, so it ends)."""
    while sha256 in gave_way:
        sha256 = gave_way[sha256]
    return sha256
