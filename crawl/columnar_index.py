"""Common Crawl's columnar index: which captures are wanted, and where each lies in its WARC file.

A file of the index is Parquet, a row a capture, sorted by SURT.  Only the columns that are asked about are read, and no
row group whose statistics rule every wanted domain out.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crawl.errors import UsageError

MAX_PICKS = 2_000_000              # rows of one index file that are picked
MAX_LENGTH = 64 << 20              # bytes of one record
_BATCH = 65_536
_DOMAIN = "url_host_registered_domain"
_ADDRESS = ("url", "warc_filename", "warc_record_offset", "warc_record_length")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of the index are wanted: all conditions hold, an empty one asks nothing."""

    languages: tuple[str, ...] = ()      # ISO 639-3 of the page's main language, as `eng`
    mimes: tuple[str, ...] = ("text/html", "application/xhtml+xml")      # as detected
    statuses: tuple[int, ...] = (200,)
    domains: tuple[str, ...] = ()        # registered domains
    sample: int = 0                      # of all rows that are wanted, this many, without replacement; 0: all
    seed: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Pick:
    """One capture to be read: a row of the table `picks`."""

    order: str                     # 16 hex digits of sha256(seed, url, part, offset): a sample is the first by it
    url: str
    part: str                      # the WARC file, below the base
    offset: int
    length: int


def pick(file: Any, name: str, wanted: Wanted) -> tuple[list[Pick], int]:
    """Returns the captures of one index file that are wanted, and how many rows it has.

    With a sample they are the first by `order`, in this order; else all, in the order of the WARC files.  Raises
    UsageError for a file that is no such index, and where there are more than MAX_PICKS.
    """
    found: list[Pick] = []
    try:
        table = pq.ParquetFile(file)
        for batch in _batches(table, name, wanted):
            found += _picks(batch, wanted)
            if wanted.sample and len(found) > 2 * wanted.sample + _BATCH:
                found = _first(found, wanted.sample)
            elif len(found) > MAX_PICKS:
                raise UsageError(f"--index {name}: more than {MAX_PICKS} captures are wanted of this one file; "
                                 f"take a --sample, or fewer --domains")
        rows = table.metadata.num_rows
    except (pa.ArrowException, ValueError) as error:
        raise UsageError(f"--index {name}: cannot read it ({str(error).splitlines()[0][:200]}); give files of "
                         f"cc-index/table, *.parquet") from error
    if wanted.sample:
        return _first(found, wanted.sample), rows
    return sorted(found, key=lambda one: (one.part, one.offset, one.order)), rows


def _first(picks: list[Pick], count: int) -> list[Pick]:
    return sorted(picks, key=lambda one: (one.order, one.part, one.offset))[:count]


def _batches(table: pq.ParquetFile, name: str, wanted: Wanted) -> Iterator[pa.RecordBatch]:
    asked = {"content_languages": wanted.languages, "content_mime_detected": wanted.mimes,
             "fetch_status": wanted.statuses, _DOMAIN: wanted.domains}
    columns = [*_ADDRESS, *(column for column, values in asked.items() if values)]
    missing = sorted(set(columns) - set(table.schema_arrow.names))
    if missing:
        raise UsageError(f"--index {name}: it has no column {', '.join(missing)}; give files of cc-index/table")
    groups = [group for group in range(table.num_row_groups) if _may_hold(table.metadata.row_group(group), wanted)]
    yield from table.iter_batches(_BATCH, row_groups=groups, columns=columns)


def _may_hold(group: Any, wanted: Wanted) -> bool:
    """Returns whether the statistics of a row group leave room for a wanted domain."""
    for number in range(group.num_columns if wanted.domains else 0):
        column = group.column(number)
        if column.path_in_schema == _DOMAIN and column.statistics is not None and column.statistics.has_min_max:
            return any(column.statistics.min <= domain <= column.statistics.max for domain in wanted.domains)
    return True


def _picks(batch: pa.RecordBatch, wanted: Wanted) -> Iterator[Pick]:
    masks = [pc.is_in(batch.column(column), pa.array(values, batch.schema.field(column).type))
             for column, values in ((("content_mime_detected"), wanted.mimes), ("fetch_status", wanted.statuses),
                                    (_DOMAIN, wanted.domains)) if values]
    if wanted.languages:
        main = [pc.fill_null(pc.starts_with(batch.column("content_languages"), language), False)
                for language in wanted.languages]
        masks.append(_all_of(main, pc.or_))
    rows = batch.filter(_all_of(masks, pc.and_)) if masks else batch
    for url, part, offset, length in zip(*(rows.column(name).to_pylist() for name in _ADDRESS), strict=True):
        if url and part and offset is not None and offset >= 0 and length and 0 < length <= MAX_LENGTH:
            order = hashlib.sha256(f"{wanted.seed}\n{url}\n{part}\n{offset}".encode()).hexdigest()[:16]
            yield Pick(order, url, part, int(offset), int(length))


def _all_of(masks: list[Any], join: Any) -> Any:
    whole = masks[0]
    for mask in masks[1:]:
        whole = join(whole, mask)
    return whole
