"""Randomness without state: an integer hash of what is drawn and for whom.

A draw is a pure function of its counters (seed, stage, epoch, pack, key, what, index), so it is the same on any number
of ranks and threads and after any restart, and nothing has to be saved.  The mixing function is SplitMix64's finaliser
(Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
"""
from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

_ALL = 2 ** 64 - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)

# What a draw decides; a different number for each keeps the draws of one sample independent.
ORDER_SHARDS, ORDER_SAMPLES = 0, 1
MASK_WORDS, REPLACE_WORDS, WORD_IDS, MASK_REGIONS, HIDE_REGIONS = 2, 3, 4, 5, 6
NEGATIVES, DROPOUT, ONE_MODALITY, IMAGE_NEGATIVES = 7, 8, 9, 10
ORDER_SHARE = 11
HARD_PAIRS, HARD_NOISE = 12, 13
ORDER_CAPTION = 14


def mix(*counters: ArrayLike) -> NDArray[np.uint64]:
    """Returns a 64-bit hash of integer counters; arrays broadcast.

    >>> int(mix(1, 2)) == int(mix(1, 2)), int(mix(1, 2)) == int(mix(2, 1))
    (True, False)
    """
    state: NDArray[np.uint64] = np.asarray(0, np.uint64)
    with np.errstate(over="ignore"):
        for counter in counters:
            state = _finalise((state ^ _unsigned(counter)) + _GOLDEN)
    return state


def mix_one(*counters: int) -> int:
    """Returns what `mix` returns of numbers from 0 to 2^64 - 1; for few of them quicker than arrays of one.

    >>> mix_one(7, 2 ** 64 - 1, 0) == int(mix(7, -1, 0))
    True
    """
    state = 0
    for counter in counters:
        z = ((state ^ counter) + 0x9E3779B97F4A7C15) & _ALL
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _ALL
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _ALL
        state = z ^ (z >> 31)
    return state


def uniform(*counters: ArrayLike) -> NDArray[np.float64]:
    """Returns numbers in [0, 1) with 53 random bits."""
    return (mix(*counters) >> np.uint64(11)).astype(np.float64) * 2.0 ** -53


def below(limit: int, *counters: ArrayLike) -> NDArray[np.int64]:
    """Returns integers in [0, limit); the bias of the modulus is under limit / 2^64."""
    return (mix(*counters) % np.uint64(limit)).astype(np.int64)


def permutation(count: int, *counters: int) -> NDArray[np.int64]:
    """Returns 0..count-1 in an order drawn from the counters."""
    return np.argsort(mix(*counters, np.arange(count)), kind="stable").astype(np.int64)


def torch_seed(*counters: int) -> int:
    """Returns a seed for torch's generator."""
    return int(mix(*counters) >> np.uint64(1))


def _finalise(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * _FIRST
    z = (z ^ (z >> np.uint64(27))) * _SECOND
    return z ^ (z >> np.uint64(31))


def _unsigned(counter: ArrayLike) -> NDArray[np.uint64]:
    array = np.asarray(counter)
    return array if array.dtype == np.uint64 else array.astype(np.int64).view(np.uint64)
