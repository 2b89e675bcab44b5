"""Shards in, the packs of each step out: planned from the indexes, read ahead by threads.

What a step holds depends on the plan and the shards alone.  Threads only decide how early it is ready.
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crawl.errors import UsageError
from crawl.object_store import StoreUsageError
from model.inputs import Pack
from model.losses import LOSSES, covered_by
from shards.manifest import ShardSet
from shards.reader import ShardReader
from shards.tokens import MAX_PIECES, SPECIALS, CaptionTokenizer, load_tokenizer
from train.feature_buffers import FeatureBuffers, FeatureRows
from train.masking import plan_masks
from train.mixture import Part, parse_part
from train.negatives import pairs_for_itm
from train.order import Lane, LaneState, Piece, SampleSizes, cut_for, deal
from train.packing import Rows, Sample, SpecialTokens, build_pack
from train.plan import DataFacts, StageConfig, TrainConfig, capacity_of, limits_of
from train.predicates import parse_predicate, rows_that_hold
from train.randomness import mix_one
from train.windows import Windows, cache_for, open_readers

SPLIT = "train"
_TRIED = 4         # images of a shard that are looked at for what all of them have
REMOVED = "removed from the set"


class TrainingData:
    """The training splits of sets of shards, opened: sizes of all samples in memory, the rest on disk.

    A sample that was removed keeps its place in the order, as an empty slot: a removal moves no other sample.  A
    sample whose image has no regions is not trained on.  Raises UsageError for shards without regions, with features
    that are neither u8 nor f16, or without samples to train on.
    """

    def __init__(self, sets: Mapping[str, ShardSet], regions: int, cache_mib: int = 0,
                 window_cache_mib: int = 0) -> None:
        self.sets, self.limit = dict(sets), regions
        first = next(iter(sets.values()))
        self.tokenizer: CaptionTokenizer = load_tokenizer(first.path(first.vocab))
        if self.tokenizer.digest != first.tokenizer_digest:
            raise UsageError(f"{first.path(first.vocab)} is not the vocabulary the shards were built with; restore "
                             f"it, or build the shards again")
        for shards in sets.values():
            _check(shards)
        files = [(name, shards, shard) for name, shards in sets.items() for shard in shards.of_split(SPLIT)]
        self.windows = cache_for(list(sets.values()), window_cache_mib)
        self.readers = open_readers([(shards, shard) for _, shards, shard in files], self.windows)
        self._files = files
        self.sizes = _sizes_of(self.readers, regions, self._words())
        if not self.sizes.regions.any():
            raise UsageError(f"{first.directory}: no training image has regions ({first.extractor}); extract them "
                             f"again with `imagebert regions`")
        self._ends = np.cumsum([len(reader) for reader in self.readers])
        self.skipped: dict[int, str] = {}      # sample number -> why: removed, or damaged and left out
        for place, (_, shards, shard) in enumerate(files):
            gone = np.array(sorted(key.encode() for key in shards.removed_from(shard)), dtype="S32")
            for row in np.flatnonzero(np.isin(self.readers[place].index["key"], gone)).tolist():
                self.skipped[self._first(place) + row] = REMOVED
        self._has_soft = self._stores_soft()
        self._cache: dict[int, Sample] = {}
        self._cache_left = cache_mib << 20
        self._cache_lock = threading.Lock()

    @property
    def facts(self) -> DataFacts:
        """Returns what the data decides about a model."""
        some = next(iter(self.sets.values()))
        most = max(shards.max_regions for shards in self.sets.values())
        return DataFacts(self.tokenizer.vocab_size, some.feature_dim, max(some.num_classes, 1),
                         min(self.limit, most), MAX_PIECES, has_soft=self._has_soft, has_classes=some.num_classes > 0)

    def _stores_soft(self) -> bool:
        """Returns whether every set's regions have class probabilities, by the first image that can be read."""
        found: dict[str, bool] = {}
        for (name, _, _), reader in zip(self._files, self.readers, strict=True):
            for row in np.flatnonzero(reader.index["num_regions"])[:_TRIED].tolist():
                if name not in found:
                    with contextlib.suppress(UsageError):      # damage is the run's to tell, or to skip
                        found[name] = reader.regions(row, 1).soft_p is not None
        return len(found) == len(self.sets) and all(found.values())

    @property
    def feature_type(self) -> torch.dtype:
        """Returns the type features have in packs: f16 where a set has f16 ones."""
        halves = any(shards.quantisation == "f16" for shards in self.sets.values())
        return torch.float16 if halves else torch.uint8

    @property
    def vocab_path(self) -> str:
        """Returns the vocabulary file."""
        first = next(iter(self.sets.values()))
        return first.path(first.vocab)

    @property
    def special(self) -> SpecialTokens:
        """Returns the ids the layout needs."""
        return special_tokens(self.tokenizer)

    def pieces(self, stage: StageConfig) -> list[Piece]:
        """Returns what an epoch of the stage shows, shard by shard; raises UsageError for a set nobody gave."""
        parts = [parse_part(text) for text in stage.data] or [Part(name) for name in self.sets]
        predicates = [parse_predicate(text) for text in stage.where]
        found = []
        for part in parts:
            if part.name not in self.sets:
                raise UsageError(f"stage {stage.name!r} wants the set {part.name!r}, given are "
                                 f"{', '.join(self.sets)}; add --shards {part.name}=ROOT, or --set "
                                 f"'{stage.name}.data=[\"NAME\"]', or leave it out: --set {stage.name}.epochs=0")
            for place, (name, shards, shard) in enumerate(self._files):
                if name == part.name:
                    held = rows_that_hold(shards, shard, self.readers[place].index["key"], predicates)
                    numbers = self._first(place) + np.flatnonzero(held)
                    numbers = numbers[self.sizes.regions[numbers] > 0]
                    found += [Piece(numbers)] * part.whole + [Piece(numbers, part.rest)] * (part.rest > 0)
        return [piece for piece in found if len(piece.numbers)]

    def lanes(self, config: TrainConfig, stage: int) -> list[Lane]:
        """Returns the lanes of a stage; raises UsageError when it has fewer samples than lanes."""
        name, wanted = config.stages()[stage]
        pieces = cut_for(self.pieces(wanted), config.lanes, name)
        dealt = deal([piece.expected for piece in pieces], config.lanes)
        return [Lane(self.sizes, [pieces[number] for number in numbers], config.window, config.seed, stage, lane)
                for lane, numbers in enumerate(dealt)]

    def resolved(self, config: TrainConfig) -> TrainConfig:
        """Returns the config with every stage's epochs turned into samples."""
        for _, stage in config.stages():
            if stage.epochs:
                each = sum(piece.expected for piece in self.pieces(stage))
                samples = max(1, round(stage.epochs * each))
                config = config.with_stage(dataclasses.replace(stage, samples=samples, epochs=0.0))
        return config

    def sample(self, number: int, into: NDArray[Any] | None = None) -> Sample:
        """Returns a sample by its number in the plan; decoded ones stay in memory as long as there is room.

        With `into`, its features are in the first rows of it.
        """
        kept = self._cache.get(number)
        if kept is not None:
            if into is None:
                return kept
            into[:len(kept.features)] = kept.features
            return dataclasses.replace(kept, features=into[:len(kept.features)])
        reader = self.readers[int(self.sizes.shard[number])]
        sample = read_sample(reader, int(self.sizes.row[number]), self.tokenizer, self.limit, into)
        if self._cache_left > 0:
            with self._cache_lock:
                self._cache_left -= sample.features.nbytes + sample.words.nbytes + 1024
                room = self._cache_left > 0
            if room:
                self._cache[number] = dataclasses.replace(sample, features=sample.features.copy())
        return sample

    def expect(self, numbers: list[int]) -> None:
        """Begins to read what is remote of some samples, all of them side by side."""
        for number in numbers if self.windows is not None else ():
            if number not in self._cache and number not in self.skipped:
                self.readers[int(self.sizes.shard[number])].expect(int(self.sizes.row[number]))

    def key(self, number: int) -> str:
        """Returns a sample's key."""
        return self.readers[int(self.sizes.shard[number])].key(int(self.sizes.row[number]))

    def set_of(self, number: int) -> str:
        """Returns the name of the set a sample is of."""
        return self._files[int(self.sizes.shard[number])][0]

    def numbers_of(self, key: str) -> list[int]:
        """Returns a key's numbers: none, or one in each set that has it."""
        return [self._first(place) + int(row) for place, reader in enumerate(self.readers)
                for row in np.flatnonzero(reader.index["key"] == key.encode())]

    def close(self) -> None:
        """Closes the shards."""
        for reader in self.readers:
            reader.close()
        if self.windows is not None:
            self.windows.close()

    def _first(self, place: int) -> int:
        return int(self._ends[place]) - len(self.readers[place])

    def _words(self) -> list[NDArray[np.uint16]]:
        """Returns the number of word pieces of each shard's captions, counted again where the vocabulary is another."""
        found = []
        for (_, shards, _), reader in zip(self._files, self.readers, strict=True):
            if shards.tokenizer_digest == self.tokenizer.digest:
                found.append(reader.index["num_tokens"].astype(np.uint16))
                continue
            captions = (reader.caption(row) for row in range(len(reader)))
            found.append(np.array([len(self.tokenizer.encode(caption)[0]) for caption in captions], np.uint16))
        return found


