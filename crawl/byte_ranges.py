"""Ranges of files that lie anywhere: a folder, an object store, an HTTP service; near ones are asked for together."""
from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from crawl import storage
from crawl.errors import UsageError
from crawl.trusted_http import Gone, RangeReader
from crawl.warc_pages import Address

_GAP = 64 << 10                    # bytes between two ranges that are read with them rather than asked around
_LONGEST = 8 << 20                 # bytes asked for at a time, where one range is no longer than that


class Ranges:
    """Reads ranges, one at a time over one connection; to be closed."""

    def __init__(self) -> None:
        self._http = RangeReader()

    def read(self, location: str, offset: int, length: int) -> bytes:
        """Returns at most `length` bytes from `offset`; raises Gone, and UsageError for what cannot be read."""
        if location.startswith(("http://", "https://")):
            return self._http.read(location, offset, length)
        with _told(location):
            length = min(length, storage.size(location) - offset)
            return storage.read_range(location, offset, length) if length > 0 else b""

    def size(self, location: str) -> int:
        """Returns the bytes of a file; raises as `read` does."""
        if location.startswith(("http://", "https://")):
            return self._http.size(location)
        with _told(location):
            return storage.size(location)

    def close(self) -> None:
        """Ends the connections."""
        self._http.close()


@contextlib.contextmanager
def _told(location: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise Gone(location, 404) from error
    except OSError as error:
        raise UsageError(f"{location}: cannot read it ({error.strerror or error})") from error


class SeekableFile:
    """A file read by ranges, as pyarrow wants one."""

    mode = "rb"
    closed = False

    def __init__(self, ranges: Ranges, location: str) -> None:
        self._ranges, self._location = ranges, location
        self._size, self._at = ranges.size(location), 0

    def read(self, size: int = -1) -> bytes:
        """Returns the next bytes, at most `size`."""
        size = self._size - self._at if size is None or size < 0 else min(size, self._size - self._at)
        data = self._ranges.read(self._location, self._at, size) if size > 0 else b""
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Goes to a place; returns it."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def tell(self) -> int:
        """Returns the place."""
        return self._at

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def readable(self) -> bool:
        """Returns True."""
        return True

    def flush(self) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing: the ranges are closed by who opened them."""


def spans(addresses: Sequence[Address]) -> Iterator[list[int]]:
    """Yields the numbers of addresses to be read together, by part and offset.

    >>> list(spans([Address("a", 90_000_000, 5), Address("a", 20, 5), Address("b", 0, 5), Address("a", 0, 10)]))
    [[3, 1], [0], [2]]
    """
    some: list[int] = []
    end = 0
    for number in sorted(range(len(addresses)), key=lambda number: addresses[number]):
        address = addresses[number]
        if some:
            first = addresses[some[0]]
            if (address.part != first.part or address.offset > end + _GAP
                    or address.offset + address.length > first.offset + _LONGEST):
                yield some
                some, end = [], 0
        some.append(number)
        end = max(end, address.offset + address.length)
    if some:
        yield some
