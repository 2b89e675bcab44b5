"""The images of a page beside what the page says once: candidates of WAT files, which are many and alike.

A `Candidate` repeats its page, or nothing at all, in 17 of its 26 fields.  Here an image is a short tuple beside its
page; `encode_images` gives the bytes that `crawl.tables.encode_table` makes of the candidates, without making them.
"""
from __future__ import annotations

import dataclasses
import hashlib
import io
import operator
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring  # type: ignore[attr-defined]
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawl.page_work import OF_PAGE
from crawl.records import Candidate, Page, SourceText
from crawl.tables import CANONICAL, WRITER_OPTIONS, add_digests, plain_row, schema_of

# (occurrence, image_key, image_url, found_in, texts as (source, text), alt_present, ordinal, in_main, repeats_on_page)
Own = tuple[str, str, str, str, tuple[tuple[str, str], ...], bool, int, bool, int]
_OWN = ("occurrence", "image_key", "image_url", "found_in", "texts", "alt_present", "ordinal", "in_main",
        "repeats_on_page")
_PLACE = {name: place for place, name in enumerate(_OWN)}
_COLUMNS = tuple(field.name for field in dataclasses.fields(Candidate))


@dataclasses.dataclass(frozen=True, slots=True)
class PageImages:
    """What one page gives."""

    page: Page
    images: int                    # on the page, those counted that have no row
    rows: Sequence[Own] = ()

    def candidates(self) -> Iterator[Candidate]:
        """Yields each image as a record."""
        shared = self._shared()
        for row in self.rows:
            own = dict(zip(_OWN, row, strict=True)) | {"texts": tuple(SourceText(*text) for text in row[4])}
            yield Candidate(**shared | own)

    def _shared(self) -> dict[str, Any]:
        """Returns the fields of a candidate that all images of the page have in common."""
        nothing = {"alternatives": (), "declared_width": 0, "declared_height": 0, "link_href": "", "html_lang": "",
                   "extras": "", "expected": (), "images_on_page": self.images}
        return nothing | {name: getattr(self.page, of_page) for name, of_page in OF_PAGE.items()}

    def plain(self) -> dict[str, Any]:
        """Returns these fields as `plain_row` writes them."""
        return {name: [plain_row(signal) for signal in value] if name == "signals" else
                list(value) if isinstance(value, tuple) else value for name, value in self._shared().items()}


def encode_images(pages: Sequence[PageImages]) -> tuple[bytes, dict[str, Any]]:
    """Returns the Parquet bytes of the images of some pages, sorted by occurrence, and what their entry counts."""
    plain = [page.plain() for page in pages]
    places = [(row, number) for number, page in enumerate(pages) for row in page.rows]
    places.sort(key=operator.itemgetter(0))
    table = _table([row for row, _ in places], plain, [number for _, number in places])
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **WRITER_OPTIONS)
    digests = [digest for page, shared in zip(pages, plain, strict=True) for digest in _digests(page.rows, shared)]
    return buffer.getvalue(), {"rows": len(places), "digest": add_digests(digests), "outcomes": ()}


def _table(rows: Sequence[Own], plain: Sequence[dict[str, Any]], numbers: Sequence[int]) -> pa.Table:
    """Returns the rows as Arrow columns; what belongs to a page is converted once and repeated by its number."""
    schema = schema_of(Candidate)
    of_page = pa.array(numbers, pa.int32())
    columns: list[Any] = []
    for name in _COLUMNS:
        kind = schema.field(name).type
        if name == "texts":
            columns.append(_texts([row[4] for row in rows], kind))
        elif name in _PLACE:
            columns.append(pa.array(list(map(operator.itemgetter(_PLACE[name]), rows)), kind))
        else:
            columns.append(pa.array([page[name] for page in plain], kind).take(of_page))
    return pa.Table.from_arrays(columns, schema=schema)


def _texts(texts: Sequence[tuple[tuple[str, str], ...]], kind: pa.ListType) -> pa.Array:
    flat = [text for some in texts for text in some]
    offsets, end = [0], 0
    for some in texts:
        end += len(some)
        offsets.append(end)
    columns = [pa.array([text[place] for text in flat], pa.string()) for place in (0, 1)]
    structs = pa.StructArray.from_arrays(columns, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=kind)


def _digests(rows: Sequence[Own], plain: dict[str, Any]) -> Iterator[int]:
    """Yields `crawl.tables.row_digest` of each row: their canonical JSON, the page's share of it written once."""
    if not rows:
        return
    shared = {name: CANONICAL.encode(value).replace("%", "%%") for name, value in plain.items()}
    fields = (f'"{name}":{shared.get(name, f"%({name})s")}' for name in sorted(_COLUMNS))
    frame = "{" + ",".join(fields) + "}"
    for occurrence, key, url, found_in, texts, alt_present, ordinal, in_main, repeats in rows:
        told = ",".join([f'{{"source":"{source}","text":{encode_basestring(text)}}}' for source, text in texts])
        written = frame % {
            "occurrence": f'"{occurrence}"', "image_key": f'"{key}"', "image_url": encode_basestring(url),
            "found_in": f'"{found_in}"', "texts": f"[{told}]", "alt_present": "true" if alt_present else "false",
            "ordinal": ordinal, "in_main": "true" if in_main else "false", "repeats_on_page": repeats}
        yield int.from_bytes(hashlib.sha256(written.encode()).digest(), "big")
