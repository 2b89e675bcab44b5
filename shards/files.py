"""Large files: written to a local temporary file, given their name when they are whole, described by an entry."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from types import TracebackType
from typing import Any

from crawl import storage
from crawl.storage import sha256_of
from crawl.tables import FileEntry, from_row

_ONE_PUT = 64 << 20                # bytes held in memory to be stored by one request


class TemporaryFile:
    """A local file without a final name: beside the folder it will lie in, so that the name is a hard link away.

    Leaving the `with` block without a commit removes it.
    """

    def __init__(self, directory: str) -> None:
        if storage.is_remote(directory):
            self.descriptor, self.path = tempfile.mkstemp(suffix=".tmp")
        else:
            with storage.disk(directory):
                os.makedirs(directory, exist_ok=True)
                self.descriptor, self.path = tempfile.mkstemp(suffix=".tmp", dir=directory)
        os.fchmod(self.descriptor, 0o644)
        self.directory = directory

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        os.close(self.descriptor)
        if os.path.exists(self.path):
            os.unlink(self.path)

    def write_at(self, offset: int, data: bytes) -> None:
        """Writes all of `data` at `offset`; raises UsageError where the disk is full."""
        view = memoryview(data)
        with storage.disk(self.path):
            while view:
                written = os.pwrite(self.descriptor, view, offset)
                view, offset = view[written:], offset + written

    def commit(self, name_of: Callable[[str], str]) -> FileEntry:
        """Gives the file its name, made from its sha256, in the folder; returns its entry.

        Raises CommitConflict when the name is taken by other bytes.
        """
        sha256, size = sha256_of(self.path), os.path.getsize(self.path)
        name = name_of(sha256)
        path = storage.join(self.directory, name)
        if storage.is_remote(path):
            self._store(path, sha256, size)
        else:
            os.fsync(self.descriptor)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if not storage.link_new(self.path, path) and sha256_of(path) != sha256:
                raise storage.CommitConflict(f"{path} already holds other bytes; remove it to write it again")
        return FileEntry(name=name, bytes=size, sha256=sha256)


    def _store(self, path: str, sha256: str, size: int) -> None:
        """Puts the file into an object store: one create-only request, or piece by piece where it is large."""
        if size <= _ONE_PUT:
            with open(self.path, "rb") as file:
                storage.commit_bytes(path, file.read())
            return
        if not storage.exists(path):
            storage.upload(self.path, path)
        if storage.size(path) != size or sha256_of(path) != sha256:
            raise storage.CommitConflict(f"{path} already holds other bytes; remove it to write it again")


class PartFile(TemporaryFile):
    """A file that grows by appending."""

    size = 0

    def append(self, data: bytes) -> int:
        """Writes `data` at the end; returns its offset."""
        offset = self.size
        self.write_at(offset, data)
        self.size += len(data)
        return offset


def commit_small(directory: str, name: str, data: bytes) -> FileEntry:
    """Commits bytes as `directory/name`; returns the file's entry."""
    storage.commit_bytes(storage.join(directory, name), data)
    return FileEntry(name=name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def encode_entry(entry: FileEntry) -> bytes:
    """Returns an entry as JSON."""
    return json.dumps(dataclasses.asdict(entry), sort_keys=True).encode()


def entry_from(value: dict[str, Any]) -> FileEntry:
    """Returns the entry that plain JSON values hold."""
    return from_row(FileEntry, value | {"outcomes": [tuple(pair) for pair in value["outcomes"]]})


def read_entry(directory: str, name: str) -> FileEntry:
    """Returns the entry committed as `directory/name`."""
    return entry_from(json.loads(storage.read_bytes(storage.join(directory, name))))
