"""Shards on an object store: what the lanes show next is on its way in ranges of 8 MiB before a pack asks for it."""
from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from crawl import storage
from crawl.errors import UsageError
from shards.manifest import ShardFile, ShardSet
from shards.reader import ShardReader
from shards.window_cache import WindowCache
from train.open_files import make_room
from train.order import Lane, LaneState, Piece

_OPENED_AT_ONCE = 32


def cache_for(sets: Sequence[ShardSet], mib: int) -> WindowCache | None:
    """Returns room for the windows of remote sets, None where all lie on a disk (or nothing will be streamed)."""
    remote = any(storage.is_remote(shards.directory) for shards in sets)
    return WindowCache(mib << 20) if remote and mib else None


def open_readers(files: Sequence[tuple[ShardSet, ShardFile]], cache: WindowCache | None) -> list[ShardReader]:
    """Returns the shards opened, in their order; indexes on an object store are copied many at a time."""
    make_room(len(files))
    if not any(storage.is_remote(shards.directory) for shards, _ in files):
        return [ShardReader(shards.directory, shard) for shards, shard in files]
    with ThreadPoolExecutor(_OPENED_AT_ONCE, thread_name_prefix="indexes") as pool:
        return list(pool.map(lambda file: ShardReader(file[0].directory, file[1], cache=cache), files))


class Windows:
    """The windows that one rank's lanes are in, and those behind them."""

    def __init__(self, cache: WindowCache, readers: Sequence[ShardReader], shard_of: NDArray[np.int32],
                 lanes: Sequence[Lane]) -> None:
        """Raises UsageError when the windows of all lanes do not fit into the cache at a time."""
        self._cache, self._readers, self._shard_of, self._lanes = cache, readers, shard_of, lanes
        self._entered: dict[int, tuple[int, int]] = {}

        def size_of(piece: Piece) -> int:
            return self._bytes(self._shards(piece.numbers))

        room = min(sum(lane.largest_window(size_of) for lane in lanes), self._bytes(set(range(len(readers)))))
        if room > cache.limit:
            raise UsageError(f"the windows of {len(lanes)} lanes take up to {-(-room >> 20):,} MiB of remote shards, "
                             f"and there is room for {cache.limit >> 20:,}: --set window_cache_mib={-(-room >> 20)} "
                             f"(on the disk of TMPDIR), fewer shards a window, or smaller shards")

    def enter(self, states: Sequence[LaneState]) -> None:
        """Begins to read the windows that lanes come into, and the next ones where there is room for both."""
        coming: set[int] = set()
        for place, (lane, state) in enumerate(zip(self._lanes, states, strict=True)):
            if self._entered.get(place) != (state.epoch, state.window):
                self._entered[place] = (state.epoch, state.window)
                coming |= self._expect(self._shards(lane.window_at(state)))
        if coming:
            now, then = (set().union(*(self._shards(lane.window_at(state, ahead))
                                       for lane, state in zip(self._lanes, states, strict=True))) for ahead in (0, 1))
            if self._bytes(now | then) <= self._cache.limit:
                self._expect(then - now)

    def _shards(self, numbers: NDArray[np.int64]) -> set[int]:
        return set(np.unique(self._shard_of[numbers]).tolist())

    def _bytes(self, shards: set[int]) -> int:
        return sum(self._readers[shard].cached_bytes for shard in shards)

    def _expect(self, shards: set[int]) -> set[int]:
        for shard in sorted(shards):
            self._readers[shard].expect()
        return shards
