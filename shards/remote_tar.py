"""A shard on an object store or a web server, read by ranges; captions from one column of the table beside it."""
from __future__ import annotations

import threading
from collections.abc import Collection

import numpy as np

from crawl import storage
from crawl.errors import UsageError
from crawl.object_store import get_range

_NEAR = 4096                       # a read that begins this close behind the last one follows it: padding and headers


class RemoteTar:
    """A tar read from any thread: exactly what is asked for, and 8 MiB at a time where one read follows the other."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._window, self._begins, self._last = b"", 0, -1

    def pread(self, size: int, offset: int) -> bytes:
        """Returns at most `size` bytes from `offset`, fewer where the tar ends."""
        with self._lock:
            start = offset - self._begins
            if start >= 0 and start + size <= len(self._window):
                self._last = offset + size
                return self._window[start:start + size]
            follows = 0 <= offset - self._last <= _NEAR
            self._last = offset + size
        try:
            data = get_range(self._path, offset, max(size, storage.WINDOW) if follows else size)
        except FileNotFoundError as error:
            raise UsageError(f"{self._path}: no such shard; the manifest names it, copy it again") from error
        if follows:
            with self._lock:
                self._window, self._begins = data, offset
        return data[:size]

    def close(self) -> None:
        """Drops what is held."""
        self._window = b""


class Captions:
    """The captions of a shard by row, from its table: two or three reads a shard instead of one a sample."""

    def __init__(self, path: str, removed: Collection[str]) -> None:
        self._path, self._removed = path, frozenset(removed)
        self._lock = threading.Lock()
        self._captions: list[str] | None = None

    def of(self, row: int) -> bytes:
        """Returns the caption of a row, b"" where the table cannot tell: then it lies in the tar alone."""
        with self._lock:
            if self._captions is None:
                self._captions = self._read()
        return self._captions[row].encode() if row < len(self._captions) else b""

    def _read(self) -> list[str]:
        try:
            import pyarrow as pa
            import pyarrow.parquet as pq
        except ImportError:                                  # a trainer's machine may lack it
            return []
        try:
            with storage.opened(self._path) as source, pq.ParquetFile(source) as file:
                table = file.read(columns=["key", "caption"])
        except storage.StoreUsageError:
            raise
        except (OSError, KeyError, ValueError, pa.ArrowException):
            return []                                        # `validate` names what is wrong with it
        keys, captions = (table.column(name).to_pylist() for name in ("key", "caption"))
        return [caption for key, caption in zip(keys, captions, strict=True) if key not in self._removed]


def extent(index: np.ndarray, members: Collection[str]) -> int:
    """Returns how many bytes of a tar hold members of these kinds, from its beginning."""
    ends = [int((index[f"{name}_offset"] + index[f"{name}_size"]).max(initial=0)) for name in members]
    return max(ends, default=0)
