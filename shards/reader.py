"""Reads samples of a shard by row, in any order and from any thread: one pread a member, checked by its crc."""
from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any

import numpy as np

from crawl.errors import UsageError
from shards.index import MEMBERS, load_index, without
from shards.manifest import ShardFile, ShardSet
from shards.regions import Regions, unpack
from shards.sample import parse_sample_json


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

    def __init__(self, directory: str, shard: ShardFile, removed: Collection[str] = ()) -> None:
        self.shard = shard
        self.index: np.ndarray = load_index(os.path.join(directory, shard.index))
        if len(self.index) != shard.samples:
            raise UsageError(f"{shard.index}: {len(self.index)} rows, the manifest says {shard.samples} samples; "
                             f"build the shards again")
        if removed:
            self.index = without(self.index, removed)
        self._places = {name: _Places(self.index, name) for name in MEMBERS}
        self._path = os.path.join(directory, shard.name)
        self._regions_path = os.path.join(directory, shard.regions) if shard.regions else ""
        self._tar = _open(self._path)
        self._regions_tar = _open(self._regions_path) if self._regions_path else -1

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
        for name in ("_tar", "_regions_tar"):
            if getattr(self, name) >= 0:
                os.close(getattr(self, name))
                setattr(self, name, -1)

    def key(self, row: int) -> str:
        """Returns the key of a row."""
        return self.index["key"][row].decode()

    def image(self, row: int) -> bytes:
        """Returns the original image bytes."""
        return self.member(row, "image")

    def caption(self, row: int) -> str:
        """Returns the caption."""
        return self.member(row, "txt").decode()

    def sample_json(self, row: int) -> dict[str, Any]:
        """Returns the provenance (shards/sample.py lists the fields)."""
        return parse_sample_json(self.member(row, "json"))

    def regions(self, row: int, limit: int | None = None) -> Regions:
        """Returns the regions, the `limit` most confident ones."""
        data = self.member(row, "regions")
        try:
            return unpack(data, limit)
        except ValueError as error:
            raise UsageError(f"{self._regions_path}: {self.key(row)} at offset "
                             f"{int(self.index['regions_offset'][row])}: {error}") from error

    def sample(self, row: int) -> StoredSample:
        """Returns everything of a row; a foreign sample without KEY.json says nothing of itself."""
        return StoredSample(key=self.key(row), image=self.image(row), caption=self.caption(row),
                            json=self.sample_json(row) if self.index["json_size"][row] else {},
                            regions=self.regions(row) if self._regions_path else None)

    def member(self, row: int, name: str) -> bytes:
        """Returns the bytes of a member (image, txt, json, regions), checked by the index's crc."""
        places = self._places[name]
        offset, size = places.of(row)
        file, path = (self._regions_tar, self._regions_path) if name == "regions" else (self._tar, self._path)
        if not size or file < 0:
            if name == "txt":
                return b""             # an empty caption, or a foreign sample without one
            raise UsageError(f"{path or self._path}: {self.key(row)} has no {name} member")
        data = os.pread(file, size, offset)
        if len(data) != size:
            raise UsageError(f"{path}: {self.key(row)}: wanted {size} bytes of {name} at offset {offset}, the file "
                             f"ends after {len(data)}; copy the shard again")
        if not places.checked[row]:
            if zlib.crc32(data) != int(self.index[f"{name}_crc"][row]):
                raise UsageError(f"{path}: {self.key(row)}: the {name} of {size} bytes at offset {offset} has another "
                                 f"checksum than the index; copy the shard again")
            places.checked[row] = 1
        return data


class _Places:
    """Where the members of one kind lie; made when the first of them is read."""

    def __init__(self, index: np.ndarray, name: str) -> None:
        self._index, self._name = index, name
        self._places: tuple[np.ndarray, np.ndarray] | None = None
        self.checked = bytearray(len(index))

    def of(self, row: int) -> tuple[int, int]:
        """Returns offset and size."""
        if self._places is None:
            self._places = (np.ascontiguousarray(self._index[f"{self._name}_offset"]),
                            np.ascontiguousarray(self._index[f"{self._name}_size"]))
        return int(self._places[0][row]), int(self._places[1][row])


def open_shard(shards: ShardSet, shard: ShardFile) -> ShardReader:
    """Returns a shard of a set opened for reading, without what was removed from the set."""
    return ShardReader(shards.directory, shard, shards.removed_from(shard))


def read_samples(shards: ShardSet, split: str = "train") -> Iterator[StoredSample]:
    """Yields all samples of a split in shard order."""
    for shard in shards.of_split(split):
        with open_shard(shards, shard) as reader:
            yield from reader


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: no such shard; the manifest names it, copy it again") from error
