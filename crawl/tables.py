"""Tables are Parquet files written by the project: a record type is the schema, rows are sorted by key.

A file is described by a `FileEntry`; tables are read by those entries, never by listing a folder.
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import hashlib
import io
import itertools
import json
import operator
import typing
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from crawl import storage
from crawl.errors import UsageError

R = TypeVar("R")

# Part of the on-disk contract: equal rows give equal bytes with equal library versions.
_ROW_GROUP = 8192
_FEW = 64                          # rows read at a time where one may be half a megabyte
WRITER_OPTIONS: dict[str, Any] = {
    "compression": "zstd", "compression_level": 3, "version": "2.6", "data_page_version": "1.0",
    "row_group_size": _ROW_GROUP, "write_statistics": True, "store_schema": False,
}
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}


@dataclasses.dataclass(frozen=True, slots=True)
class FileEntry:
    """One committed file."""

    name: str                      # relative to the stage folder
    bytes: int
    sha256: str                    # hex, of the file
    rows: int = 0                  # 0 for a file that is no table
    digest: str = ""               # logical digest of the rows: order and row groups do not matter
    outcomes: tuple[tuple[str, int], ...] = ()   # rows by their `outcome`, or `status` of crawldb


@functools.cache
def schema_of(record_type: type) -> pa.Schema:
    """Returns the Arrow schema of a record type; every field is required."""
    hints = typing.get_type_hints(record_type)
    return pa.schema([pa.field(field.name, _arrow_type(hints[field.name]), nullable=False)
                      for field in dataclasses.fields(record_type)])


def _arrow_type(hint: Any) -> pa.DataType:
    if hint in _ARROW_TYPES:
        return _ARROW_TYPES[hint]
    if typing.get_origin(hint) is tuple:
        return pa.list_(pa.field("item", _arrow_type(typing.get_args(hint)[0]), nullable=False))
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(schema_of(typing.cast(type, hint))))
    raise TypeError(f"no column type for {hint!r}; use str, int, float, bool, bytes, tuple[T, ...] or a record")


def row_digest(row: Any) -> int:
    """Returns the sha256 of one row's canonical JSON as an integer."""
    return _digest(plain_row(row))


def _digest(plain: dict[str, Any]) -> int:
    return int.from_bytes(hashlib.sha256(CANONICAL.encode(plain).encode()).digest(), "big")


def _printable(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value).__name__} in a row")


# As crawl.config.canonical_json writes it; bytes as hex.
CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False,
                              default=_printable)


def plain_row(row: Any) -> dict[str, Any]:
    """Returns what `dataclasses.asdict` returns, in a fifth of its time: nothing is copied that cannot change."""
    plains = _plains(typing.cast(Any, type(row)))
    return {name: plain(getattr(row, name)) if plain else getattr(row, name) for name, plain in plains}


@functools.cache
def _plains(record_type: Any) -> list[tuple[str, Callable[[Any], Any] | None]]:
    hints = typing.get_type_hints(record_type)
    return [(field.name, _plain(hints[field.name])) for field in dataclasses.fields(record_type)]


def _plain(hint: Any) -> Callable[[Any], Any] | None:
    if dataclasses.is_dataclass(hint):
        return plain_row
    if typing.get_origin(hint) is tuple:
        inner = _plain(typing.get_args(hint)[0])
        return (lambda items: [inner(item) for item in items]) if inner else list
    return None


def add_digests(digests: Iterable[int]) -> str:
    """Returns the logical digest of many rows or files: their sum, so that cuts and order do not matter."""
    return f"{sum(digests) % (1 << 256):064x}"


def in_order(rows: Iterable[R], key: str) -> list[R]:
    """Returns rows sorted by a field, and rows of an equal key by all their fields."""
    ordered = []
    by_key = operator.attrgetter(key)
    for _, equal in itertools.groupby(sorted(rows, key=by_key), by_key):
        same = list(equal)
        ordered += same if len(same) == 1 else sorted(same, key=typing.cast(Any, dataclasses.astuple))
    return ordered


def encode_table(record_type: type[R], rows: Iterable[R]) -> tuple[bytes, dict[str, Any]]:
    """Returns the Parquet bytes of rows in the order given, and rows, digest and outcomes for their entry."""
    return encode_plain(schema_of(typing.cast(Any, record_type)), [plain_row(row) for row in rows])


