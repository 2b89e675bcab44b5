"""The steps of a stage: planned from the indexes, read ahead by threads, packed.

What a step holds depends on the plan and the shards alone.  Threads only decide how early it is ready.
"""
from __future__ import annotations

import collections
import dataclasses
import os
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from model.inputs import Pack
from model.losses import LOSSES, covered_by
from train.data import TrainingData, special_tokens
from train.feature_buffers import FeatureBuffers, FeatureRows
from train.hard_negatives import Recipe
from train.masking import plan_masks
from train.negatives import pairs_for_itm
from train.order import LaneState
from train.packing import Rows, Sample, build_pack
from train.plan import StageConfig, TrainConfig, capacity_of, limits_of
from train.windows import Windows


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step as one rank sees it."""

    number: int                    # from 0, in the stage
    samples_before: int            # of all lanes, in the stage: what the schedule counts
    samples: int                   # of all lanes, in this step
    packs: tuple[tuple[int, Pack], ...]   # lane and pack, of this rank's lanes
    recipes: dict[int, Recipe]     # by lane: what its pack was built from, where a stage has hard negatives
    skipped: tuple[tuple[int, str], ...]   # sample numbers of this rank's lanes that left an empty slot, and why
    stayed_positive: int           # drawn as negatives, but no other caption was allowed; this rank's lanes
    covered: tuple[int, ...]       # of LOSSES: how many of this rank's packs say something about it
    keys: dict[int, tuple[str, ...]]   # samples of each of this rank's lanes
    read_seconds: float            # of a thread that read ahead: samples ...
    pack_seconds: float            # ... and packs made of them
    after: tuple[LaneState, ...]   # of all lanes: where the next step begins

    @property
    def samples_after(self) -> int:
        """Returns how many samples of the stage are seen once this step is done."""
        return self.samples_before + self.samples


@dataclasses.dataclass(frozen=True, slots=True)
class StageStart:
    """Where in a stage to begin."""

    step: int = 0
    samples: int = 0
    lanes: tuple[LaneState, ...] = ()   # empty: the beginning


class PackStream:
    """The steps of one stage for one rank, in order, from anywhere in it."""

    def __init__(self, data: TrainingData, config: TrainConfig, stage: int, start: StageStart,
                 rank: int = 0, world: int = 1, threads: int = 1) -> None:
        self._data, self._config, self._number = data, config, stage
        self._stage: StageConfig = config.stages()[stage][1]
        self._start, self._rank, self._world, self._threads = start, rank, world, threads
        self._limits = limits_of(self._stage, config, data.facts)
        self._capacity = capacity_of(self._stage, config, data.facts)
        self._special = special_tokens(data.tokenizer, config.model)
        self._features = FeatureBuffers(self._capacity.distinct, data.facts.feature_dim, data.feature_type)

    def __iter__(self) -> Iterator[Step]:
        """Yields steps; at most a few steps a thread are ready ahead."""
        waiting: collections.deque[Future[Step]] = collections.deque()
        plan, ahead = self._plan(), self._windows()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="packs") as pool:
            try:
                for planned in plan:
                    if ahead is not None:
                        ahead.enter(planned[4][self._rank::self._world])
                    waiting.append(pool.submit(self._read, *planned))
                    if len(waiting) > 2 * self._threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def step(self, number: int) -> tuple[Step, tuple[tuple[Sample, ...], ...]]:
        """Returns one step and the samples of each of this rank's lanes, nothing before it read.

        Raises UsageError for a step that the stage does not have.
        """
        last = self._start.step - 1
        for planned in self._plan():
            last = planned[0]
            if last == number:
                chosen = tuple(tuple(self._data.sample(int(one)) for one in planned[3][lane])
                               for lane in range(self._rank, len(planned[3]), self._world))
                return self._read(*planned), chosen
        raise UsageError(f"step {number}: stage {self._config.stages()[self._number][0]!r} has the steps "
                         f"{self._start.step} to {last}")

    def _windows(self) -> Windows | None:
        data = self._data
        if data.windows is None:
            return None
        lanes = data.lanes(self._config, self._number)[self._rank::self._world]
        return Windows(data.windows, data.readers, data.sizes.shard, lanes)

    def _plan(self) -> Iterator[tuple[int, int, int, list[NDArray[np.int64]], list[LaneState], list[LaneState]]]:
        lanes = self._data.lanes(self._config, self._number)
        states = list(self._start.lanes) or [LaneState()] * len(lanes)
        step, samples = self._start.step, self._start.samples
        while samples < self._stage.samples:
            before = states
            taken = [lane.take(state, self._limits) for lane, state in zip(lanes, states, strict=True)]
            states = [state for _, state in taken]
            numbers = [chosen for chosen, _ in taken]
            count = sum(map(len, numbers))
            yield step, samples, count, numbers, before, states
            step, samples = step + 1, samples + count

    def _read(self, step: int, samples: int, count: int, numbers: list[NDArray[np.int64]],
              before: list[LaneState], after: list[LaneState]) -> Step:
        packs, recipes, stayed, keys = [], {}, 0, {}
        skipped: list[tuple[int, str]] = []
        covered = [0] * len(LOSSES)
        reading = packing = 0.0
        for lane in range(self._rank, len(numbers), self._world):
            begun = time.perf_counter()
            features = self._features.take()
            chosen, left_out = self._readable(numbers[lane].tolist(), features)
            skipped += left_out
            read = time.perf_counter()
            # The pack's own counter: its step and lane.  Its samples' epoch keeps draws of two epochs apart.
            counters = (self._config.seed, self._number, before[lane].epoch, step, lane)
            pack, kept, recipe = self._pack(chosen, features, counters)
            packs.append((lane, pack))
            if recipe is not None:
                recipes[lane] = recipe
            stayed += kept
            keys[lane] = tuple(sample.key for sample in chosen)
            covered = [so_far + own for so_far, own in zip(covered, covered_by(pack), strict=True)]
            reading, packing = reading + read - begun, packing + time.perf_counter() - read
        return Step(step, samples, count, tuple(packs), recipes, tuple(skipped), stayed,
                    tuple(covered), keys, reading, packing, tuple(after))

    def _readable(self, numbers: list[int], features: FeatureRows) -> tuple[list[Sample], list[tuple[int, str]]]:
        """Returns the samples of a pack, and those it has empty slots for; raises UsageError for a damaged one.

        The samples' features are in `features`, end to end.
        """
        chosen: list[Sample] = []
        skipped = {number: self._data.skipped[number] for number in numbers if number in self._data.skipped}
        wanted = [number for number in numbers if number not in skipped]
        self._data.expect(wanted)
        for number, found in zip(wanted, self._data.samples(wanted, features.array), strict=True):
            if not isinstance(found, UsageError):
                chosen.append(found)
            elif self._config.damaged == "stop":
                raise UsageError(f"{found}; or leave such samples out: --set damaged=skip") from found
            else:      # for as long as the run, whatever the disk says later
                skipped[number] = self._data.skipped[number] = str(found)
        return chosen, [(number, skipped[number]) for number in numbers if number in skipped]

    def _pack(self, chosen: list[Sample], features: FeatureRows,
              counters: tuple[int, ...]) -> tuple[Pack, int, Recipe | None]:
        stage, stored = self._stage, features.finished(sum(len(sample.classes) for sample in chosen))
        if not stage.joint:
            rows = Rows.singles(len(chosen))
            return build_pack(chosen, rows, self._special, self._capacity, features=stored), 0, None
        joint, stayed = pairs_for_itm(chosen, stage.itm, stage.negatives, *counters)
        rows = joint.and_then(Rows.singles(len(chosen))) if stage.singles else joint
        masks = plan_masks(chosen, self._special, stage.masking, *counters)
        recipe = Recipe(tuple(chosen), joint, masks, stored, self._special, self._capacity, stage.itm, stage.hard,
                        counters) if stage.hard and chosen else None
        return build_pack(chosen, rows, self._special, self._capacity, masks, stored), stayed, recipe


def default_threads() -> int:
    """Returns how many threads read ahead where nobody says: one a two cores, at least one."""
    return max(1, (os.cpu_count() or 2) // 2)
