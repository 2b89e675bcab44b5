"""Tables of image URLs and captions that others made: their rows, streamed, and what is wrong with each.

    cc3m      Conceptual Captions: caption TAB url, no header      cc12m    url TAB caption, no header
    sbu       one JSON object with the lists image_urls and captions
    csv       with a header; TAB separated where the header has tabs and no comma
    jsonl     an object a line                                     parquet  any, two columns of text

A broken row is a row with a fault, never the end of the file.
"""
from __future__ import annotations

import codecs
import csv
import dataclasses
import gzip
import itertools
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from crawl.errors import UsageError

FORMATS = ("cc3m", "cc12m", "sbu", "parquet", "csv", "jsonl")
MAX_LINE = 1 << 20                 # bytes; a longer line is `too_long`
_CHUNK = 1 << 20
_TOKEN = re.compile(r'\s*("[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+)', re.DOTALL)
_CLOSED = frozenset('[]{},:"')


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the table."""

    url: str
    caption: str
    fault: str = ""                # bad_row, bad_encoding, too_long, no_url; "" for a sound row


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How a table is written, and which columns are meant."""

    format: str
    url_column: str = "url"        # of csv, jsonl and parquet
    caption_column: str = "caption"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format is {self.format!r}; it is one of {', '.join(FORMATS)}")


def read_rows(path: str, layout: Layout) -> Iterator[Row]:
    """Yields the rows of a table in order, a bounded piece of it in memory at a time.

    Raises UsageError for a file that is not of this format at all, or without the columns.
    """
    try:
        if layout.format == "parquet":
            yield from _parquet(path, layout)
        elif layout.format == "sbu":
            pairs = itertools.zip_longest(_json_list(path, "image_urls"), _json_list(path, "captions"))
            yield from (_row(url, caption) for url, caption in pairs)
        else:
            with _opened(path) as file:
                yield from {"cc3m": _tsv, "cc12m": _tsv, "csv": _csv, "jsonl": _jsonl}[layout.format](
                    path, file, layout)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as {layout.format} ({str(error).splitlines()[0]}); check the file "
                         f"and --format") from error


def _row(url: object, caption: object) -> Row:
    if url is None or url == "":
        return Row("", "", "no_url")
    if not isinstance(url, str) or not isinstance(caption, (str, type(None))):
        return Row(str(url)[:200], "", "bad_row")
    try:
        (url + (caption or "")).encode()                     # a lone surrogate stands for a byte that is no UTF-8
    except UnicodeEncodeError:
        return Row(ascii(url)[:200], "", "bad_encoding")
    return Row(url, caption or "")


def _opened(path: str) -> BinaryIO:
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")      # type: ignore[return-value]  # noqa: SIM115


def _lines(file: BinaryIO) -> Iterator[str | None]:
    """Yields the lines, split at LF only, without their ends; None for one that is too long."""
    first = True
    while line := file.readline(MAX_LINE):
        if first:
            line, first = line.removeprefix(codecs.BOM_UTF8), False
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                pass
            yield None
        else:
            yield line.rstrip(b"\r\n").decode("utf-8", "surrogateescape")


def _tsv(path: str, file: BinaryIO, layout: Layout) -> Iterator[Row]:
    for line in _lines(file):
        if line is None:
            yield Row("", "", "too_long")
        elif line:
            cells = line.split("\t")
            if len(cells) != 2:
                yield Row(ascii(line)[:200], "", "bad_row")
            else:
                yield _row(*cells) if layout.format == "cc12m" else _row(cells[1], cells[0])


def _jsonl(path: str, file: BinaryIO, layout: Layout) -> Iterator[Row]:
    for line in _lines(file):
        if line is None:
            yield Row("", "", "too_long")
        elif line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError):
                value = None
            if isinstance(value, dict):
                yield _row(value.get(layout.url_column), value.get(layout.caption_column))
            else:
                yield Row(ascii(line)[:200], "", "bad_row")


def _csv(path: str, file: BinaryIO, layout: Layout) -> Iterator[Row]:
    lines = ((line if line is not None else "\0") + "\n" for line in _lines(file))
    header = next(lines, "")
    delimiter = "\t" if "\t" in header and "," not in header else ","
    names = next(csv.reader([header], delimiter=delimiter), [])
    places = [_place(path, names, column) for column in (layout.url_column, layout.caption_column)]
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:                           # such as a quote that is never closed; it goes on after it
            yield Row(str(error)[:200], "", "bad_row")
            continue
        if cells == ["\0"]:
            yield Row("", "", "too_long")
        elif len(cells) != len(names) and cells:
            yield Row(ascii(cells)[:200], "", "bad_row")
        elif cells:
            yield _row(*(cells[place] for place in places))


def _place(path: str, names: list[str], column: str) -> int:
    if column not in names:
        raise UsageError(f"{path}: there is no column {column!r}; it has {', '.join(names)[:500] or 'none'}: name them "
                         f"with --url-column and --caption-column")
    return names.index(column)


def _parquet(path: str, layout: Layout) -> Iterator[Row]:
    columns = [layout.url_column, layout.caption_column]
    with pq.ParquetFile(path) as file:
        for column in columns:
            _place(path, file.schema_arrow.names, column)
        for batch in file.iter_batches(batch_size=4096, columns=columns):
            yield from map(_row, _texts(batch.column(columns[0])), _texts(batch.column(columns[1])))


def _texts(column: pa.Array) -> Iterable[object]:
    """Returns the values; text that is no UTF-8, which Parquet does not forbid, as it is read from other files."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in raw.to_pylist()]
    return list(column.to_pylist())


def _json_list(path: str, key: str) -> Iterator[object]:
    """Yields the items of one list of a JSON object, the file being read piece by piece; an odd item is 0."""
    depth, last, found = 0, "", False
    for token in _tokens(path):
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
            if found and depth == 1:
                return
        elif token == ":" and depth == 1:
            found = last == json.dumps(key)
        elif token[0] == '"' and depth == 1:
            last = token
        elif found and depth == 2 and token != ",":
            try:
                yield json.loads(token, strict=False)
            except ValueError:
                yield 0
    raise UsageError(f"{path}: no whole list {key!r} in a JSON object; --format sbu takes sbu-captions-all.json")


def _tokens(path: str) -> Iterator[str]:
    """Yields strings with their quotes, brackets, commas, colons and other words of a JSON text."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    with _opened(path) as file:
        text, at, more = "", 0, True
        while True:
            found = _TOKEN.match(text, at)
            if found and (found.end() < len(text) or not more or found[1][0] in _CLOSED):
                yield found[1]
                at = found.end()
            elif not more:
                return
            else:
                if len(text) - at > 4 * _CHUNK:
                    raise UsageError(f"{path}: no JSON: a word of more than {4 * _CHUNK} characters")
                data = file.read(_CHUNK)
                more = bool(data)
                text, at = text[at:] + decoder.decode(data, final=not more), 0
