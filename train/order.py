"""The order of samples: a pure function of (seed, stage, epoch), cut into lanes that know nothing of ranks.

    shards -> dealt to L fixed lanes -> a lane's shards in random order, in windows of W shards
           -> samples shuffled inside a window -> packs of consecutive samples

A step is one pack from each lane; with N ranks, rank r runs lanes r, r + N, ...  A lane that comes to its end begins
its next epoch by itself.  So the state is one (epoch, window, offset) a lane, whatever the number of ranks or threads.
"""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from train.randomness import ORDER_SAMPLES, ORDER_SHARDS, permutation


@dataclasses.dataclass(frozen=True, slots=True)
class LaneState:
    """Where a lane's next sample is."""

    epoch: int = 0
    window: int = 0
    offset: int = 0                # samples of the window already taken


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SampleSizes:
    """What the plan knows of each sample before reading it; [samples] each, shards laid end to end."""

    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    regions: NDArray[np.int64]
    words: NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class PackLimits:
    """When a pack is full."""

    pairs: int                     # samples
    tokens: int                    # of all its sequences
    joint: int                     # joint sequences a sample ...
    singles: bool                  # ... and whether it has an image-only and a text-only one


def pieces_of(counts: Sequence[int], lanes: int) -> list[NDArray[np.int64]]:
    """Returns the sample numbers of each piece to deal: a shard, or a part of one where shards are fewer than lanes.

    Raises UsageError when there are fewer samples than lanes.
    """
    if sum(counts) < lanes:
        raise UsageError(f"{sum(counts)} training samples for {lanes} lanes: build more shards or --set lanes=1")
    ends = np.cumsum(counts)
    shards = [np.arange(end - count, end) for count, end in zip(counts, ends, strict=True)]
    parts = 1 if len(counts) >= lanes else lanes
    return [piece for shard in shards for piece in np.array_split(shard, parts) if len(piece)]


def deal(counts: Sequence[int], lanes: int) -> list[list[int]]:
    """Returns the numbers of the pieces of each lane: largest piece first, each to the lane with the fewest samples."""
    dealt: list[list[int]] = [[] for _ in range(lanes)]
    totals = [0] * lanes
    for piece in sorted(range(len(counts)), key=lambda number: (-counts[number], number)):
        lane = totals.index(min(totals))
        dealt[lane].append(piece)
        totals[lane] += counts[piece]
    return [sorted(pieces) for pieces in dealt]


class Lane:
    """One lane's endless stream of samples."""

    def __init__(self, sizes: SampleSizes, pieces: Sequence[NDArray[np.int64]], window: int, *seeds: int) -> None:
        """`pieces` are sample numbers, a shard each; `window` of them are shuffled together."""
        self._sizes = sizes
        self._pieces = list(pieces)
        self._window = window
        self._seeds = seeds            # seed, stage, lane
        # Two windows: packs straddle a boundary, and nothing else looks back.
        self._open = functools.lru_cache(maxsize=2)(self._shuffle)

    def take(self, state: LaneState, limits: PackLimits) -> tuple[NDArray[np.int64], LaneState]:
        """Returns the sample numbers of the lane's next pack, and the state after it."""
        taken: list[int] = []
        tokens = 0
        while len(taken) < limits.pairs:
            samples = self._open(state.epoch, state.window)
            if state.offset == len(samples):
                state = self._next_window(state)
                continue
            sample = int(samples[state.offset])
            cost = tokens_of(int(self._sizes.regions[sample]), int(self._sizes.words[sample]), limits)
            if taken and tokens + cost > limits.tokens:
                break
            taken.append(sample)
            tokens += cost
            state = dataclasses.replace(state, offset=state.offset + 1)
        return np.array(taken, np.int64), state

    def _next_window(self, state: LaneState) -> LaneState:
        windows = -(-len(self._pieces) // self._window)
        if state.window + 1 < windows:
            return LaneState(state.epoch, state.window + 1, 0)
        return LaneState(state.epoch + 1, 0, 0)

    def _shuffle(self, epoch: int, window: int) -> NDArray[np.int64]:
        order = permutation(len(self._pieces), *self._seeds, epoch, ORDER_SHARDS)
        samples = np.concatenate([self._pieces[number]
                                  for number in order[window * self._window:(window + 1) * self._window]])
        return samples[permutation(len(samples), *self._seeds, epoch, ORDER_SAMPLES, window)]


def tokens_of(regions: int, words: int, limits: PackLimits) -> int:
    """Returns the tokens a sample adds to a pack, over all its sequences."""
    joint = limits.joint * (regions + words + 3)
    return joint + (regions + words + 4 if limits.singles else 0)
