"""Stores by URL: `s3://`, `gs://`, `http(s)://` (to read only) and `memory://`.

Credentials come by the usual chains alone (environment, instance, service account file): they stand in no argument, so
in no manifest and no log.  What passes (5xx, dropped or slow connections, cut bodies) is tried again by the library, up
to ten times within three minutes; what stays is told in one line.
"""
from __future__ import annotations

import contextlib
import errno
import functools
import io
import re
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from crawl.errors import UsageError

T = TypeVar("T")
_PAUSES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
WINDOW = 8 << 20                   # bytes that a file opened for reading asks for at a time


class StoreUsageError(UsageError, OSError):
    """A store that refuses, or does not answer for minutes: one line for a person, and an OSError for who goes on."""


def is_remote(path: str) -> bool:
    """Returns whether a path names an object store or a web server."""
    return "://" in path


def located(path: str) -> tuple[Any, str]:
    """Returns the store of a path and the name in it."""
    scheme, _, rest = path.partition("://")
    bucket, _, name = rest.partition("/")
    return _store(f"{scheme}://{bucket}"), name


@functools.cache
def _store(url: str) -> Any:
    from obstore.store import MemoryStore, from_url  # only a run on an object store needs it
    if url.startswith("memory://"):
        return MemoryStore()
    return from_url(url, client_options={"allow_http": True}) if url.startswith("http") else from_url(url)


@contextlib.contextmanager
def told(path: str) -> Iterator[None]:
    """Turns what a store raises into StoreUsageError; FileNotFoundError, a taken name, a lost condition go through."""
    from obstore.exceptions import (
        AlreadyExistsError,
        BaseError,
        PermissionDeniedError,
        PreconditionError,
        UnauthenticatedError,
    )
    try:
        yield
    except (AlreadyExistsError, PreconditionError):
        raise
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, "no such object", path) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        raise StoreUsageError(f"{path}: the store refuses it ({_status(error)}); check the credentials and the rights "
                              f"on the bucket (where names may not be listed, a missing one is refused too)") from error
    except BaseError as error:
        raise StoreUsageError(f"{path}: {_line(error)}; run the same command again when the store answers") from error


def _status(error: BaseException) -> str:
    found = re.search(r"status code: (\d{3}[ \w]*)", str(error))
    return found[1].strip() if found else _line(error)


def _line(error: BaseException) -> str:
    """Returns the first sentence of what a store says, without the page that came with it."""
    return str(error).splitlines()[0].partition(": <")[0].rstrip(" :")[:300]


def in_full(read: Callable[[], T]) -> T:
    """Returns what a read returns; one whose answer was cut is asked again, which the library does not always do."""
    from obstore.exceptions import GenericError
    for pause_s in _PAUSES_S:
        try:
            return read()
        except GenericError as error:
            if "body error" not in str(error):
                raise
        time.sleep(pause_s)
    return read()


def get_range(path: str, offset: int, length: int) -> bytes:
    """Returns at most `length` bytes from `offset`, fewer where the file ends; raises FileNotFoundError."""
    from obstore.exceptions import BaseError
    store, name = located(path)
    with told(path):
        try:
            return in_full(lambda: bytes(store.get_range(name, start=offset, length=length))) if length else b""
        except BaseError:
            # A range behind the end is an error to some stores and a shorter answer to others.
            left = int(store.head(name)["size"]) - offset
            if left >= length:
                raise
            return in_full(lambda: bytes(store.get_range(name, start=offset, length=left))) if left > 0 else b""
    raise AssertionError("unreachable")


class RemoteFile(io.RawIOBase):
    """A remote file that can be read and sought in; each read is a range."""

    def __init__(self, path: str) -> None:
        store, name = located(path)
        with told(path):
            self.size = int(store.head(name)["size"])
        self.path, self._at = path, 0

    def readable(self) -> bool:
        """Returns True."""
        return True

    def seekable(self) -> bool:
        """Returns True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a place; returns it."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """Returns the place."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer; returns how much of it."""
        wanted = min(len(buffer), max(self.size - self._at, 0))
        data = get_range(self.path, self._at, wanted)
        if len(data) != wanted:
            raise StoreUsageError(f"{self.path}: wanted {wanted} bytes at {self._at}, got {len(data)}; it was replaced "
                                  f"while it was read, or the store lost a part of it")
        buffer[:len(data)] = data
        self._at += len(data)
        return len(data)
