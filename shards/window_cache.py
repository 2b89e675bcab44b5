"""What a trainer reads of remote tars: ranges of 8 MiB, kept in files without a name until others need the room.

A block is asked for once, whoever wants it: at once by who waits for it, and ahead of that for the windows to come.
The least recently used tar gives way first.
"""
from __future__ import annotations

import collections
import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from crawl import storage
from crawl.errors import UsageError
from crawl.object_store import get_range

_AT_ONCE, _AHEAD = 12, 8           # ranges in flight: waited for, and read ahead


class WindowCache:
    """Room for `limit` bytes of remote tars on the local disk (TMPDIR), shared by all readers of a process."""

    def __init__(self, limit: int, block: int = storage.WINDOW) -> None:
        self.limit, self.block = limit, block
        self.reads = 0                 # ranges that were asked for
        self.held = 0                  # bytes of blocks that are here or on their way
        self.lock = threading.Lock()
        self._tars: collections.OrderedDict[str, CachedTar] = collections.OrderedDict()   # least recently used first
        self._urgent = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="windows")
        self._ahead = ThreadPoolExecutor(_AHEAD, thread_name_prefix="windows-ahead")

    def tar(self, path: str, size: int) -> CachedTar:
        """Returns a tar of which `size` bytes are of use."""
        return CachedTar(self, path, size)

    def close(self) -> None:
        """Stops reading ahead and gives the room back."""
        for pool in (self._urgent, self._ahead):
            pool.shutdown(cancel_futures=True)
        for tar in self._tars.values():
            tar.drop()
        self._tars.clear()

    def block_of(self, tar: CachedTar, number: int, urgent: bool) -> Future[None]:
        """Returns a block on its way (the lock is held): one that waits in the queue of those ahead is moved up."""
        waiting = tar.blocks.get(number)
        if waiting is not None and not (urgent and number not in tar.urgent and waiting.cancel()):
            return waiting
        if urgent:
            tar.urgent.add(number)
        if waiting is None:
            self._make_room(tar, tar.bytes_of(number))
            self.held += tar.bytes_of(number)
        self._tars[tar.path] = tar
        self._tars.move_to_end(tar.path)
        pool = self._urgent if urgent else self._ahead
        tar.blocks[number] = pool.submit(self._fetch, tar, number, tar.opened())
        return tar.blocks[number]

    def touch(self, tar: CachedTar) -> None:
        """Makes a tar the one used last (the lock is held)."""
        if tar.path in self._tars:
            self._tars.move_to_end(tar.path)

    def _make_room(self, keep: CachedTar, wanted: int) -> None:
        for path, tar in list(self._tars.items()):
            if self.held + wanted <= self.limit:
                return
            if tar is not keep and not tar.readers and all(block.done() for block in tar.blocks.values()):
                self.held -= sum(map(tar.bytes_of, tar.blocks))
                tar.drop()
                del self._tars[path]

    def _fetch(self, tar: CachedTar, number: int, file: int) -> None:
        try:
            data = get_range(tar.path, number * self.block, tar.bytes_of(number))
            with storage.disk(f"the window cache in {tempfile.gettempdir()}"):
                _write(file, data, number * self.block)
            self.reads += 1
        except BaseException as error:
            with self.lock:                            # who asks next tries again
                tar.urgent.discard(number)
                if tar.blocks.pop(number, None) is not None:
                    self.held -= tar.bytes_of(number)
            if isinstance(error, FileNotFoundError):
                raise UsageError(f"{tar.path}: no such shard; the manifest names it, copy it again") from error
            raise


class CachedTar:
    """A remote tar whose blocks lie in a local file as far as they were needed."""

    def __init__(self, cache: WindowCache, path: str, size: int) -> None:
        self._cache, self.path, self.size = cache, path, size
        self.blocks: dict[int, Future[None]] = {}
        self.urgent: set[int] = set()  # blocks that somebody waits for
        self.readers = 0               # threads that are between a block and its bytes
        self._file: IO[bytes] | None = None

    def pread(self, size: int, offset: int) -> bytes:
        """Returns at most `size` bytes from `offset`, fewer where the tar ends."""
        with self._used() as file:
            for block in self._wanted(offset, size, urgent=True):
                block.result()
            return os.pread(file, size, offset)

    def expect(self, offset: int = 0, size: int = 0) -> None:
        """Begins to read a range, or all of the tar ahead, and returns at once."""
        self._wanted(offset, size or self.size, urgent=size > 0)

    def bytes_of(self, number: int) -> int:
        """Returns the length of a block: the last one is shorter."""
        return min(self._cache.block, self.size - number * self._cache.block)

    def drop(self) -> None:
        """Gives the room back; what is read next is asked for again."""
        self.blocks.clear()
        self.urgent.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def close(self) -> None:
        """Does nothing: the room belongs to the cache."""

    def _wanted(self, offset: int, size: int, urgent: bool) -> list[Future[None]]:
        last = min(offset + size, self.size)
        with self._cache.lock:
            return [self._cache.block_of(self, number, urgent)
                    for number in range(offset // self._cache.block, -(-last // self._cache.block))]

    @contextlib.contextmanager
    def _used(self) -> Iterator[int]:
        with self._cache.lock:
            self.readers += 1
            self._cache.touch(self)
            file = self.opened()
        try:
            yield file
        finally:
            with self._cache.lock:
                self.readers -= 1

    def opened(self) -> int:
        """Returns the descriptor of the local file (the cache's lock is held)."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(suffix=".window")      # noqa: SIM115 (closed by drop)
        return self._file.fileno()


def _write(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
