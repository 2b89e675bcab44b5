"""Image bytes by address, a part at a time: neighbours in one read, never more than a few MiB ahead."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from crawl import storage

_MAX_GAP = 64 * 1024               # bytes between two images that are read along rather than skipped
_MAX_SPAN = 8 * 1024 * 1024        # bytes of one read


class Addressed(Protocol):
    """A row that says where its image's bytes lie in their part."""

    @property
    def offset(self) -> int: ...
    @property
    def length(self) -> int: ...
    @property
    def sha256(self) -> str: ...


R = TypeVar("R", bound=Addressed)


def read_images(path: str, rows: Sequence[R]) -> Iterator[tuple[R, bytes]]:
    """Yields (row, its bytes) of one part in the order of their offsets; raises EOFError for a part that is cut."""
    for span in _spans(sorted(rows, key=lambda row: (row.offset, row.length, row.sha256))):
        start = span[0].offset
        data = storage.read_range(path, start, max(row.offset + row.length for row in span) - start)
        for row in span:
            yield row, data[row.offset - start:row.offset - start + row.length]


def _spans(rows: Sequence[R]) -> Iterator[list[R]]:
    span: list[R] = []
    end = 0
    for row in rows:
        if span and (row.offset > end + _MAX_GAP or row.offset + row.length - span[0].offset > _MAX_SPAN):
            yield span
            span = []
        span.append(row)
        end = max(end, row.offset + row.length) if len(span) > 1 else row.offset + row.length
    if span:
        yield span
