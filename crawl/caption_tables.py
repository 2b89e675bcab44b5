"""Tables of image URLs and captions that others made: their rows, streamed, and what is wrong with each.

    cc3m      Conceptual Captions: caption TAB url, no header      cc12m    url TAB caption, no header
    sbu       one JSON object with the lists image_urls and captions
    csv       with a header; TAB separated where the header has tabs and no comma
    jsonl     an object a line                                     parquet  any, two columns of text

A broken row is a row with a fault, never the end of the file.  What further columns say is crawl/table_columns.py's.
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
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from crawl.errors import UsageError
from crawl.table_columns import cells_of, expected_of, extras_of, plain_columns

FORMATS = ("cc3m", "cc12m", "sbu", "parquet", "csv", "jsonl")
NAMED = ("sbu", "parquet", "csv", "jsonl")     # whose columns have names
ALL = "*"
MAX_LINE = 1 << 20                 # bytes; a longer line is `too_long`
_CHUNK = 1 << 20
_TOKEN = re.compile(r'\s*("[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^\s\[\]{},:"]+)', re.DOTALL)
_CLOSED = frozenset('[]{},:"')
_ROWS = 1024                       # of Parquet at a time
_NOTHING: Mapping[str, object] = {}


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the table."""

    url: str
    caption: str
    fault: str = ""                # bad_row, bad_encoding, too_long, no_url, bad_hash; "" for a sound row
    expected: tuple[str, ...] = () # hashes that the row gives of its image (crawl/table_columns.py)
    extras: str = ""               # JSON object of the further columns
    left_out: int = 0              # values of further columns that could not be passed on


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """How a table is written, and which columns are meant."""

    format: str
    url_column: str = "url"        # of csv, jsonl and parquet
    caption_column: str = "caption"
    sha256_column: str = ""        # of the image's bytes, in hex; "" where the table has none
    md5_column: str = ""
    perceptual_hash_column: str = ""   # as KEY.json and filter/hashes.py write it; no other tool's
    extra_columns: tuple[str, ...] = (ALL,)   # passed through; of sbu only those that are named

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format is {self.format!r}; it is one of {', '.join(FORMATS)}")
        named = [name for name in (*self.extra_columns, *self.hashes.values()) if name != ALL]
        if named and self.format not in NAMED:
            raise ValueError(f"a table of format {self.format} has no column {named[0]!r}: it has a URL and a caption, "
                             f"and no names; those of {', '.join(NAMED)} have")

    @property
    def hashes(self) -> dict[str, str]:
        """Returns the column of each kind of hash that the table is said to have."""
        columns = {"sha256": self.sha256_column, "md5": self.md5_column, "perceptual": self.perceptual_hash_column}
        return {kind: name for kind, name in columns.items() if name}

    @property
    def meant(self) -> list[str]:
        """Returns the columns that are no extras."""
        return [self.url_column, self.caption_column, *self.hashes.values()]

    @property
    def named_extras(self) -> list[str]:
        """Returns the extra columns that are named one by one."""
        return [name for name in self.extra_columns if name != ALL]


def read_rows(path: str, layout: Layout) -> Iterator[Row]:
    """Yields the rows of a table in order, a bounded piece of it in memory at a time.

    Raises UsageError for a file that is not of this format at all, or without the columns.
    """
    try:
        if layout.format == "parquet":
            yield from _parquet(path, layout)
        elif layout.format == "sbu":
            names = ["image_urls", "captions", *layout.hashes.values(), *layout.named_extras]
            for cells in itertools.zip_longest(*(_json_list(path, name) for name in names)):
                yield _row(layout, cells[0], cells[1], dict(zip(names, cells, strict=True)))
        else:
            with _opened(path) as file:
                yield from {"cc3m": _tsv, "cc12m": _tsv, "csv": _csv, "jsonl": _jsonl}[layout.format](
                    path, file, layout)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise UsageError(f"{path}: cannot be read as {layout.format} ({str(error).splitlines()[0]}); check the file "
                         f"and --format") from error


def _row(layout: Layout, url: object, caption: object, cells: Mapping[str, object] = _NOTHING) -> Row:
    """Returns the row that a URL, a caption and all cells by their column make."""
    if url is None or url == "":
        return Row("", "", "no_url")
    if not isinstance(url, str) or not isinstance(caption, (str, type(None))):
        return Row(str(url)[:200], "", "bad_row")
    try:
        (url + (caption or "")).encode()                     # a lone surrogate stands for a byte that is no UTF-8
    except UnicodeEncodeError:
        return Row(ascii(url)[:200], "", "bad_encoding")
    if not cells:
        return Row(url, caption or "")
    try:
        expected = expected_of((kind, cells.get(name)) for kind, name in layout.hashes.items())
    except ValueError:
        return Row(url[:200], "", "bad_hash")
    chosen = cells if ALL in layout.extra_columns and layout.format != "sbu" else layout.named_extras
    known = layout.meant
    extras, left_out = extras_of((name, cells.get(name)) for name in chosen if name not in known)
    return Row(url, caption or "", "", expected, extras, left_out)


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
                yield _row(layout, *(cells if layout.format == "cc12m" else reversed(cells)))


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
                yield _row(layout, value.get(layout.url_column), value.get(layout.caption_column), value)
            else:
                yield Row(ascii(line)[:200], "", "bad_row")


def _csv(path: str, file: BinaryIO, layout: Layout) -> Iterator[Row]:
    too_long = "\0" * 3                                      # a cell of a line that was passed over; no line of a file
    lines = ((line.replace("\0", "\ufffd") if line is not None else too_long) + "\n" for line in _lines(file))
    header = next(lines, "")
    delimiter = "\t" if "\t" in header and "," not in header else ","
    names = next(csv.reader([header], delimiter=delimiter), [])
    for column in [*layout.meant, *layout.named_extras]:
        _require(path, names, column)
    url, caption = names.index(layout.url_column), names.index(layout.caption_column)
    places = {name: names.index(name) for name in names}     # of two columns of one name the first
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:                           # such as a quote that is never closed; it goes on after it
            yield Row(str(error)[:200], "", "bad_row")
            continue
        if cells == [too_long]:
            yield Row("", "", "too_long")
        elif len(cells) != len(names) and cells:
            yield Row(ascii(cells)[:200], "", "bad_row")
        elif cells:
            yield _row(layout, cells[url], cells[caption], {name: cells[place] for name, place in places.items()})


def _require(path: str, names: list[str], column: str) -> None:
    if column not in names:
        raise UsageError(f"{path}: there is no column {column!r}; it has {', '.join(names)[:500] or 'none'}: name them "
                         f"with --url-column, --caption-column and the other --*-column options")


def _parquet(path: str, layout: Layout) -> Iterator[Row]:
    with pq.ParquetFile(path) as file:
        for column in [*layout.meant, *layout.named_extras]:
            _require(path, file.schema_arrow.names, column)
        plain = list(plain_columns(file.schema_arrow))
        for column in [*layout.hashes.values(), *layout.named_extras]:
            if column not in plain:
                raise UsageError(f"{path}: column {column!r} is no column of text, numbers or times of its own name; "
                                 f"those are {', '.join(plain)[:500]}")
        extras = plain if ALL in layout.extra_columns else layout.named_extras
        columns = list(dict.fromkeys([*layout.meant, *extras]))
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            for cells in zip(*(cells_of(batch.column(name)) for name in columns), strict=True):
                yield _row(layout, cells[0], cells[1], dict(zip(columns, cells, strict=True)))


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
