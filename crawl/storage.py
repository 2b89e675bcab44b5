"""Bytes under names: one layer for a local folder, `s3://`, `gs://` and `memory://`.

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
import functools
import hashlib
import os
import posixpath
import socket
import time
from collections.abc import Iterator
from typing import Any

from crawl.errors import UsageError

# A temporary file is never read; its suffix tells a person why a killed run left it.
_TEMPORARY = ".tmp"
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SWAP_TRIES = 20                   # of a local swap while another process is in the middle of one
_SWAP_PAUSE_S = 0.005


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


def names_in(path: str) -> list[str]:
    """Returns the sorted names in a folder, none where there is no folder; nothing is decided by such a list."""
    if not is_remote(path):
        return sorted(os.listdir(path)) if os.path.isdir(path) else []
    store, name = _remote(path)
    with _as_os_error(path):
        return sorted(posixpath.basename(found["path"]) for found in store.list_with_delimiter(name)["objects"])
    raise AssertionError("unreachable")


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


def upload(local: str, path: str) -> None:
    """Copies a local file to an object store in pieces, whole or not at all.

    The name must be made of the bytes' own hash: it is replaced if it is taken, which changes nothing then.
    """
    store, name = _remote(path)
    with open(local, "rb") as file, _as_os_error(path):
        store.put(name, file, use_multipart=True)


@contextlib.contextmanager
def disk(path: str) -> Iterator[None]:
    """Turns "no room left" while a file is written into a UsageError that names it."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise UsageError(f"{path}: {error.strerror}; make room on that disk (or raise the limit) and run the same "
                         f"command again: what is committed is kept") from error


def replace_bytes(path: str, data: bytes) -> None:
    """Writes `data` under a name that may be taken: only for pointers such as `dataset.json`."""
    if is_remote(path):
        store, name = _remote(path)
        store.put(name, data)
        return
    os.replace(_write_temporary(path, data), path)


def remove(path: str) -> None:
    """Takes a name away; one that is not there is no error."""
    if is_remote(path):
        store, name = _remote(path)
        with contextlib.suppress(FileNotFoundError):
            store.delete(name)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def names_below(path: str) -> list[str]:
    """Returns the names of all files below a folder, relative to it, sorted: for a person's work, not for a build's."""
    if not is_remote(path):
        return sorted(os.path.relpath(os.path.join(folder, name), path)
                      for folder, _, names in os.walk(path) for name in names)
    store, prefix = _remote(path)
    found = (str(one["path"]) for chunk in store.list(prefix=prefix) for one in chunk)
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
    store, name = _remote(path)
    with _as_os_error(path):
        try:
            found = store.get(name)
            return Versioned(bytes(found.bytes()), _mark(found.meta))
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

    store, name = _remote(path)
    with _as_os_error(path):
        try:
            return Versioned(data, _mark(store.put(name, data, mode=old.mark if old else "create")))
        except (AlreadyExistsError, PreconditionError):
            return None
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


def _mark(facts: Any) -> dict[str, str]:
    return {name: facts[name] for name in ("e_tag", "version") if facts.get(name) is not None}


@contextlib.contextmanager
def _as_os_error(path: str) -> Iterator[None]:
    """Turns what an object store raises into OSError, as a disk raises it."""
    from obstore.exceptions import BaseError
    try:
        yield
    except BaseError as error:
        raise OSError(f"{path}: {str(error).splitlines()[0]}") from error


def _write_temporary(path: str, data: bytes) -> str:
    """Returns the name of a local file beside `path` with these bytes on the disk."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{socket.gethostname()}-{os.getpid()}-{os.urandom(4).hex()}{_TEMPORARY}"
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


def _remote(path: str) -> tuple[Any, str]:
    scheme, _, rest = path.partition("://")
    bucket, _, name = rest.partition("/")
    return _store(f"{scheme}://{bucket}"), name


@functools.cache
def _store(url: str) -> Any:
    from obstore.store import MemoryStore, from_url  # only a run on an object store needs it
    return MemoryStore() if url.startswith("memory://") else from_url(url)
