"""Shards in, the packs of each step out: planned from the indexes, read ahead by threads.

What a step holds depends on the plan and the shards alone.  Threads only decide how early it is ready.
"""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from model.inputs import Pack
from model.losses import LOSSES, covered_by
from shards.manifest import ShardSet
from shards.reader import ShardReader, open_shard
from shards.tokens import MAX_PIECES, SPECIALS, CaptionTokenizer, load_tokenizer
from train.masking import plan_masks
from train.negatives import pairs_for_itm
from train.order import Lane, LaneState, SampleSizes, deal, pieces_of
from train.packing import Rows, Sample, SpecialTokens, build_pack
from train.plan import DataFacts, StageConfig, TrainConfig, capacity_of, limits_of
from train.randomness import mix

SPLIT = "train"


class TrainingData:
    """The training split of a set of shards, opened: sizes of all samples in memory, the rest on disk.

    A sample whose image has no regions is not trained on.  Raises UsageError for shards without regions, with features
    that are not u8, or without samples to train on.
    """

    def __init__(self, shards: ShardSet, regions: int, cache_mib: int = 0) -> None:
        files = shards.of_split(SPLIT)
        if not shards.samples(SPLIT):
            raise UsageError(f"{shards.directory}: no training samples; build the shards from more pages")
        without = next((shard.name for shard in files if not shard.regions), "")
        if without:
            raise UsageError(f"{shards.directory}/{without} has no regions; build the shards with a region extractor")
        if not shards.quantisation.startswith("u8"):
            raise UsageError(f"{shards.directory}: features are stored as {shards.quantisation}; the trainer takes u8, "
                             f"extract the regions again with u8 features")
        self.shards, self.limit = shards, regions
        self.tokenizer: CaptionTokenizer = load_tokenizer(shards.path(shards.vocab))
        if self.tokenizer.digest != shards.tokenizer_digest:
            raise UsageError(f"{shards.path(shards.vocab)} is not the vocabulary the shards were built with; restore "
                             f"it, or build the shards again")
        self.readers = [open_shard(shards, shard) for shard in files]
        self.sizes = _sizes_of(self.readers, regions)
        if not self.sizes.regions.any():
            raise UsageError(f"{shards.directory}: no training image has regions ({shards.extractor}); extract them "
                             f"again with `imagebert regions`")
        self._cache: dict[int, Sample] = {}
        self._cache_left = cache_mib << 20
        self._cache_lock = threading.Lock()

    @property
    def facts(self) -> DataFacts:
        """Returns what the data decides about a model."""
        return DataFacts(self.tokenizer.vocab_size, self.shards.feature_dim, max(self.shards.num_classes, 1),
                         min(self.limit, self.shards.max_regions), MAX_PIECES, self.shards.num_classes > 0)

    @property
    def special(self) -> SpecialTokens:
        """Returns the ids the layout needs."""
        return special_tokens(self.tokenizer)

    def lanes(self, config: TrainConfig, stage: int) -> list[Lane]:
        """Returns the lanes of a stage."""
        whole = pieces_of([len(reader) for reader in self.readers], config.lanes)
        pieces = [seen for piece in whole if len(seen := piece[self.sizes.regions[piece] > 0])]
        if len(pieces) < config.lanes:
            raise UsageError(f"{self.shards.directory}: {sum(map(len, pieces))} training images with regions for "
                             f"{config.lanes} lanes; build more shards or --set lanes={max(1, len(pieces))}")
        dealt = deal([len(piece) for piece in pieces], config.lanes)
        return [Lane(self.sizes, [pieces[number] for number in numbers], config.window, config.seed, stage, lane)
                for lane, numbers in enumerate(dealt)]

    def sample(self, number: int) -> Sample:
        """Returns a sample by its number in the plan; decoded ones stay in memory as long as there is room."""
        kept = self._cache.get(number)
        if kept is not None:
            return kept
        reader = self.readers[int(self.sizes.shard[number])]
        sample = read_sample(reader, int(self.sizes.row[number]), self.tokenizer, self.limit)
        with self._cache_lock:
            self._cache_left -= sample.features.nbytes + sample.words.nbytes + 1024
            if self._cache_left > 0:
                self._cache[number] = sample
        return sample

    def close(self) -> None:
        """Closes the shards."""
        for reader in self.readers:
            reader.close()