def encode_plain(schema: pa.Schema, rows: list[dict[str, Any]]) -> tuple[bytes, dict[str, Any]]:
    """As `encode_table`, of plain rows and the schema they are written with."""
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer, **WRITER_OPTIONS)
    counts = collections.Counter(str(row.get("outcome") or row.get("status", "")) for row in rows)
    counts.pop("", None)
    return buffer.getvalue(), {"rows": len(rows), "digest": add_digests(map(_digest, rows)),
                               "outcomes": tuple(sorted(counts.items()))}


def write_table(directory: str, name: str, record_type: type[R], rows: Iterable[R]) -> FileEntry:
    """Commits rows, in the order given, as `directory/name`; returns the file's entry."""
    return commit_table(directory, name, *encode_table(record_type, rows))


def commit_table(directory: str, name: str, data: bytes, counted: dict[str, Any]) -> FileEntry:
    """Commits what `encode_table` returns as `directory/name`; returns the file's entry."""
    storage.commit_bytes(storage.join(directory, name), data)
    return FileEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), **counted)


def read_table(path: str, record_type: type[R]) -> Iterator[R]:
    """Yields the rows of one file as records, one row group in memory at a time; raises UsageError for damaged ones."""
    for rows in _row_groups(path):
        for row in rows:
            yield from_row(record_type, row)


def read_column(path: str, column: str) -> Iterator[Any]:
    """Yields the values of one column of a file, without reading the others."""
    with _damage_named(path), _opened(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group, columns=[column]).column(column).to_pylist()


def read_matching(path: str, record_type: type[R], column: str, accepts: Callable[[Any], bool]) -> Iterator[R]:
    """Yields the rows whose value of a column is accepted; of the others no other column becomes a Python object.

    A few rows are in memory at a time: for tables with large values, such as `hosts` with its bodies.
    """
    with _damage_named(path), _opened(path) as file:
        for batch in file.iter_batches(batch_size=_FEW):
            kept = [at for at, value in enumerate(batch.column(column).to_pylist()) if accepts(value)]
            if kept:
                for row in batch.take(kept).to_pylist():
                    yield from_row(record_type, row)


def schema_in(path: str) -> pa.Schema:
    """Returns the schema of a file, whatever its records are."""
    with _damage_named(path), _opened(path) as file:
        return file.schema_arrow


def read_plain(path: str, columns: Iterable[str] | None = None) -> Iterator[dict[str, Any]]:
    """Yields the rows of a file as plain values, whatever its records are; those of `columns` that it has."""
    wanted = None if columns is None else [name for name in schema_in(path).names if name in set(columns)]
    for rows in _row_groups(path, wanted):
        yield from rows


def _row_groups(path: str, columns: list[str] | None = None) -> Iterator[list[dict[str, Any]]]:
    with _damage_named(path), _opened(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group, columns=columns).to_pylist()


def _opened(path: str) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(storage.read_bytes(path)) if storage.is_remote(path) else path)


@contextlib.contextmanager
def _damage_named(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(f"{path}: damaged table ({str(error).splitlines()[0]}); copy it again, or remove its stage "
                         f"folder to build the stage again") from error


def from_row(record_type: type[R], row: dict[str, Any]) -> R:
    """Returns the record a plain row holds; the inverse of `dataclasses.asdict`.

    A field with a default may be missing: a table that was written before the field existed.
    """
    return record_type(**{name: convert(row[name]) for name, convert in _converters(typing.cast(Any, record_type))
                          if name in row})


@functools.cache
def _converters(record_type: type) -> list[tuple[str, Any]]:
    hints = typing.get_type_hints(record_type)
    return [(field.name, _converter(hints[field.name])) for field in dataclasses.fields(record_type)]


def _converter(hint: Any) -> Any:
    if typing.get_origin(hint) is tuple:
        convert = _converter(typing.get_args(hint)[0])
        return lambda items: tuple(convert(item) for item in items)
    if dataclasses.is_dataclass(hint):
        return functools.partial(from_row, typing.cast(type, hint))
    return _same


def _same(value: Any) -> Any:
    return value


def stable_hash(text: str) -> int:
    """Returns a 64-bit hash of text that is the same in every process and on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
