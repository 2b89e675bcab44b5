"""Shards in: the sizes of all samples in memory, each sample read when a step wants it (train/stream.py).
"""
from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crawl.errors import UsageError
from model.config import ModelConfig
from shards.manifest import ShardFile, ShardSet
from shards.reader import ShardReader
from shards.tokens import MAX_PIECES, SPECIALS, CaptionTokenizer, load_tokenizer
from train.every_caption import BEST, ONE, captions_of_images, tell_every_caption
from train.gathering import read_sample, read_samples
from train.mixture import Part, parse_part
from train.order import Lane, Piece, SampleSizes, cut_for, deal
from train.packing import Sample, SpecialTokens
from train.plan import DataFacts, StageConfig, TrainConfig
from train.predicates import Predicate, parse_predicate, rows_that_hold
from train.tags import region_names
from train.windows import cache_for, open_readers
from train.word_counts import word_counts

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
                 window_cache_mib: int = 0, captions: str = BEST) -> None:
        """`captions` says which of an image's (train/every_caption.py)."""
        self.sets, self.limit, self.captions = dict(sets), regions, captions
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
        if captions != BEST:
            for reader in self.readers:
                tell_every_caption(reader, self.tokenizer)
        self._files = files
        self.sizes = _sizes_of(self.readers, regions, self._words())
        if not self.sizes.regions.any():
            raise UsageError(f"{first.directory}: no training image has regions ({first.extractor}); extract them "
                             f"again with `imagebert regions`")
        self._ends = np.cumsum([len(reader) for reader in self.readers])
        self.skipped: dict[int, str] = {}      # sample number -> why: removed, or damaged and left out
        for place, (_, shards, shard) in enumerate(files):
            gone = np.array(sorted(key.encode() for key in shards.removed_from(shard)), dtype="S32")
            rows = np.flatnonzero(np.isin(self.readers[place].index["key"], gone)).tolist() if len(gone) else []
            self.skipped.update((self._first(place) + row, REMOVED) for row in rows)
        self._answers: dict[tuple[int, tuple[Predicate, ...]], NDArray[np.bool_]] = {}
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

    def pieces(self, stage: StageConfig) -> list[Piece]:
        """Returns what an epoch of the stage shows, shard by shard; raises UsageError for a set nobody gave."""
        predicates = [parse_predicate(text) for text in stage.where]
        found = []
        for part in self._parts(stage):
            if part.name not in self.sets:
                raise UsageError(f"stage {stage.name!r} wants the set {part.name!r}, given are "
                                 f"{', '.join(self.sets)}; add --shards {part.name}=ROOT, or --set "
                                 f"'{stage.name}.data=[\"NAME\"]', or leave it out: --set {stage.name}.epochs=0")
            for place, (name, shards, shard) in enumerate(self._files):
                if name == part.name:
                    numbers, captions, held = self._held(place, shards, shard, predicates)
                    held = held & (self.sizes.regions[numbers] > 0)
                    whole = Piece(numbers[held], 1.0, None if captions is None else captions[held])
                    found += [whole] * part.whole
                    found += [dataclasses.replace(whole, share=part.rest)] * (part.rest > 0)
        return [piece for piece in found if len(piece.numbers)]

    def left_out(self, stage: StageConfig) -> dict[str, int]:
        """Returns how many samples of its sets a stage does not show, by reason; `removed` ones leave empty places."""
        predicates = [parse_predicate(text) for text in stage.where]
        counts = {"where": 0, "no_regions": 0, "removed": 0}
        names = {part.name for part in self._parts(stage)}
        removed = [number for number, why in self.skipped.items() if why == REMOVED]
        for place, (name, shards, shard) in enumerate(self._files):
            if name in names:
                numbers, _, held = self._held(place, shards, shard, predicates)
                counts["where"] += int((~held).sum())
                counts["no_regions"] += int((self.sizes.regions[numbers[held]] == 0).sum())
                counts["removed"] += int(np.isin(numbers[held], removed).sum()) if removed else 0
        return {reason: count for reason, count in counts.items() if count}

    def _parts(self, stage: StageConfig) -> list[Part]:
        return [parse_part(text) for text in stage.data] or [Part(name) for name in self.sets]

    def _held(self, place: int, shards: ShardSet, shard: ShardFile, predicates: list[Predicate]
              ) -> tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.bool_]]:
        """Returns the numbers of a shard's samples, how many captions each can be shown with (None: one), and which of
        them the predicates hold of."""
        keys = self.readers[place].index["key"]
        if self.captions == BEST:
            held, rows, captions = self._asked(place, shards, shard, keys, predicates), np.arange(len(keys)), None
        else:
            first, count = captions_of_images(keys)
            held = self._asked(place, shards, shard, keys[first], predicates)
            rows, captions = (first, count) if self.captions == ONE else (np.arange(len(keys)), None)
            held = held if self.captions == ONE else np.repeat(held, count)
        return self._first(place) + rows, captions, held

    def _asked(self, place: int, shards: ShardSet, shard: ShardFile, keys: NDArray[np.bytes_],
               predicates: list[Predicate]) -> NDArray[np.bool_]:
        """Returns for each key of a shard whether the predicates hold; its table is read once for them."""
        asked = (place, tuple(predicates))
        if asked not in self._answers:
            self._answers[asked] = rows_that_hold(shards, shard, keys, predicates)
        return self._answers[asked]

    def lanes(self, config: TrainConfig, stage: int) -> list[Lane]:
        """Returns the lanes of a stage; raises UsageError when it has fewer samples than lanes."""
        name, wanted = config.stages()[stage]
        pieces = cut_for(self.pieces(wanted), config.lanes, name)
        dealt = deal([piece.expected for piece in pieces], config.lanes)
        return [Lane(self.sizes, [pieces[number] for number in numbers], config.window, config.seed, stage, lane)
                for lane, numbers in enumerate(dealt)]

    def resolved(self, config: TrainConfig) -> TrainConfig:
        """Returns the config with every stage's epochs turned into samples, and the names of tags filled in."""
        if config.model.tags and not config.model.tag_names:
            names = region_names(next(iter(self.sets.values())))
            config = dataclasses.replace(config, model=dataclasses.replace(config.model, tag_names=names))
        for _, stage in config.stages():
            if stage.epochs:
                each = sum(piece.expected for piece in self.pieces(stage))
                samples = max(1, round(stage.epochs * each))
                config = config.with_stage(dataclasses.replace(stage, samples=samples, epochs=0.0))
        return config

    def sample(self, number: int) -> Sample:
        """Returns a sample by its number in the plan."""
        reader, row = self._place(number)
        return read_sample(reader, row, self.tokenizer, self.limit)

    def samples(self, numbers: Sequence[int], into: NDArray[Any]) -> list[Sample | UsageError]:
        """Returns samples, their features end to end in the rows of `into`, or instead what is wrong with one.

        Decoded ones stay in memory as long as there is room.
        """
        wanted = [self._cache.get(number) or self._place(number) for number in numbers]
        found = read_samples(wanted, self.tokenizer, self.limit, into)
        if self._cache_left > 0:
            for number, sample in zip(numbers, found, strict=True):
                if isinstance(sample, Sample) and number not in self._cache:
                    self._keep(number, sample)
        return found

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
        """Returns a key's numbers: none, or one in each set that has it; one a caption where several are told."""
        return [self._first(place) + int(row) for place, reader in enumerate(self.readers)
                for row in np.flatnonzero(reader.index["key"] == key.encode())]

    def close(self) -> None:
        """Closes the shards."""
        for reader in self.readers:
            reader.close()
        if self.windows is not None:
            self.windows.close()

    def _place(self, number: int) -> tuple[ShardReader, int]:
        return self.readers[int(self.sizes.shard[number])], int(self.sizes.row[number])

    def _keep(self, number: int, sample: Sample) -> None:
        with self._cache_lock:
            self._cache_left -= sample.features.nbytes + sample.words.nbytes + 1024
            room = self._cache_left > 0
        if room:      # a copy of the features: where they are now is lent
            self._cache[number] = dataclasses.replace(sample, features=sample.features.copy())

    def _first(self, place: int) -> int:
        return int(self._ends[place]) - len(self.readers[place])

    @property
    def notes(self) -> tuple[str, ...]:
        """Returns what a person should know of the sets before a run: a line each."""
        return tuple(f"{name}: built with another vocabulary, its captions are read with that of "
                     f"{next(iter(self.sets))}" for name, shards in self.sets.items()
                     if shards.tokenizer_digest != self.tokenizer.digest)

    def _words(self) -> list[NDArray[np.uint16]]:
        """Returns the number of word pieces of each shard's captions, counted again where the vocabulary is another."""
        if self.captions != BEST:
            return [reader.index["num_tokens"].astype(np.uint16) for reader in self.readers]
        found: list[NDArray[np.uint16]] = []
        for name, shards in self.sets.items():
            opened = [(shard, reader) for (own, _, shard), reader in zip(self._files, self.readers, strict=True)
                      if own == name]
            found += word_counts(shards, opened, self.tokenizer)
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


def special_tokens(tokenizer: CaptionTokenizer, model: ModelConfig) -> SpecialTokens:
    """Returns the ids the layout needs, from a tokenizer, and what a model wants beside regions."""
    ids = tokenizer.ids
    names = model.tag_names if model.tags else ()
    return SpecialTokens(ids["[CLS]"], ids["[SEP]"], ids["[MASK]"], tokenizer.vocab_size,
                         tuple(ids[name] for name in SPECIALS), model.global_region, model.tags,
                         tuple(tuple(tokenizer.encode(name)[0]) for name in names))


def _sizes_of(readers: list[ShardReader], limit: int, words: list[NDArray[np.uint16]]) -> SampleSizes:
    counts = [len(reader) for reader in readers]
    regions = np.concatenate([reader.index["num_regions"] for reader in readers])
    return SampleSizes(
        shard=np.repeat(np.arange(len(readers), dtype=np.int32), counts),
        row=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]),
        regions=np.minimum(regions, limit).astype(np.uint16), words=np.concatenate(words))
