"""Beam wiring of tables: read, write, one file a bucket.  No rule lives here."""
from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl import storage
from crawl.tables import FileEntry, encode_table, from_row, in_order, read_table, stable_hash


@dataclasses.dataclass
class ReadTable(beam.PTransform):
    """Names of committed files -> the records in them, one row group in memory at a time."""

    files: tuple[str, ...]
    record_type: type

    def expand(self, root: Any) -> Any:
        return (root | "Files" >> beam.Create(self.files)
                | "Spread" >> beam.Reshuffle()
                | "Rows" >> beam.FlatMap(read_table, self.record_type))


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Name -> (names of committed files, record type), as ReadTable for several tables: name -> their records."""

    tables: dict[str, tuple[tuple[str, ...], type]]

    def expand(self, root: Any) -> Any:
        names = [(name, path) for name, (paths, _) in self.tables.items() for path in paths]
        found = (root | "Files" >> beam.Create(names) | "Spread" >> beam.Reshuffle()
                 | "Rows" >> beam.FlatMapTuple(self._read).with_outputs(*self.tables))
        return {name: found[name] for name in self.tables}

    def _read(self, name: str, path: str) -> Iterator[Any]:
        record_type: Any = self.tables[name][1]
        for row in read_table(path, record_type):
            yield beam.pvalue.TaggedOutput(name, row)


@dataclasses.dataclass
class WriteTable(beam.PTransform):
    """Records -> `buckets` committed files of a table, each sorted by key; output: a FileEntry a file.

    The bucket is a stable hash of the key; an empty bucket is a file without rows, so that the set of names is known
    beforehand.  Rows of equal keys are ordered by the rest of their fields.
    """

    directory: str
    name: str
    record_type: type
    key: str                       # field to hash and sort by
    buckets: int = 4
    only: tuple[str, Any] | None = None    # field and value: write the rows that have it, drop the others

    def expand(self, rows: Any) -> Any:
        if self.only is not None:
            field, value = self.only
            rows = rows | "Only these" >> beam.Filter(lambda row: getattr(row, field) == value)
        markers = rows.pipeline | f"Buckets of {self.name}" >> beam.Create([(n, None) for n in range(self.buckets)])
        keyed = rows | "Bucket" >> beam.Map(lambda row: (stable_hash(getattr(row, self.key)) % self.buckets, row))
        return ((keyed, markers) | "With empty ones" >> beam.Flatten()
                | "Gather" >> beam.GroupByKey()
                | "Write" >> beam.MapTuple(self._write))

    def _write(self, bucket: int, rows: Iterable[Any]) -> FileEntry:
        ordered = in_order((row for row in rows if row is not None), self.key)
        return write_bucket(self.directory, self.name, bucket, self.buckets, self.record_type, ordered)


def given(rows: list[Any]) -> Any:
    """Returns the transform that makes a collection of a few rows at hand."""
    return beam.Create(rows)


def merged(*collections: Any) -> Any:
    """Returns one collection of the elements of several."""
    return collections | beam.Flatten()


def bucket_name(name: str, bucket: int, buckets: int) -> str:
    """Returns the file name of one bucket of a table, without its suffix."""
    return f"{name}-{bucket:05d}-of-{buckets:05d}"


def write_bucket(directory: str, name: str, bucket: int, buckets: int, record_type: type,
                 rows: Iterable[Any]) -> FileEntry:
    """Commits one bucket and, after it, its entry as JSON beside it: what `entries_of` reads."""
    stem = bucket_name(name, bucket, buckets)
    data, counted = encode_table(record_type, rows)
    storage.commit_bytes(storage.join(directory, stem + ".parquet"), data)
    entry = FileEntry(name=stem + ".parquet", bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), **counted)
    storage.commit_bytes(storage.join(directory, stem + ".json"),
                         json.dumps(dataclasses.asdict(entry), sort_keys=True).encode())
    return entry


def entries_of(directory: str, name: str, buckets: int) -> Iterator[FileEntry]:
    """Yields the entries of a table's buckets by their numbered names; raises FileNotFoundError for a missing one."""
    for bucket in range(buckets):
        value = json.loads(storage.read_bytes(storage.join(directory, bucket_name(name, bucket, buckets) + ".json")))
        yield from_row(FileEntry, value | {"outcomes": [tuple(pair) for pair in value["outcomes"]]})


def by_url_key(row: Any) -> tuple[str, Any]:
    return row.url_key, row
