"""Regions read so that their features go from the file straight to where they are wanted: no copy in between.

Where features begin in a member follows from its header, and members of one size have one header: it is learned from
the first of them and compared with each.  What is small of many members is looked at together (`stacked`).
"""
from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from shards.checksum import crc32
from shards.regions import header_of, layout_of, plain_values


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """Where the arrays of members of one header lie, of which some regions are wanted; one object for all of them."""

    header: bytes                  # with the 8 bytes of its length
    kind: Any                      # type of the features
    taken: int                     # regions wanted
    width: int                     # values of a feature
    begin: int                     # of the features, in the member
    rest: int                      # bytes of the member that are no wanted features
    arrays: tuple[tuple[str, Any, int, int, tuple[int, ...]], ...]   # name, type, from, to (in the rest), sides


@dataclasses.dataclass(frozen=True, slots=True)
class Straight:
    """One member: its features lie where they were wanted, the rest of it is here, not looked at yet."""

    shape: Shape
    features: np.ndarray           # [taken, D]
    rest: bytearray


class StraightRegions:
    """The region members of one file, by place."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._headers: dict[int, bytes] = {}         # size of a member -> its header

    def learn(self, member: bytes) -> None:
        """Takes note of the header of a member that was read whole and found right."""
        if len(member) not in self._headers:
            self._headers[len(member)] = header_of(member)

    def read(self, offset: int, size: int, crc: int | None, limit: int | None, into: np.ndarray) -> Straight | None:
        """Returns a member with the features of its `limit` most confident regions in the first rows of `into`.

        None where it must be read whole: of a size not seen before, with another header than the others of its size, a
        wrong checksum (`crc`, None: not looked at), features of another type or width than `into`, more than it has
        room for; then the rows hold anything.
        """
        header = self._headers.get(size)
        shape = shape_of(header, size, limit) if header else None
        if shape is None or into.dtype != shape.kind or into.shape[1] != shape.width or len(into) < shape.taken or \
                not shape.taken:
            return None
        room, rest, begin = into[:shape.taken], bytearray(shape.rest), shape.begin
        # The features are most often the last of a member: two parts, else three.
        parts: list[Any] = [rest, room]
        if begin < len(rest):
            parts = [memoryview(rest)[:begin], room, memoryview(rest)[begin:]]
        if os.preadv(self._file, parts, offset) != size or not rest.startswith(shape.header):
            return None
        if crc is not None:
            found = 0
            for part in parts:
                found = crc32(part, found)
            if found != crc:
                return None
        return Straight(shape, room, rest)


@functools.lru_cache(maxsize=4096)
def shape_of(header: bytes, size: int, limit: int | None) -> Shape:
    """Returns where the arrays lie in members of `size` bytes with this header, of which `limit` regions are wanted."""
    layout, _ = layout_of(header[8:])
    _, kind, _, begin, (count, width) = next(one for one in layout if one[0] == "feat")
    taken = count if limit is None else min(count, limit)
    begin, wanted = begin + len(header), taken * width * np.dtype(kind).itemsize
    arrays = []
    for name, type_, elements, offset, (_, *sides) in layout:
        if name != "feat":
            first = len(header) + offset - (wanted if len(header) + offset > begin else 0)
            # Regions are sorted, so the wanted ones come first.
            length = elements // max(count, 1) * taken * np.dtype(type_).itemsize
            arrays.append((name, type_, first, first + length, tuple(sides)))
    return Shape(header, np.dtype(kind), taken, width, begin, size - wanted, tuple(arrays))


def stacked(members: Sequence[Straight]) -> dict[str, np.ndarray] | None:
    """Returns the small arrays of members of one shape, [members, taken, ...] each; None where a value is wrong."""
    shape, found = members[0].shape, {}
    for name, kind, begin, end, sides in shape.arrays:
        data = b"".join([one.rest[begin:end] for one in members])
        found[name] = np.frombuffer(data, kind).reshape(len(members), shape.taken, *sides)
    return found if plain_values(found["box"], found["conf"]) else None
