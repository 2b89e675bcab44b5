"""Beam wiring of region files: convert pieces, join rows to kept images.  Ids and addresses cross the shuffle."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl.transforms import ReadTable, WriteTable
from filter.records import Best
from shards import precomputed_run
from shards.precomputed_run import PrecomputedRow
from shards.records import EXTRACTED, RegionAddress, why_not_stored
from shards.region_config import RegionsConfig
from shards.region_files import Piece

# Images that share an id are told so up to this number, the rest that there is no row for them.
_MOST_OF_AN_ID = 64


@dataclasses.dataclass
class ConvertFiles(beam.PTransform):
    """Pieces of region files -> a committed part and table each."""

    pieces: tuple[Piece, ...]
    folder: str
    out: str
    config: RegionsConfig

    def expand(self, root: Any) -> Any:
        return (root | "Pieces" >> beam.Create(self.pieces)
                | "Spread" >> beam.Reshuffle()
                | "Convert" >> beam.Map(self._convert))

    def _convert(self, piece: Piece) -> None:
        precomputed_run.convert_piece(self.out, self.folder, piece, len(self.pieces), self.config)


@dataclasses.dataclass
class JoinRegions(beam.PTransform):
    """Names of `best` files and of tables of rows -> a committed table of addresses for each `best` file."""

    best: tuple[str, ...]
    record: type[Best]
    rows: tuple[str, ...]
    directory: str
    match: str
    without: RegionAddress

    def expand(self, root: Any) -> Any:
        best = root | "Kept" >> ReadTable(self.best, self.record)
        ids = best | "Ids" >> beam.FlatMap(precomputed_run.ids_of, self.match)
        wanted = ids | "Few of an id" >> beam.combiners.Top.SmallestPerKey(_MOST_OF_AN_ID)
        rows = (root | "Rows" >> ReadTable(self.rows, PrecomputedRow)
                | "Of use" >> beam.Filter(lambda row: row.outcome == EXTRACTED)
                | "By id" >> beam.Map(_by_id, self.match)
                | "First of an id" >> beam.CombinePerKey(_first))
        found = ({"wanted": wanted, "rows": rows} | "Meet" >> beam.CoGroupByKey()
                 | "Found" >> beam.FlatMap(_joined))
        keys = best | "Keys" >> beam.Map(lambda one: (one.key, why_not_stored(one)))
        return ({"best": keys, "found": found} | "By image" >> beam.CoGroupByKey()
                | "Settle" >> beam.Map(_settled, self.without)
                | "Write" >> WriteTable(self.directory, "regions", RegionAddress, "key", len(self.best)))


def _by_id(row: PrecomputedRow, match: str) -> tuple[str, PrecomputedRow]:
    return precomputed_run.normal_id(row.id, match), row


def _first(rows: Iterable[PrecomputedRow]) -> PrecomputedRow:
    return min(rows, key=lambda row: (row.piece, row.place))


def _joined(met: tuple[str, dict[str, Any]]) -> Iterator[tuple[str, tuple[int, RegionAddress]]]:
    wanted, rows = ([*met[1][name], None][0] for name in ("wanted", "rows"))
    return precomputed_run.joined(wanted or (), rows)


def _settled(met: tuple[str, dict[str, Any]], without: RegionAddress) -> RegionAddress:
    (why,) = met[1]["best"]
    return precomputed_run.settled(met[0], why, met[1]["found"], without)
