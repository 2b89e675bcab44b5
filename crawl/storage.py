"""Bytes under names: one layer for a local folder, `s3://`, `gs://`, `memory://`, and `http(s)://` to read.

A name is written once.  Local commit: a temporary file, fsync, a hard link that fails if the name is taken.
Object store: one create-only PUT.  "Exists with equal bytes" is success, "exists with other bytes" is an error,
so a job that runs twice leaves what a job that runs once leaves.

`swap_bytes` is for the few names that change: it replaces a value only if it is still the one that was read.
"""
from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import io
import os
import posixpath
import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from crawl.errors import UsageError
from crawl.object_store import WINDOW, RemoteFile, StoreUsageError, get_range, in_full, is_remote, located, told

__all__ = ["WINDOW", "StoreUsageError", "is_remote"]

# A temporary file is never read; its suffix tells a person why a killed run left it.
_TEMPORARY = ".tmp"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_SWAP_TRIES = 20                   # of a local swap while another process is in the middle of one
_SWAP_PAUSE_S = 0.005
_REMOVED_AT_ONCE = 1000            # names of one request to an object store


class CommitConflict(Exception):
    """A name that is already taken by other bytes: two different runs wrote to one place."""


def join(*parts: str) -> str:
    """Returns path parts joined with `/`; what stands before a URL or an absolute path does not count.

    >>> join("index", "s3://bucket/cc3m/00000.tar")
    's3://bucket/cc3m/00000.tar'
    """
    first = max((place for place, part in enumerate(parts) if is_remote(part)), default=0)
    return posixpath.join(*parts[first:])


def exists(path: str) -> bool:
    """Returns whether something is committed under this name."""
    if not is_remote(path):
        return os.path.exists(path)
    try:
        size(path)
    except FileNotFoundError:
        return False
    return True


def size(path: str) -> int:
    """Returns the bytes stored under a name."""
    if not is_remote(path):
        return os.path.getsize(path)
    store, name = located(path)
    with told(path):
        return int(store.head(name)["size"])
    raise AssertionError("unreachable")


def read_bytes(path: str) -> bytes:
    """Returns all bytes under a name; raises FileNotFoundError."""
    if not is_remote(path):
        with open(path, "rb") as file:
            return file.read()
    store, name = located(path)
    with told(path):
        return in_full(lambda: bytes(store.get(name).bytes()))
    raise AssertionError("unreachable")


def opened(path: str) -> BinaryIO:
    """Returns a file opened for reading, seekable; a remote one is read 8 MiB at a time.  Raises FileNotFoundError."""
    if is_remote(path):
        return cast(BinaryIO, io.BufferedReader(RemoteFile(path), WINDOW))
    return open(path, "rb")


def read_range(path: str, offset: int, length: int) -> bytes:
    """Returns exactly `length` bytes from `offset`; raises EOFError when the file is shorter."""
    if is_remote(path):
        data = get_range(path, offset, length)
    else:
        with open(path, "rb") as file:
            data = os.pread(file.fileno(), length, offset)
    if len(data) != length:
        raise EOFError(f"{path}: wanted {length} bytes at {offset}, got {len(data)}")
    return data