def special_tokens(tokenizer: CaptionTokenizer) -> SpecialTokens:
    """Returns the ids the layout needs, from a tokenizer."""
    ids = tokenizer.ids
    return SpecialTokens(ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], tokenizer.vocab_size,
                         tuple(ids[name] for name in SPECIALS))


def read_sample(reader: ShardReader, row: int, tokenizer: CaptionTokenizer, limit: int) -> Sample:
    """Returns one sample of a shard, with its `limit` most confident regions."""
    entry, key = reader.index[row], reader.key(row)
    regions = reader.regions(row, limit)
    words, _ = tokenizer.encode(reader.caption(row))
    count = len(regions)
    if regions.scale is None:
        raise UsageError(f"{reader.shard.regions}: {key} has features that are not u8; extract the regions again")
    zero = np.zeros(count, np.float32) if regions.zero is None else regions.zero.astype(np.float32)
    return Sample(
        key=key, key_hash=key_hash(key), words=np.array(words, np.int64), features=regions.feat,
        scale=regions.scale.astype(np.float32), zero=zero, boxes=regions.box.astype(np.float32),
        classes=np.maximum(regions.cls, 0).astype(np.int64), image_hash=int(entry["image_hash"]),
        group_hash=int(entry["group_hash"]), caption_hash=token_hash(words))


def key_hash(key: str) -> int:
    """Returns the 64 bits of a key that masks are drawn from."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def token_hash(words: list[int]) -> int:
    """Returns 64 bits that are equal for token-identical captions (the index's hash is of the text)."""
    return int(mix(len(words), *words))


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step as one rank sees it."""

    number: int                    # from 0, in the stage
    samples_before: int            # of all lanes, in the stage: what the schedule counts
    samples: int                   # of all lanes, in this step
    packs: tuple[tuple[int, Pack], ...]   # lane and pack, of this rank's lanes
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
        self._limits = limits_of(self._stage, data.facts)
        self._capacity = capacity_of(self._stage, config, data.facts)
        self._special = data.special

    def __iter__(self) -> Iterator[Step]:
        """Yields steps; at most a few steps a thread are ready ahead."""
        waiting: collections.deque[Future[Step]] = collections.deque()
        plan = self._plan()
        with ThreadPoolExecutor(self._threads, thread_name_prefix="packs") as pool:
            try:
                for planned in plan:
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
        packs, stayed, keys = [], 0, {}
        covered = [0] * len(LOSSES)
        reading = packing = 0.0
        for lane in range(self._rank, len(numbers), self._world):
            begun = time.perf_counter()
            chosen = [self._data.sample(int(number)) for number in numbers[lane]]
            read = time.perf_counter()
            # The pack's own counter: its step and lane.  Its samples' epoch keeps draws of two epochs apart.
            counters = (self._config.seed, self._number, before[lane].epoch, step, lane)
            pack, kept = self._pack(chosen, counters)
            packs.append((lane, pack))
            stayed += kept
            keys[lane] = tuple(sample.key for sample in chosen)
            covered = [so_far + own for so_far, own in zip(covered, covered_by(pack), strict=True)]
            reading, packing = reading + read - begun, packing + time.perf_counter() - read
        return Step(step, samples, count, tuple(packs), stayed, tuple(covered), keys, reading, packing, tuple(after))

    def _pack(self, chosen: list[Sample], counters: tuple[int, ...]) -> tuple[Pack, int]:
        stage = self._stage
        if not stage.joint:
            return build_pack(chosen, Rows.singles(len(chosen)), self._special, self._capacity), 0
        rows, stayed = pairs_for_itm(chosen, stage.itm, stage.negatives, *counters)
        if stage.singles:
            rows = rows.and_then(Rows.singles(len(chosen)))
        masks = plan_masks(chosen, self._special, stage.masking, *counters)
        return build_pack(chosen, rows, self._special, self._capacity, masks), stayed


def _sizes_of(readers: list[ShardReader], limit: int) -> SampleSizes:
    counts = [len(reader) for reader in readers]
    return SampleSizes(
        shard=np.repeat(np.arange(len(readers)), counts), row=np.concatenate([np.arange(count) for count in counts]),
        regions=np.minimum(np.concatenate([reader.index["num_regions"] for reader in readers]), limit).astype(np.int64),
        words=np.concatenate([reader.index["num_tokens"] for reader in readers]).astype(np.int64))


def default_threads() -> int:
    """Returns how many threads read ahead where nobody says: one a two cores, at least one."""
    return max(1, (os.cpu_count() or 2) // 2)
