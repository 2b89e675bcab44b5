"""What the further columns of a caption table say: hashes of the image, and values that are passed through.

A hash is written `sha256:…`, `md5:…` or `perceptual:…`; filter/drift.py holds the bytes that arrived against it.
"""
from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator

import pyarrow as pa

MAX_EXTRAS = 4096                  # bytes of the JSON object of one row
_HEX = re.compile(r"[0-9a-f]+")
_DIGITS = {"sha256": 64, "md5": 32, "perceptual": 16}


def expected_of(hashes: Iterable[tuple[str, object]]) -> tuple[str, ...]:
    """Returns the hashes that a row gives, one way of writing each; an empty cell gives none.

    Raises ValueError for what is no such hash: a row that cannot be verified is not taken for verified.

    >>> expected_of([("md5", " D41D8CD98F00B204E9800998ECF8427E "), ("sha256", None)])
    ('md5:d41d8cd98f00b204e9800998ecf8427e',)
    """
    found = []
    for algorithm, value in hashes:
        if value is None or value == "":
            continue
        digits = value.strip().lower() if isinstance(value, str) else ""
        if len(digits) != _DIGITS[algorithm] or not _HEX.fullmatch(digits):
            raise ValueError(f"{value!r} is no {algorithm}")
        found.append(f"{algorithm}:{digits}")
    return tuple(found)


def extras_of(values: Iterable[tuple[str, object]]) -> tuple[str, int]:
    """Returns a JSON object of values, "" where there is none, and how many values it could not hold.

    Nulls, empty text and NaN say nothing and are no loss.  Lists, objects and bytes are left out, and so is what would
    make the object larger than MAX_EXTRAS bytes, the first columns before the later ones.

    >>> extras_of([("width", 640), ("licence", "CC-BY"), ("similarity", float("nan")), ("boxes", [1, 2])])
    ('{"width":640,"licence":"CC-BY"}', 1)
    """
    pieces: list[str] = []
    size, left_out = 2, 0
    for name, value in values:
        if value is None or value == "" or isinstance(value, float) and not math.isfinite(value):
            continue
        try:
            piece = f"{_json(name)}:{_json(value)}" if isinstance(value, (str, int, float)) else ""
            more = len(piece.encode()) + bool(pieces)
        except ValueError:                 # a lone surrogate, or a whole number that Python does not write
            piece, more = "", 0
        if not piece or size + more > MAX_EXTRAS:
            left_out += 1
            continue
        pieces.append(piece)
        size += more
    return "{" + ",".join(pieces) + "}" if pieces else "", left_out


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def plain_columns(schema: pa.Schema) -> Iterator[str]:
    """Yields the columns of text, numbers, truth values, dates and times, each name once."""
    for field in schema:
        kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        nested_or_bytes = pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind) \
            or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
        if not nested_or_bytes and schema.names.count(field.name) == 1:
            yield field.name


def cells_of(column: pa.Array) -> list[object]:
    """Returns the values of a column; text that is no UTF-8, which Parquet does not forbid, as it is read from files.

    Times and decimals come as the text that Arrow writes for them.
    """
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(kind) else pa.binary())
        return [value if value is None else value.decode("utf-8", "surrogateescape") for value in raw.to_pylist()]
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    return list(column.to_pylist())
