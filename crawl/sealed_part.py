"""A part that takes no more rows, on its way to the storage: the work of a thread beside the fetch loop.

256 MiB take seconds on a disk of a network and longer to an object store; the loop has requests in flight, deadlines
and leases that cannot wait so long.  What is stored here lies under names made of its own hash and is nobody's until
the part's JSON file names it, which the loop itself writes (crawl/parts.py).
"""
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import BinaryIO

from crawl import storage
from crawl.records import FetchLog, Host, ImageLog
from crawl.robots_captures import SUFFIX, placed
from crawl.tables import FileEntry, encode_table

_SUFFIX = {"page": ".warc.gz", "image": ".tar"}


@dataclasses.dataclass(frozen=True, slots=True)
class SealedPart:
    """What one part holds."""

    index: int
    kind: str                      # page or image
    directory: str                 # the stage folder with its root
    out: str                       # the output root
    shard: str                     # the shard's folder, relative to the stage folder
    file: BinaryIO                 # its bytes, whole, on a local disk
    sha256: str                    # of these
    rows: list[tuple[FetchLog, tuple[int, int] | None]]      # and where their bytes are
    hosts: list[Host]
    captures: bytes                # what those were read from, as WARC; empty without any

    def store(self) -> dict[str, FileEntry]:
        """Stores bytes, log, hosts and, if there are captures, robots; returns their entries by these names."""
        stem = f"part-{self.index:05d}"
        body = self._store_bytes(stem)
        folder = (os.path.relpath(self.directory, self.out) if not storage.is_remote(self.directory)
                  else self.directory.removeprefix(self.out).strip("/"))
        part = storage.join(folder, body.name)
        rows = [_placed(row, part, *place) if place else row
                for row, place in self.rows]
        found = {"bytes": body,
                 "log": self._store_table(stem, ".parquet", ImageLog if self.kind == "image" else FetchLog, rows)}
        if not self.captures:
            return found | {"hosts": self._store_table(stem, ".hosts.parquet", Host, self.hosts)}
        robots = self._store_captures(stem)
        hosts = [placed(host, storage.join(folder, robots.name)) for host in self.hosts]
        return found | {"robots": robots, "hosts": self._store_table(stem, ".hosts.parquet", Host, hosts)}

    def discard(self) -> None:
        """Removes what is not stored."""
        with contextlib.suppress(OSError):                 # what is left in its buffer is thrown away
            self.file.close()
        with contextlib.suppress(FileNotFoundError):       # it is stored, or was until the part failed
            os.unlink(self.file.name)

    def _store_bytes(self, stem: str) -> FileEntry:
        with storage.disk(self.file.name):
            self.file.flush()
            os.fsync(self.file.fileno())
        size = os.fstat(self.file.fileno()).st_size
        name = storage.join(self.shard, f"{stem}-{self.sha256[:12]}{_SUFFIX[self.kind]}")
        if storage.is_remote(self.directory):
            storage.upload(self.file.name, storage.join(self.directory, name))
            os.unlink(self.file.name)
        else:
            storage.link_new(self.file.name, storage.join(self.directory, name))
        self.file.close()
        return FileEntry(name=name, bytes=size, sha256=self.sha256)

    def _store_captures(self, stem: str) -> FileEntry:
        sha256 = hashlib.sha256(self.captures).hexdigest()
        name = storage.join(self.shard, f"{stem}-{sha256[:12]}{SUFFIX}")
        storage.commit_bytes(storage.join(self.directory, name), self.captures)
        return FileEntry(name=name, bytes=len(self.captures), sha256=sha256)

    def _store_table(self, stem: str, suffix: str, record_type: type, rows: Sequence[object]) -> FileEntry:
        data, counted = encode_table(record_type, rows)
        sha256 = hashlib.sha256(data).hexdigest()
        name = storage.join(self.shard, f"{stem}-{sha256[:12]}{suffix}")
        storage.commit_bytes(storage.join(self.directory, name), data)
        return FileEntry(name=name, bytes=len(data), sha256=sha256, **counted)


def _placed(row: FetchLog, part: str, offset: int, length: int) -> FetchLog:
    """Returns a row with where its bytes are; of a row that has an address, what was written is its revisit record."""
    if row.part:
        return dataclasses.replace(row, revisit_part=part, revisit_offset=offset, revisit_length=length)
    return dataclasses.replace(row, part=part, offset=offset, length=length)
