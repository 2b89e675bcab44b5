"""Bytes of an archive file, and its gzip members unfolded: each within a bound, the place of each known.

What is broken is passed over to the next member that begins a record; what was read since a mark can be had again.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from isal import isal_zlib

MAX_BLOCK = 32 << 20               # bytes of one record's block; a longer one is `too_long`
GZIP = b"\x1f\x8b\x08"
PIECE = 1 << 20                    # unfolded at a time
_CHUNK = 1 << 20                   # read at a time
_FED = 16 << 10                    # given to zlib at a time: what lies behind the end of a member is copied
_LOOKED = 4096                     # unfolded bytes in which a record begins, or not
_BAD_GZIP: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]


class Readable(Protocol):
    """What bytes come from: a file, an object of a store, a body over HTTP."""

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, at most `size`, b"" at the end."""
        ...


class Damaged(Exception):
    """Bytes that do not unfold."""


class Source:
    """The bytes of a file; those since the mark can be had again, up to a record's worth."""

    def __init__(self, file: Readable) -> None:
        self._file = file
        self._data = b""
        self._base = 0                     # offset in the file of _data[0]
        self._mark = self._at = 0          # in _data

    @property
    def offset(self) -> int:
        return self._base + self._at

    def peek(self, size: int) -> bytes:
        while len(self._data) - self._at < size and self._read():
            pass
        return self._data[self._at:self._at + size]

    def mark(self) -> None:
        """Says that what lies before the place we are at is not wanted again."""
        self._mark = self._at

    def take_all(self) -> bytes:
        """Returns the bytes at hand, or the next ones; b"" at the end."""
        self.mark()
        if self._at == len(self._data):
            self._read()
        found = self._data[self._at:]
        self._at = len(self._data)
        return found

    def take(self) -> bytes:
        """Returns a few bytes, b"" at the end."""
        if self._at == len(self._data):
            self._read()
        found = self._data[self._at:self._at + _FED]
        self._at += len(found)
        return found

    def give_back(self, size: int) -> None:
        self._at -= size

    def to_mark(self) -> None:
        """Goes back to the mark."""
        self._at = self._mark

    def to_next_member(self, begins: Callable[[bytes], bool]) -> None:
        """Goes to the next gzip member behind the mark that begins a record; to the end where there is none."""
        self._at = min(self._mark + 1, len(self._data))
        while True:
            place = self._data.find(GZIP, self._at)
            self._at = max(place if place >= 0 else len(self._data) - len(GZIP) + 1, self._at)
            self.mark()
            if place < 0:
                if len(self.peek(len(GZIP))) < len(GZIP):
                    self._at = len(self._data)
                    return
            elif begins(beginning(self.peek(1024))):
                return
            else:
                self._at += 1

    def _read(self) -> bool:
        more = self._file.read(_CHUNK)
        if more:
            kept = max(self._mark, self._at - MAX_BLOCK)
            self._base, self._data = self._base + kept, self._data[kept:] + more
            self._mark, self._at = 0, self._at - kept
        return bool(more)


def beginning(compressed: bytes) -> bytes:
    """Returns the first bytes that a member unfolds to, b"" where it does not."""
    try:
        return isal_zlib.decompressobj(31).decompress(compressed, _LOOKED)
    except _BAD_GZIP:
        return b""


def small_member(source: Source) -> bytes | None:
    """Returns a whole member at once where it is sound and unfolds to no more than a little; None for any other."""
    stream = isal_zlib.decompressobj(31)
    data = b""
    while not stream.eof:
        fed = stream.unconsumed_tail or source.take()
        if not fed or len(data) > PIECE:
            return None
        try:
            data += stream.decompress(fed, PIECE)
        except _BAD_GZIP:
            return None
    source.give_back(len(stream.unused_data))
    return data


def member(source: Source) -> Callable[[], bytes]:
    """Returns what gives one member, piece by piece, and b"" at its end; it raises Damaged."""
    stream = isal_zlib.decompressobj(31)

    def more() -> bytes:
        while not stream.eof:
            fed = stream.unconsumed_tail or source.take()
            if not fed:
                raise Damaged("truncated_record")
            try:
                piece = stream.decompress(fed, PIECE)
            except _BAD_GZIP as error:
                raise Damaged("damaged_gzip") from error
            if stream.eof:
                source.give_back(len(stream.unused_data))
            if piece:
                return piece
        return b""
    return more
