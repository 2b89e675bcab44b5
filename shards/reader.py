"""Reads samples of a shard by row, in any order and from any thread: one pread a member, checked by its crc.

A shard on an object store is read by ranges (shards/remote_tar.py), a trainer's through its window cache.
"""
from __future__ import annotations

import dataclasses
import functools
import os
import struct
from collections.abc import Callable, Collection, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from crawl import storage
from crawl.errors import UsageError
from shards.checksum import crc32
from shards.index import INDEX_DTYPE, MEMBERS, load_index, without
from shards.manifest import ShardFile, ShardSet
from shards.regions import Regions, unpack
from shards.sample import parse_sample_json
from shards.straight import Straight, StraightRegions

if TYPE_CHECKING:
    from shards.remote_tar import Captions
    from shards.window_cache import CachedTar, WindowCache


_OFFSETS = {name: int(place[1]) for name, place in (INDEX_DTYPE.fields or {}).items()}


@dataclasses.dataclass(frozen=True, slots=True)
class StoredSample:
    """One sample as it lies in a shard."""

    key: str
    image: bytes
    caption: str
    json: dict[str, Any]
    regions: Regions | None        # None in a shard without regions


class ShardReader:
    """A shard opened for reading; rows are those of its index, without the keys that were removed.

    Safe to share between threads: reads carry their own offset.  A member is checked against its crc when it is read
    for the first time.  Damage raises UsageError that names the shard, the key and the offset.
    """

    def __init__(self, directory: str, shard: ShardFile, removed: Collection[str] = (),
                 cache: WindowCache | None = None) -> None:
        """`cache` is what regions of a remote shard are read through: a trainer comes back to the same place."""
        self.shard = shard
        # A plain array over the map: np.memmap makes an object of its own of every row it is asked for.
        self.index: np.ndarray = np.asarray(load_index(storage.join(directory, shard.index)))
        if len(self.index) != shard.samples:
            raise UsageError(f"{shard.index}: {len(self.index)} rows, the manifest says {shard.samples} samples; "
                             f"build the shards again")
        if removed:
            self.index = without(self.index, removed)
        self._look_up()
        self._path = storage.join(directory, shard.name)
        self._regions_path = storage.join(directory, shard.regions) if shard.regions else ""
        self._cached: dict[str, CachedTar] = {}     # member -> its tar
        self._captions: Captions | None = None
        self._retold: list[str | None] = []
        self._tar: _Source | None = None
        self._regions_tar: _Source | None = None
        self._straight: StraightRegions | None = None
        if storage.is_remote(self._path):
            self._open_remote(directory, removed, cache)
        else:
            self._tar = _Source.of(self._path)
            self._regions_tar = _Source.of(self._regions_path) if self._regions_path else None
            if self._regions_tar is not None:
                self._straight = StraightRegions(self._regions_tar.file)

    def _look_up(self) -> None:
        self._places = {name: _Fields(self.index, f"{name}_offset", "QII") for name in MEMBERS}     # offset, size, crc
        self._checked = {name: bytearray(len(self.index)) for name in MEMBERS}
        self._hashes = _Fields(self.index, "image_hash", "QQ")

    def __len__(self) -> int:
        return len(self.index)

    def __enter__(self) -> ShardReader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[StoredSample]:
        for row in range(len(self)):
            yield self.sample(row)

    def close(self) -> None:
        """Closes the files; the reader is of no use afterwards."""
        for source in (self._tar, self._regions_tar):
            if source is not None:
                source.close()
        self._tar = self._regions_tar = None

    def _open_remote(self, directory: str, removed: Collection[str], cache: WindowCache | None) -> None:
        from shards.remote_tar import Captions, RemoteTar, extent
        if self.shard.table:
            self._captions = Captions(storage.join(directory, self.shard.table), removed)
        tars: dict[str, _Source] = {}
        for path, members in ((self._path, ("txt", "regions") if self.shard.inline else ("txt",)),
                              (self._regions_path, ("regions",))):
            if not path or path in tars:
                continue
            if not storage.is_remote(path):                # of others: regions that were made from tars of theirs
                tars[path] = _Source.of(path)
            # Captions come from the table, and pixels are nothing to a trainer: then the image tar stays where it is.
            elif cache is not None and ("regions" in members or not self.shard.table):
                tar = cache.tar(path, extent(self.index, members))
                self._cached |= dict.fromkeys(members, tar)
                tars[path] = _Source(tar.pread, tar.close)
            else:
                plain = RemoteTar(path)
                tars[path] = _Source(plain.pread, plain.close)
        self._tar, self._regions_tar = tars[self._path], tars.get(self._regions_path)

    def retell(self, rows: np.ndarray, captions: Sequence[str | None], pieces: np.ndarray) -> None:
        """Gives the reader other rows: row i is what `rows[i]` was, with a caption of so many word pieces.

        None leaves the caption that is stored.  Call it before the reader is shared between threads.
        """
        self.index = self.index[rows]
        self.index["num_tokens"] = pieces
        self._look_up()
        self._captions, self._retold = None, list(captions)

    @property
    def cached_bytes(self) -> int:
        """Returns how much room the shard takes in the window cache when all of it was read; 0 without one."""
        return sum({tar.path: tar.size for tar in self._cached.values()}.values())

    def expect(self, row: int | None = None) -> None:
        """Begins to read a row's caption and regions, or the whole shard, into the window cache; returns at once."""
        for name, tar in self._cached.items():
            if row is None:
                tar.expect()
            elif self.index[f"{name}_size"][row]:
                offset, size, _ = self._places[name].of(row)
                tar.expect(offset, size)

    def key(self, row: int) -> str:
        """Returns the key of a row."""
        return self.index["key"][row].decode()

    def hashes(self, row: int) -> tuple[int, int]:
        """Returns the 64-bit hashes of a row's image and of its near-duplicate group."""
        image, group = self._hashes.of(row)
        return image, group

    def image(self, row: int) -> bytes:
        """Returns the original image bytes."""
        return self.member(row, "image")

    def caption(self, row: int) -> str:
        """Returns the caption."""
        told = self._retold[row] if self._retold else None
        return self.member(row, "txt").decode() if told is None else told

    def sample_json(self, row: int) -> dict[str, Any]:
        """Returns the provenance (shards/sample.py lists the fields)."""
        return parse_sample_json(self.member(row, "json"))

    def straight(self, row: int, limit: int | None, into: np.ndarray) -> Straight | None:
        """Returns the `limit` most confident regions with their features in the first rows of `into`, [at least as
        many, D]; their values are not looked at yet.

        None where the member must be read whole (shards/straight.py); then the rows hold anything.
        """
        if self._straight is None:
            return None
        (offset, size, crc), checked = self._places["regions"].of(row), self._checked["regions"]
        found = self._straight.read(offset, size, None if checked[row] else crc, limit, into)
        if found is not None:
            checked[row] = 1
        return found

    def regions(self, row: int, limit: int | None = None, into: np.ndarray | None = None) -> Regions:
        """Returns the regions, the `limit` most confident ones.

        With `into`, [at least as many, D] of the features' type or of one that holds them, features are written to its
        first rows and `feat` is a view of these.
        """
        data = self.member(row, "regions")
        try:
            regions = unpack(data, limit)
        except ValueError as error:
            raise UsageError(f"{self._regions_path}: {self.key(row)} at offset "
                             f"{int(self.index['regions_offset'][row])}: {error}") from error
        if into is None:
            return regions
        if self._straight is not None:
            self._straight.learn(data)
        (count, width), kind = regions.feat.shape, regions.feat.dtype
        if count > len(into) or width != into.shape[1] or not np.can_cast(kind, into.dtype):
            raise UsageError(f"{self._regions_path}: {self.key(row)} has {count} regions of {width} {kind} values, its "
                             f"set promises at most {len(into)} of {into.shape[1]} {into.dtype}; copy the shard again")
        into[:count] = regions.feat
        return dataclasses.replace(regions, feat=into[:count])

    def sample(self, row: int) -> StoredSample:
        """Returns everything of a row; a foreign sample without KEY.json says nothing of itself."""
        return StoredSample(key=self.key(row), image=self.image(row), caption=self.caption(row),
                            json=self.sample_json(row) if self.index["json_size"][row] else {},
                            regions=self.regions(row) if self._regions_path else None)

    def member(self, row: int, name: str) -> bytes:
        """Returns the bytes of a member (image, txt, json, regions), checked by the index's crc."""
        (offset, size, crc), checked = self._places[name].of(row), self._checked[name]
        file, path = (self._regions_tar, self._regions_path) if name == "regions" else (self._tar, self._path)
        if not size or file is None:
            if name == "txt":
                return b""             # an empty caption, or a foreign sample without one
            raise UsageError(f"{path or self._path}: {self.key(row)} has no {name} member")
        if name == "txt" and self._captions is not None:
            told = self._captions.of(row)
            if len(told) == size and crc32(told) == crc:
                return told
        data = file.pread(size, offset)
        if len(data) != size:
            raise UsageError(f"{path}: {self.key(row)}: wanted {size} bytes of {name} at offset {offset}, the file "
                             f"ends after {len(data)}; copy the shard again")
        if not checked[row]:
            if crc32(data) != crc:
                raise UsageError(f"{path}: {self.key(row)}: the {name} of {size} bytes at offset {offset} has another "
                                 f"checksum than the index; copy the shard again")
            checked[row] = 1
        return data


