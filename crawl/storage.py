"""Bytes under names: one layer for a local folder, `s3://`, `gs://` and `memory://`.

A name is written once.  Local commit: a temporary file, fsync, a hard link that fails if the name is taken.
Object store: one create-only PUT.  "Exists with equal bytes" is success, "exists with other bytes" is an error,
so a job that runs twice leaves what a job that runs once leaves.
"""
from __future__ import annotations

import functools
import hashlib
import os
import posixpath
from typing import Any

# A temporary file is never read; its suffix tells a person why a killed run left it.
_TEMPORARY = ".tmp"


class CommitConflict(Exception):
    """A name that is already taken by other bytes: two different runs wrote to one place."""


def is_remote(path: str) -> bool:
    """Returns whether a path names an object store."""
    return "://" in path


def join(*parts: str) -> str:
    """Returns path parts joined with `/`."""
    return posixpath.join(*parts)


def exists(path: str) -> bool:
    """Returns whether something is committed under this name."""
    if not is_remote(path):
        return os.path.exists(path)
    store, name = _remote(path)
    try:
        store.head(name)
    except FileNotFoundError:
        return False
    return True


def size(path: str) -> int:
    """Returns the bytes stored under a name."""
    if not is_remote(path):
        return os.path.getsize(path)
    store, name = _remote(path)
    return int(store.head(name)["size"])


def read_bytes(path: str) -> bytes:
    """Returns all bytes under a name; raises FileNotFoundError."""
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    store, name = _remote(path)
    return bytes(store.get(name).bytes())


def read_range(path: str, offset: int, length: int) -> bytes:
    """Returns exactly `length` bytes from `offset`; raises EOFError when the file is shorter."""
    if is_remote(path):
        store, name = _remote(path)
        data = bytes(store.get_range(name, start=offset, length=length))
    else:
        with open(path, "rb") as file:
            data = os.pread(file.fileno(), length, offset)
    if len(data) != length:
        raise EOFError(f"{path}: wanted {length} bytes at {offset}, got {len(data)}")
    return data


def commit_bytes(path: str, data: bytes) -> bool:
    """Writes `data` under a new name.

    Returns True when it was written, False when equal bytes were there already; raises CommitConflict when the
    name holds other bytes.
    """
    if is_remote(path):
        from obstore.exceptions import AlreadyExistsError

        store, name = _remote(path)
        try:
            store.put(name, data, mode="create")
            return True
        except AlreadyExistsError:
            pass
    else:
        if link_new(_write_temporary(path, data), path):
            return True
    if hashlib.sha256(read_bytes(path)).digest() != hashlib.sha256(data).digest():
        raise CommitConflict(f"{path} already holds other bytes; another run wrote to the same place")
    return False


def link_new(temporary: str, path: str) -> bool:
    """Gives a finished local temporary file its final name; returns False (and drops it) if the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return True


def replace_bytes(path: str, data: bytes) -> None:
    """Writes `data` under a name that may be taken: only for pointers such as `dataset.json`."""
    if is_remote(path):
        store, name = _remote(path)
        store.put(name, data)
        return
    os.replace(_write_temporary(path, data), path)


def _write_temporary(path: str, data: bytes) -> str:
    """Returns the name of a local file beside `path` with these bytes on the disk."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}{_TEMPORARY}"
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def _remote(path: str) -> tuple[Any, str]:
    scheme, _, rest = path.partition("://")
    bucket, _, name = rest.partition("/")
    return _store(f"{scheme}://{bucket}"), name


@functools.cache
def _store(url: str) -> Any:
    from obstore.store import MemoryStore, from_url  # only a run on an object store needs it
    return MemoryStore() if url.startswith("memory://") else from_url(url)