def _check(shards: ShardSet) -> None:
    files = shards.of_split(SPLIT)
    if not shards.samples(SPLIT):
        raise UsageError(f"{shards.directory}: no training samples; build the shards from more pages")
    without = next((shard.name for shard in files if not shard.regions), "")
    if without:
        raise UsageError(f"{shards.directory}/{without} has no regions; build the shards with a region extractor")
    if not shards.quantisation.startswith(("u8", "f16")):
        raise UsageError(f"{shards.directory}: features are stored as {shards.quantisation}; the trainer takes u8 and "
                         f"f16, extract the regions again")


def special_tokens(tokenizer: CaptionTokenizer) -> SpecialTokens:
    """Returns the ids the layout needs, from a tokenizer."""
    ids = tokenizer.ids
    return SpecialTokens(ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], tokenizer.vocab_size,
                         tuple(ids[name] for name in SPECIALS))


def read_sample(reader: ShardReader, row: int, tokenizer: CaptionTokenizer, limit: int,
                into: NDArray[Any] | None = None) -> Sample:
    """Returns one sample of a shard, with its `limit` most confident regions (features in `into`, where given)."""
    entry, key = reader.index[row], reader.key(row)
    regions = reader.regions(row, limit, into)
    words, _ = tokenizer.encode(reader.caption(row))
    scale, zero = regions.scale_and_zero()
    return Sample(
        key=key, key_hash=key_hash(key), words=np.array(words, np.int64), features=regions.feat,
        scale=scale, zero=zero, boxes=regions.box.astype(np.float32),
        classes=np.maximum(regions.cls, 0).astype(np.int64), image_hash=int(entry["image_hash"]),
        group_hash=int(entry["group_hash"]), caption_hash=token_hash(words),
        soft_ids=None if regions.soft_id is None else np.maximum(regions.soft_id, 0).astype(np.int64),
        soft_p=None if regions.soft_p is None else regions.soft_p.astype(np.float32))