class _Fields:
    """Neighbouring fields of the rows of a mapped index, as plain numbers: nothing of it is copied."""

    def __init__(self, index: np.ndarray, first: str, kinds: str) -> None:
        """`kinds` are the fields' types from the field `first` on, as the module struct writes them."""
        self._rows = np.ascontiguousarray(index).view(np.uint8).data
        self._struct, self._step = struct.Struct(f"<{kinds}"), INDEX_DTYPE.itemsize
        self._first = _OFFSETS[first]

    def of(self, row: int) -> tuple[int, ...]:
        """Returns a row's fields."""
        return self._struct.unpack_from(self._rows, row * self._step + self._first)


def open_shard(shards: ShardSet, shard: ShardFile) -> ShardReader:
    """Returns a shard of a set opened for reading, without what was removed from the set."""
    return ShardReader(shards.directory, shard, shards.removed_from(shard))


def read_samples(shards: ShardSet, split: str = "train") -> Iterator[StoredSample]:
    """Yields all samples of a split in shard order."""
    for shard in shards.of_split(split):
        with open_shard(shards, shard) as reader:
            yield from reader


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """A tar that is open: how it is read (size, offset), and closed."""

    pread: Callable[[int, int], bytes]
    close: Callable[[], None]
    file: int = -1                 # of a tar on a disk

    @classmethod
    def of(cls, path: str) -> _Source:
        try:
            file = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise UsageError(f"{path}: no such shard; the manifest names it, copy it again") from error
        return cls(functools.partial(os.pread, file), functools.partial(os.close, file), file)
