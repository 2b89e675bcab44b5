"""Bytes of a part are overwritten where they lie: what stays keeps its address, and the file its kind.

    image tar     header and data of the member; it is called `removed` from then on
    WARC          the gzip members of answer, metadata and request; records that say so take their place
    other parts   zeros
"""
from __future__ import annotations

import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from crawl import storage
from crawl.tables import FileEntry
from crawl.warc import filler
from shards.files import sha256_of

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b\x08"
_BESIDE = re.compile(rb"\r\nWARC-Type: (?:request|metadata)\r\n")


def overwritten(path: str, name: str, ranges: Iterable[tuple[int, int]]) -> tuple[str, FileEntry]:
    """Returns a local temporary file with the part as it shall be, and the entry of that file under `name`.

    Raises OSError where the part cannot be read or there is no room for the copy.
    """
    folder = None if storage.is_remote(path) else os.path.dirname(path)
    descriptor, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
    try:
        with storage.disk(temporary), os.fdopen(descriptor, "w+b") as file:
            os.fchmod(file.fileno(), 0o644)
            _copy(path, file)
            for offset, data in list(_pieces(path, sorted(ranges))):
                file.seek(offset)
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        storage.remove(temporary)
        raise
    return temporary, FileEntry(name=name, bytes=os.path.getsize(temporary), sha256=sha256_of(temporary))


def _copy(path: str, file: BinaryIO) -> None:
    if not storage.is_remote(path):
        with open(path, "rb") as source:
            shutil.copyfileobj(source, file, _CHUNK)
        return
    size = storage.size(path)
    for start in range(0, size, _CHUNK):
        file.write(storage.read_range(path, start, min(_CHUNK, size - start)))


def _pieces(path: str, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """Yields what is to stand where."""
    for offset, length in ranges:
        if path.endswith(".warc.gz"):
            yield offset, filler(length)
            yield from _members_before(path, offset)
        else:
            yield offset, bytes(length)
            if path.endswith(".tar"):
                yield from _header_before(path, offset, length)


def _header_before(path: str, offset: int, length: int) -> Iterator[tuple[int, bytes]]:
    """The header of a member is named by the hash of its image."""
    try:
        info = tarfile.TarInfo.frombuf(storage.read_range(path, offset - _BLOCK, _BLOCK), "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError, EOFError, ValueError):
        return
    if info.size == length:
        info.name = "removed"
        yield offset - _BLOCK, info.tobuf(tarfile.USTAR_FORMAT)


def _members_before(path: str, offset: int) -> Iterator[tuple[int, bytes]]:
    """The members that end where an answer begins are its request and what is said of both."""
    reach = min(offset, 64 << 10)
    before = storage.read_range(path, offset - reach, reach) if reach else b""
    while (start := _last_member(before)) >= 0 and _BESIDE.search(_unfolded(before[start:])[:512]):
        yield offset - reach + start, filler(len(before) - start)
        before = before[:start]


def _last_member(data: bytes) -> int:
    """Returns where the gzip member begins that ends with the data, -1 where none does."""
    start = data.rfind(_GZIP)
    while start >= 0 and not _unfolded(data[start:]):
        start = data.rfind(_GZIP, 0, start)
    return start


def _unfolded(data: bytes) -> bytes:
    """Returns what one whole gzip member holds, b"" for anything else."""
    stream = zlib.decompressobj(31)
    try:
        text = stream.decompress(data)
    except zlib.error:
        return b""
    return text if stream.eof and not stream.unused_data else b""