def names_in(path: str) -> list[str]:
    """Returns the sorted names in a folder, none where there is no folder; nothing is decided by such a list."""
    if not is_remote(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else []
    store, name = located(path)
    with told(path):
        return sorted(posixpath.basename(found["path"])
                      for found in in_full(lambda: store.list_with_delimiter(name))["objects"])
    raise AssertionError("unreachable")


def folders_in(path: str) -> list[str]:
    """Returns the sorted names of the folders in a folder, none where there is no folder: to look for a past build."""
    if not is_remote(path):
        return [name for name in names_in(path) if os.path.isdir(os.path.join(path, name))]
    store, name = located(path)
    with told(path):
        return sorted(posixpath.basename(found.rstrip("/"))
                      for found in in_full(lambda: store.list_with_delimiter(name))["common_prefixes"])
    raise AssertionError("unreachable")


def commit_bytes(path: str, data: bytes) -> bool:
    """Writes `data` under a new name.

    Returns True when it was written, False when equal bytes were there already; raises CommitConflict when the
    name holds other bytes.
    """
    if is_remote(path):
        from obstore.exceptions import AlreadyExistsError

        store, name = located(path)
        try:
            with _bucket(path), told(path):
                store.put(name, data, mode="create")
            return True
        except AlreadyExistsError:                     # also after a PUT that succeeded and said that it had not
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


def upload(local: str, path: str) -> None:
    """Copies a local file to an object store in pieces, whole or not at all.

    The name must be made of the bytes' own hash: it is replaced if it is taken, which changes nothing then.
    """
    store, name = located(path)
    with open(local, "rb") as file, _bucket(path):
        try:
            with told(path):
                store.put(name, file, use_multipart=True)
        except StoreUsageError:
            # The last request of an upload may have succeeded and said that it had not; asked again, it is unknown.
            if not exists(path) or size(path) != os.path.getsize(local):
                raise


@contextlib.contextmanager
def disk(path: str) -> Iterator[None]:
    """Turns "no room left" and "not allowed" while a file is written into a UsageError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_RIGHT:
            raise StoreUsageError(f"{path}: cannot be written: {error.strerror}; make its folder writable, or name "
                                  f"another") from error
        if error.errno not in _NO_ROOM:
            raise
        raise UsageError(f"{path}: {error.strerror}; make room on that disk (or raise the limit) and run the same "
                         f"command again: what is committed is kept") from error


def replace_bytes(path: str, data: bytes) -> None:
    """Writes `data` under a name that may be taken: only for pointers such as `dataset.json`."""
    if is_remote(path):
        store, name = located(path)
        with _bucket(path), told(path):
            store.put(name, data)
        return
    os.replace(_write_temporary(path, data), path)


def remove(path: str) -> None:
    """Takes a name away; one that is not there is no error."""
    if is_remote(path):
        store, name = located(path)
        with contextlib.suppress(FileNotFoundError), told(path):
            store.delete(name)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_below(path: str, first: str = "") -> None:
    """Removes a folder with all that is in it; one that is not there is no error.

    Args:
        first: the name of the file in it that goes before all others, so that a half-removed folder is none.
    """
    if first:
        remove(join(path, first))
    if not is_remote(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    store, prefix = located(path)
    names = [posixpath.join(prefix, name) for name in names_below(path)]
    for start in range(0, len(names), _REMOVED_AT_ONCE):
        with contextlib.suppress(FileNotFoundError), told(path):     # of a request that was repeated
            store.delete(names[start:start + _REMOVED_AT_ONCE])


def absolute(path: str) -> str:
    """Returns a path that does not depend on the current folder, without a slash at its end.

    >>> absolute("s3://bucket/data/")
    's3://bucket/data'
    """
    return path.rstrip("/") if is_remote(path) else os.path.abspath(path)


def names_below(path: str) -> list[str]:
    """Returns the names of all files below a folder, relative to it, sorted: for a person's work, not for a build's."""
    if not is_remote(path):
        return sorted(os.path.relpath(os.path.join(folder, name), path)
                      for folder, _, names in os.walk(path) for name in names)
    store, prefix = located(path)
    with told(path):
        found = in_full(lambda: [str(one["path"]) for chunk in store.list(prefix=prefix) for one in chunk])
    return sorted(posixpath.relpath(name, prefix) for name in found)


@dataclasses.dataclass(frozen=True, slots=True)
class Versioned:
    """A value that may be replaced, and what tells it from the values before and after it."""

    data: bytes
    mark: dict[str, str]           # entity tag or generation; empty on a local disk, where the bytes themselves differ


def read_version(path: str) -> Versioned | None:
    """Returns the value under a name with its version, None when there is none; raises OSError."""
    if not is_remote(path):
        try:
            return Versioned(read_bytes(path), {})
        except FileNotFoundError:
            return None
    store, name = located(path)
    with told(path):
        try:
            return in_full(lambda: _versioned(store.get(name)))
        except FileNotFoundError:
            return None
    raise AssertionError("unreachable")


def swap_bytes(path: str, data: bytes, old: Versioned | None) -> Versioned | None:
    """Replaces `old` (None: nothing) by `data`; returns the new version, None when something else is there by now.

    Every value written under one name must differ from all before it, as a random word in it makes sure: a local disk
    knows versions by their bytes.  Object store: one conditional PUT (If-Match, or the generation).  Local disk: read,
    compare and rename under a kernel lock, which ends with its process; None too while another process holds that lock.
    Raises OSError when the outcome is not known.
    """
    if not is_remote(path):
        return _swap_local(path, data, old)
    from obstore.exceptions import AlreadyExistsError, PreconditionError

    store, name = located(path)
    try:
        with _bucket(path), told(path):
            return Versioned(data, _mark(store.put(name, data, mode=old.mark if old else "create")))
    except (AlreadyExistsError, PreconditionError):
        found = read_version(path)                     # ours, where a PUT succeeded and said that it had not
        return found if found is not None and found.data == data else None
    raise AssertionError("unreachable")


def _swap_local(path: str, data: bytes, old: Versioned | None) -> Versioned | None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".lock", "a+b") as lock:         # never removed: two processes must not lock two files
        for _ in range(_SWAP_TRIES):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(_SWAP_PAUSE_S)
        else:
            return None
        if read_version(path) != old:
            return None
        os.replace(_write_temporary(path, data), path)
    return Versioned(data, {})


def _versioned(found: Any) -> Versioned:
    return Versioned(bytes(found.bytes()), _mark(found.meta))


def _mark(facts: Any) -> dict[str, str]:
    return {name: facts[name] for name in ("e_tag", "version") if facts.get(name) is not None}


@contextlib.contextmanager
def _bucket(path: str) -> Iterator[None]:
    """Turns "not found" while something is written into a line about the bucket: nothing else can be missing."""
    try:
        yield
    except FileNotFoundError as error:
        raise StoreUsageError(f"{path}: no such bucket; make it first, or name another") from error


def _write_temporary(path: str, data: bytes) -> str:
    """Returns the name of a local file beside `path` with these bytes on the disk."""
    temporary = f"{path}.{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}"
    with disk(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        with disk(path), open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return temporary


def sha256_of(path: str) -> str:
    """Returns the sha256 hex of a file, a chunk in memory at a time."""
    found = hashlib.sha256()
    with opened(path) as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()
