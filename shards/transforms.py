"""Beam wiring of shards/.  No rule lives here; what crosses a shuffle is ids, scores and addresses."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl import storage
from crawl.suppress import Suppression
from crawl.transforms import ReadTable
from filter.records import Best
from shards import reencode_run, regions_run, shards_run
from shards.order import OrderConfig, Range
from shards.patches import PatchesConfig
from shards.records import Placed
from shards.reencode import ReencodeConfig
from shards.regions_run import CELL_FILES, CellSource
from shards.same_images import SameImages
from shards.tokens import CaptionTokenizer, tokenizer_of
from shards.vocabulary import VocabConfig, words_of, write_vocabulary
from shards.writer import write_shard


@dataclasses.dataclass
class TrainVocabulary(beam.PTransform):
    """Names of `best` files -> a committed vocab.txt."""

    best: tuple[str, ...]
    directory: str
    config: VocabConfig

    def expand(self, root: Any) -> Any:
        return (root | "Read" >> ReadTable(self.best, Best)
                | "Training captions" >> beam.Filter(_is_training)
                | "Words" >> beam.FlatMap(_words)
                | "Count" >> beam.combiners.Count.PerElement()
                | "Most frequent" >> beam.combiners.Top.Of(self.config.max_words, key=_by_count)
                | "Train" >> beam.Map(write_vocabulary, self.directory, self.config))


@dataclasses.dataclass
class ReencodeImages(beam.PTransform):
    """Names of `best` files -> a committed part and a committed `best` of stored images each."""

    out: str
    best: tuple[str, ...]
    folder: str
    config: ReencodeConfig

    def expand(self, root: Any) -> Any:
        return (root | "Buckets" >> beam.Create(list(enumerate(self.best)))
                | "Spread" >> beam.Reshuffle()
                | "Reencode" >> beam.MapTuple(self._reencode))

    def _reencode(self, bucket: int, path: str) -> None:
        reencode_run.reencode_bucket(self.out, self.folder, path, bucket, len(self.best), self.config)


@dataclasses.dataclass
class FitCodebook(beam.PTransform):
    """Names of `best` files -> a committed codebook, fitted on training images drawn by hash."""

    out: str
    best: tuple[str, ...]
    record: type[Best]
    directory: str
    config: PatchesConfig

    def expand(self, root: Any) -> Any:
        return (root | "Read" >> ReadTable(self.best, self.record)
                | "Training images" >> beam.FlatMap(_cell_source, self.config)
                | "Draw" >> beam.combiners.Top.Smallest(self.config.codebook_images, key=_by_order)
                | "Deal" >> beam.FlatMap(_deal)
                | "Spread" >> beam.Reshuffle()
                | "Cells" >> beam.MapTuple(self._write_cells)
                | "All" >> beam.combiners.Count.Globally()
                | "Fit" >> beam.Map(self._fit))

    def _write_cells(self, number: int, sources: list[CellSource]) -> int:
        regions_run.write_cells(self.out, self.directory, number, sources, self.config)
        return number

    def _fit(self, _files: int) -> None:
        regions_run.fit_cells(self.directory, self.config)


@dataclasses.dataclass
class ExtractRegions(beam.PTransform):
    """Names of `best` files -> a committed part and address table each."""

    out: str
    best: tuple[str, ...]
    record: type[Best]
    folder: str
    config: PatchesConfig
    codebook: str
    known: tuple[str, ...]         # tables of an earlier stage whose regions are kept, a bucket each

    def expand(self, root: Any) -> Any:
        return (root | "Buckets" >> beam.Create(list(enumerate(self.best)))
                | "Spread" >> beam.Reshuffle()
                | "Extract" >> beam.MapTuple(self._extract))

    def _extract(self, bucket: int, path: str) -> None:
        regions_run.extract_bucket(self.out, self.folder, path, self.record, bucket, len(self.best), self.config,
                                   self.codebook, self.known[bucket] if self.known else "")


@dataclasses.dataclass
class WriteShards(beam.PTransform):
    """Names of (`best`, addresses) files -> committed shards and their plan."""

    out: str
    pairs: tuple[tuple[str, str], ...]
    record: type[Best]
    directory: str
    config: OrderConfig
    vocab: str
    suppressed: Suppression
    same: SameImages | None

    def expand(self, root: Any) -> Any:
        return (root | "Buckets" >> beam.Create(self.pairs)
                | "Spread" >> beam.Reshuffle()
                | "Samples" >> beam.FlatMap(_placed_rows, self.record, self.config, self.suppressed)
                | "Assign" >> AssignShards(self.directory, self.config)
                | "Write" >> beam.MapTuple(self._write))

    def _write(self, stem: str, placed: Iterable[Placed]) -> None:
        write_shard(self.out, self.directory, stem, placed, _tokenizer(self.vocab), self.config.inline_regions,
                    self.same)


@dataclasses.dataclass
class AssignShards(beam.PTransform):
    """Placed -> (name of a shard, its samples); commits the plan."""

    directory: str
    config: OrderConfig

    def expand(self, placed: Any) -> Any:
        samples = placed | "Range" >> beam.Map(lambda one: (shards_run.range_of_sample(one, self.config), one))
        counts = (samples | "Sizes" >> beam.MapTuple(lambda at, one: (at, (1, one.tar_bytes)))
                  | "Count" >> beam.CombinePerKey(_add_pairs))
        counts | "Totals" >> beam.combiners.ToDict() | "Plan" >> beam.Map(self._plan)
        return (samples | "Gather ranges" >> beam.GroupByKey()
                | "Cut" >> beam.FlatMap(_assign, self.config, counts=beam.pvalue.AsDict(counts))
                | "Gather shards" >> beam.GroupByKey())

    def _plan(self, counts: dict[Range, tuple[int, int]]) -> None:
        shards_run.write_plan(counts, self.directory, self.config)


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab: str) -> CaptionTokenizer:
    return tokenizer_of(storage.read_bytes(vocab), vocab)


def _is_training(best: Best) -> bool:
    return best.split == "train"


def _words(best: Best) -> list[str]:
    return words_of(best.caption)


def _by_count(counted: tuple[str, int]) -> tuple[int, str]:
    return counted[1], counted[0]


def _cell_source(best: Best, config: PatchesConfig) -> list[CellSource]:
    source = regions_run.cell_source(best, config)
    return [] if source is None else [source]


def _by_order(source: CellSource) -> tuple[str, str]:
    return source.order, source.key


def _deal(drawn: list[CellSource]) -> Iterator[tuple[int, list[CellSource]]]:
    for number in range(CELL_FILES):
        yield number, drawn[number::CELL_FILES]


def _placed_rows(pair: tuple[str, str], record: type[Best], config: OrderConfig,
                 suppressed: Suppression) -> Iterator[Placed]:
    return shards_run.placed_rows(*pair, record, config, suppressed)


def _add_pairs(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    listed = list(pairs)
    return sum(count for count, _ in listed), sum(size for _, size in listed)


def _assign(gathered: tuple[Range, Iterable[Placed]], config: OrderConfig,
            counts: dict[Range, tuple[int, int]]) -> Iterator[tuple[str, Placed]]:
    return shards_run.assign(*gathered, counts, config)
