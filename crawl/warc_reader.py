"""Records of WARC and ARC files of others, streamed: what is broken is a record with a fault, and the file goes on.

ISO 28500:2017, and ARC before it (crawl/arc.py), as they are met in the wild: plain or gzip, a member a record or not;
lengths that lie, members that are cut or damaged.  FastWARC ends at the first damaged member; here the next member that
begins a record is looked for, and a record is never larger in memory than its cap, whatever its length says or its gzip
unfolds to (S18).
"""
from __future__ import annotations

import dataclasses
import io
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from crawl import arc
from crawl.gzip_members import GZIP, MAX_BLOCK, Damaged, Readable, Source, beginning, member, small_member

_MAX_HEAD = 64 << 10               # of a record's header
_MAX_SKIP = 1 << 30                # bytes of a longer record that are unfolded to find its end; beyond is a bomb
_BEGIN = b"WARC/"
_NEXT = re.compile(rb"(?<=\n)WARC/[01]\.\d{1,2}\r?\n")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record, or the place where one should be."""

    offset: int                    # of the record, or of the gzip member it lies in
    fields: dict[str, str]         # lower-case names; empty with a fault before they were read
    block: bytes                   # b"" with a fault
    fault: str = ""                # no_warc, bad_header, bad_length, too_long, truncated_record, damaged_gzip, bomb
    length: int = 0                # of the bytes at `offset` that are this record alone; 0 with a fault, and where
                                   # there are none: in a gzip member with several


class _Kind(NamedTuple):
    """How records look."""

    begin: bytes                                         # of the file
    next: re.Pattern[bytes]                              # where a record may begin behind a broken one
    longest: int                                         # bytes that such a place takes
    end: int                                             # bytes behind a record that are line breaks
    head: Callable[[bytes, int], tuple[dict[str, str], int] | None]

    def begins(self, data: bytes) -> bool:
        """Returns whether the first bytes of a member are those of a record."""
        return data.startswith(_BEGIN) if self.begin == _BEGIN else self.head(data, 0) is not None


def read_records(file: Readable, max_block: int = MAX_BLOCK) -> Iterator[Record]:
    """Yields the records of a file in order; a file that is none of these is one record with the fault `no_warc`."""
    source = Source(file)
    gzipped = source.peek(len(GZIP)) == GZIP
    first = beginning(source.peek(1024)) if gzipped else source.peek(len(arc.BEGIN))
    kind = _ARC if first.startswith(arc.BEGIN) else _WARC
    if gzipped:
        yield from _gzipped(source, kind, max_block)
    else:
        try:
            yield from _records(_Window(source.take_all), kind, max_block, None)
        except Damaged as damage:
            yield Record(0, {}, b"", str(damage))


def read_records_of(data: bytes) -> list[Record]:
    """Returns the records in bytes at hand."""
    return list(read_records(io.BytesIO(data)))


def _gzipped(source: Source, kind: _Kind, max_block: int) -> Iterator[Record]:
    while source.peek(1):
        source.mark()
        start = source.offset
        if source.peek(len(GZIP)) != GZIP:
            if source.peek(64).strip(b"\0\r\n"):          # some writers fill up with zeros
                yield Record(start, {}, b"", "damaged_gzip")
            source.to_next_member(kind.begins)
            continue
        data = small_member(source)
        sound = _sound(data, kind, max_block) if data is not None else None
        if sound is not None:
            yield Record(start, *sound, length=source.offset - start)
            continue
        source.to_mark()
        last, several = None, False
        try:
            for record in _records(_Window(member(source)), kind, max_block, start):
                if last is not None:
                    several = True
                    yield last
                last = record
        except Damaged as damage:
            if last is not None:
                yield last
            yield Record(start, {}, b"", str(damage))
            source.to_next_member(kind.begins)
            continue
        if last is not None:
            yield last if several or last.fault else dataclasses.replace(last, length=source.offset - start)


def _sound(data: bytes, kind: _Kind, max_block: int) -> tuple[dict[str, str], bytes] | None:
    """Returns fields and block where these bytes are one sound record and no more, else None."""
    head = kind.head(data, 0)
    if head is None or (length := int(head[0]["content-length"])) > max_block:
        return None
    fields, size = head
    if len(data) - size - length < kind.end or data[size + length:].strip(b"\r\n"):
        return None
    return fields, data[size:size + length]


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


def _records(window: _Window, kind: _Kind, max_block: int, start: int | None) -> Iterator[Record]:
    """Yields the records in unfolded bytes; `start` is the place of the member they lie in, None for a plain file."""
    budget = _MAX_SKIP
    first = True
    while True:
        window.skip_blank()
        if not window.has(1):
            return
        offset = window.offset if start is None else start
        head = _head(window, kind)
        if head is None:
            if first and not offset and kind is _WARC:
                raise Damaged("no_warc")
            yield Record(offset, {}, b"", "bad_header")
            budget = _to_next_record(window, kind, budget)
            continue
        first = False
        fields, size = head
        length = int(fields["content-length"])
        if length > max_block:
            yield Record(offset, fields, b"", "too_long")
            if start is not None and (budget := budget - length) < 0:
                raise Damaged("bomb")
            window.skip(size + length)
            continue
        whole = window.has(size + length)
        window.has(size + length + kind.end)             # what ends a record, and shows that its length is right
        begin = window.at + size
        if whole and not window.data[begin + length:begin + length + kind.end].strip(b"\r\n"):
            yield Record(offset, fields, window.data[begin:begin + length],
                         length=size + length if start is None else 0)
            window.at = begin + length
        else:
            yield Record(offset, fields, b"", "bad_length" if whole else "truncated_record")
            window.at = begin
            budget = _to_next_record(window, kind, budget)


def _head(window: _Window, kind: _Kind) -> tuple[dict[str, str], int] | None:
    """Returns the fields of the record at hand and the size of its header, None where there is no header."""
    size = 1024
    while True:
        more = window.has(size)
        head = kind.head(window.data, window.at)
        if head or not more or size >= _MAX_HEAD or kind.head is arc.head_at and size >= arc.MAX_LINE:
            return head
        size *= 4


def _warc_head(data: bytes, at: int) -> tuple[dict[str, str], int] | None:
    end = _HEAD_END.search(data, at, at + _MAX_HEAD) if data.startswith(_BEGIN, at) else None
    fields = _fields(data[at:end.start()]) if end else None
    return (fields, end.end() - at) if end and fields is not None else None


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


def _to_next_record(window: _Window, kind: _Kind, budget: int) -> int:
    """Goes to where the next record begins, or to the end; returns the budget left, raises Damaged without one."""
    while True:
        more = window.has(2 * kind.longest)
        found = kind.next.search(window.data, window.at + 1)
        if not found and not more:
            window.skip(2 * kind.longest)
            return budget
        step = (found.start() if found else len(window.data) - kind.longest) - window.at
        window.at += step
        budget -= step
        if found:
            return budget
        if budget < 0:
            raise Damaged("bomb")


_WARC = _Kind(_BEGIN, _NEXT, 16, 2, _warc_head)
_ARC = _Kind(arc.BEGIN, arc.NEXT, 2 * arc.MAX_LINE, 1, arc.head_at)