def key_hash(key: str) -> int:
    """Returns the 64 bits of a key that masks are drawn from."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def token_hash(words: list[int]) -> int:
    """Returns 64 bits that are equal for token-identical captions (the index's hash is of the text)."""
    return mix_one(len(words), *words)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One step as one rank sees it."""

    number: int                    # from 0, in the stage
    samples_before: int            # of all lanes, in the stage: what the schedule counts
    samples: int                   # of all lanes, in this step
    packs: tuple[tuple[int, Pack], ...]   # lane and pack, of this rank's lanes
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
        self._limits = limits_of(self._stage, data.facts)
        self._capacity = capacity_of(self._stage, config, data.facts)
        self._special = data.special
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
        packs, stayed, keys = [], 0, {}
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
            pack, kept = self._pack(chosen, features, counters)
            packs.append((lane, pack))
            stayed += kept
            keys[lane] = tuple(sample.key for sample in chosen)
            covered = [so_far + own for so_far, own in zip(covered, covered_by(pack), strict=True)]
            reading, packing = reading + read - begun, packing + time.perf_counter() - read
        return Step(step, samples, count, tuple(packs), tuple(skipped), stayed,
                    tuple(covered), keys, reading, packing, tuple(after))

    def _readable(self, numbers: list[int], features: FeatureRows) -> tuple[list[Sample], list[tuple[int, str]]]:
        """Returns the samples of a pack, and those it has empty slots for; raises UsageError for a damaged one.

        The samples' features are in `features`, end to end.
        """
        chosen: list[Sample] = []
        skipped, used = [], 0
        self._data.expect(numbers)
        for number in numbers:
            reason = self._data.skipped.get(number, "")
            if not reason:
                try:
                    chosen.append(self._data.sample(number, features.array[used:]))
                    used += len(chosen[-1].classes)
                    continue
                except StoreUsageError:
                    raise                                    # a store that is out of reach damages no sample
                except UsageError as error:
                    if self._config.damaged == "stop":
                        raise UsageError(f"{error}; or leave such samples out: --set damaged=skip") from error
                    reason = str(error)
                    self._data.skipped[number] = reason      # for as long as the run, whatever the disk says later
            skipped.append((number, reason))
        return chosen, skipped

    def _pack(self, chosen: list[Sample], features: FeatureRows, counters: tuple[int, ...]) -> tuple[Pack, int]:
        stage, stored = self._stage, features.finished(sum(len(sample.classes) for sample in chosen))
        if not stage.joint:
            rows = Rows.singles(len(chosen))
            return build_pack(chosen, rows, self._special, self._capacity, features=stored), 0
        rows, stayed = pairs_for_itm(chosen, stage.itm, stage.negatives, *counters)
        if stage.singles:
            rows = rows.and_then(Rows.singles(len(chosen)))
        masks = plan_masks(chosen, self._special, stage.masking, *counters)
        return build_pack(chosen, rows, self._special, self._capacity, masks, stored), stayed


def _sizes_of(readers: list[ShardReader], limit: int, words: list[NDArray[np.uint16]]) -> SampleSizes:
    counts = [len(reader) for reader in readers]
    regions = np.concatenate([reader.index["num_regions"] for reader in readers])
    return SampleSizes(
        shard=np.repeat(np.arange(len(readers), dtype=np.int32), counts),
        row=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        regions=np.minimum(regions, limit).astype(np.uint16), words=np.concatenate(words))


def default_threads() -> int:
    """Returns how many threads read ahead where nobody says: one a two cores, at least one."""
    return max(1, (os.cpu_count() or 2) // 2)
