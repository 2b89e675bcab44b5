"""The order of samples: a pure function of (seed, stage, epoch), cut into lanes that know nothing of ranks.

    shards -> dealt to L fixed lanes -> a lane's shards in random order, in windows of W shards
           -> samples shuffled inside a window -> packs of consecutive samples

A step is one pack from each lane; with N ranks, rank r runs lanes r, r + N, ...  A lane that comes to its end begins
its next epoch by itself.  So the state is one (epoch, window, offset) a lane, whatever the number of ranks or threads.
"""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from train.randomness import ORDER_CAPTION, ORDER_SAMPLES, ORDER_SHARDS, ORDER_SHARE, mix, permutation, uniform


@dataclasses.dataclass(frozen=True, slots=True)
class LaneState:
    """Where a lane's next sample is."""

    epoch: int = 0
    window: int = 0
    offset: int = 0                # samples of the window already taken


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class SampleSizes:
    """What the plan knows of each sample before reading it; [samples] each, shards laid end to end."""

    shard: NDArray[np.int32]
    row: NDArray[np.int32]
    regions: NDArray[np.uint16]
    words: NDArray[np.uint16]


@dataclasses.dataclass(frozen=True, slots=True)
class PackLimits:
    """When a pack is full."""

    pairs: int                     # samples
    tokens: int                    # of all its sequences
    joint: int                     # joint sequences a sample ...
    singles: bool                  # ... and whether it has an image-only and a text-only one
    extra: int = 0                 # room that an image takes beside its regions; what it leaves free is padding


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Samples that an epoch shows together: those of a shard, or of a part of one."""

    numbers: NDArray[np.int64]
    share: float = 1.0             # of them in an epoch; below 1 others in each
    captions: NDArray[np.int64] | None = None   # of each: numbers go on from its own, and an epoch shows one of them

    @property
    def expected(self) -> int:
        """Returns how many samples an epoch shows of it, in the mean."""
        return round(len(self.numbers) * self.share)

    def has(self, number: int) -> bool:
        """Returns whether an epoch may show a sample."""
        ends = self.numbers + (1 if self.captions is None else self.captions)
        return bool(((self.numbers <= number) & (number < ends)).any())

    def cut(self, parts: int) -> list[Piece]:
        """Returns up to so many parts of it, none empty."""
        captions = [None] * parts if self.captions is None else np.array_split(self.captions, parts)
        return [Piece(numbers, self.share, own) for numbers, own in
                zip(np.array_split(self.numbers, parts), captions, strict=True) if len(numbers)]


def cut_for(pieces: Sequence[Piece], lanes: int, stage: str) -> list[Piece]:
    """Returns the pieces to deal: the shards, or parts of them where they are fewer than lanes.

    Raises UsageError when there are fewer samples than lanes.
    """
    found = sum(piece.expected for piece in pieces)
    if found < lanes:
        raise UsageError(f"stage {stage!r}: {found} training samples for {lanes} lanes: build more shards or --set "
                         f"lanes=1")
    parts = 1 if len(pieces) >= lanes else lanes
    return [part for piece in pieces for part in piece.cut(parts)]


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

    def __init__(self, sizes: SampleSizes, pieces: Sequence[Piece], window: int, *seeds: int) -> None:
        """`window` of the pieces are shuffled together."""
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

    def largest_window(self, size_of: Callable[[Piece], int]) -> int:
        """Returns the most that the pieces of one window can amount to."""
        return sum(sorted(map(size_of, self._pieces), reverse=True)[:self._window])

    def window_at(self, state: LaneState, ahead: int = 0) -> NDArray[np.int64]:
        """Returns the sample numbers of the window of a state, or of one that comes `ahead` windows later."""
        for _ in range(ahead):
            state = self._next_window(state)
        return self._open(state.epoch, state.window)

    def _next_window(self, state: LaneState) -> LaneState:
        windows = -(-len(self._pieces) // self._window)
        if state.window + 1 < windows:
            return LaneState(state.epoch, state.window + 1, 0)
        return LaneState(state.epoch + 1, 0, 0)

    def uses(self, number: int, state: LaneState) -> int:
        """Returns how often the lane has shown a sample before it came to `state`: arithmetic, nothing is read."""
        own = [place for place, piece in enumerate(self._pieces) if piece.has(number)]
        if not own:
            return 0
        count = 0
        for epoch in range(state.epoch + 1):
            order = permutation(len(self._pieces), *self._seeds, epoch, ORDER_SHARDS)
            for place in own:
                window = int(np.flatnonzero(order == place)[0]) // self._window
                if (epoch, window) < (state.epoch, state.window):
                    count += int(number in self._shown(place, epoch))
        shown = self._open(state.epoch, state.window)[:state.offset]
        return count + int(np.count_nonzero(shown == number))

    def _shown(self, place: int, epoch: int) -> NDArray[np.int64]:
        """Returns the samples of a piece that an epoch shows."""
        piece = self._pieces[place]
        shown = piece.numbers
        if piece.captions is not None:
            drawn = mix(*self._seeds, epoch, ORDER_CAPTION, place, shown) % piece.captions.astype(np.uint64)
            shown = shown + drawn.astype(np.int64)
        if piece.share >= 1:
            return shown
        return shown[uniform(*self._seeds, epoch, ORDER_SHARE, place, piece.numbers) < piece.share]

    def _shuffle(self, epoch: int, window: int) -> NDArray[np.int64]:
        order = permutation(len(self._pieces), *self._seeds, epoch, ORDER_SHARDS)
        samples = np.concatenate([self._shown(int(place), epoch)
                                  for place in order[window * self._window:(window + 1) * self._window]])
        return samples[permutation(len(samples), *self._seeds, epoch, ORDER_SAMPLES, window)]


def tokens_of(regions: int, words: int, limits: PackLimits) -> int:
    """Returns the tokens a sample adds to a pack, over all its sequences."""
    halves = regions + limits.extra + words
    return limits.joint * (halves + 3) + (halves + 4 if limits.singles else 0)
