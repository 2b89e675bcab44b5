"""Records of WARC files that others wrote, streamed: what is broken is a record with a fault, and the file goes on.

ISO 28500:2017 as it is met in the wild: plain or gzip, a member a record or not; lengths that lie, members that are cut
or damaged.  FastWARC ends at the first damaged member; here the next member that begins a record is looked for, and a
record is never larger in memory than its cap, whatever its length says or its gzip unfolds to (S18).
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator
from typing import Protocol

from isal import isal_zlib

MAX_BLOCK = 32 << 20               # bytes of one record's block; a longer one is `too_long`
_MAX_HEAD = 64 << 10               # of a record's header
_MAX_SKIP = 1 << 30                # bytes of a longer record that are unfolded to find its end; beyond is a bomb
_CHUNK = 1 << 20                   # read at a time
_FED = 16 << 10                    # given to zlib at a time: what lies behind the end of a member is copied
_PIECE = 1 << 20                   # unfolded at a time
_BAD_GZIP: type[Exception] = isal_zlib.IsalError  # type: ignore[assignment]
_GZIP = b"\x1f\x8b\x08"
_BEGIN = b"WARC/"
_NEXT = re.compile(rb"(?<=\n)WARC/[01]\.\d{1,2}\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Readable(Protocol):
    """What bytes come from: a file, an object of a store, a body over HTTP."""

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, at most `size`, b"" at the end."""
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record, or the place where one should be."""

    offset: int                    # of the record, or of the gzip member it lies in
    fields: dict[str, str]         # lower-case names; empty with a fault before they were read
    block: bytes                   # b"" with a fault
    fault: str = ""                # no_warc, bad_header, bad_length, too_long, truncated_record, damaged_gzip, bomb


class _Damaged(Exception):
    """Bytes that do not unfold."""


def read_records(file: Readable, max_block: int = MAX_BLOCK) -> Iterator[Record]:
    """Yields the records of a file in order; a file that is no WARC is one record with the fault `no_warc`."""
    source = _Source(file)
    if source.peek(len(_GZIP)) == _GZIP:
        yield from _gzipped(source, max_block)
    else:
        try:
            yield from _records(_Window(source.take_all), max_block, None)
        except _Damaged as damage:
            yield Record(0, {}, b"", str(damage))


class _Source:
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

    def to_next_member(self) -> None:
        """Goes to the next gzip member behind the mark that begins a record; to the end where there is none."""
        self._at = min(self._mark + 1, len(self._data))
        while True:
            place = self._data.find(_GZIP, self._at)
            self._at = max(place if place >= 0 else len(self._data) - len(_GZIP) + 1, self._at)
            self.mark()
            if place < 0:
                if len(self.peek(len(_GZIP))) < len(_GZIP):
                    self._at = len(self._data)
                    return
            elif _begins_record(self.peek(1024)):
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


def _begins_record(compressed: bytes) -> bool:
    try:
        return isal_zlib.decompressobj(31).decompress(compressed, len(_BEGIN)) == _BEGIN
    except _BAD_GZIP:
        return False


def _gzipped(source: _Source, max_block: int) -> Iterator[Record]:
    while source.peek(1):
        source.mark()
        start = source.offset
        if source.peek(len(_GZIP)) != _GZIP:
            if source.peek(64).strip(b"\0\r\n"):          # some writers fill up with zeros
                yield Record(start, {}, b"", "damaged_gzip")
            source.to_next_member()
            continue
        sound = _sound_member(source, start, max_block)
        if sound is not None:
            yield sound
            continue
        source.to_mark()
        try:
            yield from _records(_Window(_member(source)), max_block, start)
        except _Damaged as damage:
            yield Record(start, {}, b"", str(damage))
            source.to_next_member()


def _sound_member(source: _Source, start: int, max_block: int) -> Record | None:
    """Returns the record of a member that holds one, as nearly all do; None for what is to be read with care."""
    stream = isal_zlib.decompressobj(31)
    data = b""
    while not stream.eof:
        fed = stream.unconsumed_tail or source.take()
        if not fed or len(data) > _PIECE:
            return None
        try:
            data += stream.decompress(fed, _PIECE)
        except _BAD_GZIP:
            return None
    end = data.find(b"\r\n\r\n", 0, _MAX_HEAD) + 4
    fields = _fields(data[:end - 4]) if end > 4 and data.startswith(_BEGIN) else None
    if fields is None or (length := int(fields["content-length"])) > max_block or data[end + length:] != b"\r\n\r\n":
        return None
    source.give_back(len(stream.unused_data))
    return Record(start, fields, data[end:end + length])


def _member(source: _Source) -> Callable[[], bytes]:
    """Returns what gives one member, piece by piece, and b"" at its end; it raises _Damaged."""
    stream = isal_zlib.decompressobj(31)

    def more() -> bytes:
        while not stream.eof:
            fed = stream.unconsumed_tail or source.take()
            if not fed:
                raise _Damaged("truncated_record")
            try:
                piece = stream.decompress(fed, _PIECE)
            except _BAD_GZIP as error:
                raise _Damaged("damaged_gzip") from error
            if stream.eof:
                source.give_back(len(stream.unused_data))
            if piece:
                return piece
        return b""
    return more


class _Window:
    """Unfolded bytes, from the record that is read on."""

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self.data = b""
        self.at = 0                        # in data: what lies before it is gone
        self._base = 0                     # offset of data[0]
        self._ended = False

    @property
    def offset(self) -> int:
        return self._base + self.at

    def has(self, size: int) -> bool:
        """Returns whether `size` bytes are at hand, after reading them if they are to be had."""
        length = len(self.data) - self.at
        if length >= size or self._ended:
            return length >= size
        pieces = [self.data[self.at:]]
        while length < size and not self._ended:
            piece = self._more()
            self._ended = not piece
            pieces.append(piece)
            length += len(piece)
        self._base, self.data, self.at = self.offset, b"".join(pieces), 0
        return length >= size

    def skip(self, size: int) -> None:
        """Passes over bytes without holding them."""
        while size > 0 and self.has(1):
            step = min(size, len(self.data) - self.at)
            self.at += step
            size -= step

    def skip_blank(self) -> None:
        while self.has(1) and self.data[self.at] in b"\r\n":
            self.at += 1


def _records(window: _Window, max_block: int, start: int | None) -> Iterator[Record]:
    """Yields the records in unfolded bytes; `start` is the place of the member they lie in, None for a plain file."""
    budget = _MAX_SKIP
    first = True
    while True:
        window.skip_blank()
        if not window.has(1):
            return
        offset = window.offset if start is None else start
        head = _head(window)
        if head is None:
            if first and not offset:
                raise _Damaged("no_warc")
            yield Record(offset, {}, b"", "bad_header")
            budget = _to_next_record(window, budget)
            continue
        first = False
        fields, size = head
        length = int(fields["content-length"])
        if length > max_block:
            yield Record(offset, fields, b"", "too_long")
            if start is not None and (budget := budget - length) < 0:
                raise _Damaged("bomb")
            window.skip(size + length)
            continue
        whole = window.has(size + length)
        window.has(size + length + 2)                    # what ends a record, and shows that its length is right
        begin = window.at + size
        if whole and not window.data[begin + length:begin + length + 2].strip(b"\r\n"):
            yield Record(offset, fields, window.data[begin:begin + length])
            window.at = begin + length
        else:
            yield Record(offset, fields, b"", "bad_length" if whole else "truncated_record")
            window.at = begin
            budget = _to_next_record(window, budget)


def _head(window: _Window) -> tuple[dict[str, str], int] | None:
    """Returns the fields of the record at hand and the size of its header, None where there is no header."""
    if not window.has(len(_BEGIN)) or not window.data.startswith(_BEGIN, window.at):
        return None
    size = 1024
    while True:
        more = window.has(size)
        end = _HEAD_END.search(window.data, window.at, window.at + _MAX_HEAD)
        if end:
            break
        if not more or size >= _MAX_HEAD:
            return None
        size *= 4
    fields = _fields(window.data[window.at:end.start()])
    return None if fields is None else (fields, end.end() - window.at)


def _fields(head: bytes) -> dict[str, str] | None:
    """Returns the fields of a record's header, the first of each name; None where it is no header."""
    fields: dict[str, str] = {}
    name = ""
    for line in head.decode("utf-8", "replace").split("\n")[1:]:
        if line[:1] in (" ", "\t") and name:
            fields[name] += " " + line.strip()
            continue
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        fields.setdefault(name, value if value.isprintable() else _CONTROL.sub(" ", value))
    length = fields.get("content-length", "")
    if not (length.isascii() and length.isdecimal() and len(length) < 16 and "warc-type" in fields):
        return None
    return fields


def _to_next_record(window: _Window, budget: int) -> int:
    """Goes to where the next record begins, or to the end; returns the budget left, raises _Damaged without one."""
    while window.has(32):
        found = _NEXT.search(window.data, window.at + 1)
        step = (found.start() if found else len(window.data) - 16) - window.at
        window.at += step
        budget -= step
        if found:
            return budget
        if budget < 0:
            raise _Damaged("bomb")
    window.skip(32)
    return budget
