"""A tar, byte by byte: every header, member and filling, so that damage has an offset and a name."""
from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Iterator
from typing import Any

BLOCK = 512
_ZEROS = bytes(BLOCK)


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One plain file in a tar."""

    name: str
    header_offset: int
    offset: int                    # of the data
    data: bytes
    wrong: tuple[str, ...]         # what in the header or the filling is against the contract


class Damage(Exception):
    """The tar cannot be read on from `offset`."""

    def __init__(self, offset: int, name: str, what: str) -> None:
        super().__init__(what)
        self.offset, self.name, self.what = offset, name, what


def walk(file: Any, size: int) -> Iterator[Member]:
    """Yields the members of an open tar of `size` bytes, each read whole.

    Raises Damage where the tar ends early, a header is broken, or something stands behind its end.
    """
    offset, last = 0, ""
    while True:
        header = file.read(BLOCK)
        if len(header) < BLOCK:
            raise Damage(offset, last, f"the tar ends after {size} bytes without its end mark: it was cut")
        if header == _ZEROS:
            break
        try:
            info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError) as error:
            raise Damage(offset, last, f"no tar header here ({error})") from error
        data = file.read(info.size)
        if len(data) < info.size:
            raise Damage(offset, info.name, f"{info.name} has {info.size} bytes, the tar ends after {len(data)} of "
                                            f"them: it was cut")
        filling = file.read(-info.size % BLOCK)
        if len(filling) < -info.size % BLOCK:
            raise Damage(offset, info.name, f"the tar ends inside the filling after {info.name}: it was cut")
        yield Member(info.name, offset, offset + BLOCK, data, tuple(_header_faults(info, filling)))
        offset += BLOCK + info.size + len(filling)
        last = info.name
    _check_end(file, offset)


def _header_faults(info: tarfile.TarInfo, filling: bytes) -> Iterator[str]:
    if not info.isreg():
        yield f"is of type {info.type!r}, not a plain file"
    # A run's clock, user or machine in a header would make two equal builds differ.
    for field, value, wanted in (("mtime", info.mtime, 0), ("uid", info.uid, 0), ("gid", info.gid, 0),
                                 ("uname", info.uname, ""), ("gname", info.gname, ""), ("mode", info.mode, 0o644)):
        if value != wanted:
            yield f"{field} is {value!r}, not {wanted!r}"
    if filling.strip(b"\0"):
        yield "the filling after the data is not zero"


def _check_end(file: Any, offset: int) -> None:
    found = BLOCK
    while piece := file.read(1 << 20):
        if piece.strip(b"\0"):
            raise Damage(offset + found, "", "something stands behind the end mark")
        found += len(piece)
    if found < 2 * BLOCK:
        raise Damage(offset + found, "", "the end mark is half: the tar was cut")
