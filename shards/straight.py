"""Regions read so that their features go from the file straight to where they are wanted: no copy in between.

Where features begin in a member follows from its header, and members of one size have one header: it is learned from
the first of them and compared with each.
"""
from __future__ import annotations

import os
import zlib

import numpy as np

from shards.regions import Regions, header_of, layout_of, problem


class StraightRegions:
    """The region members of one file, by place."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._headers: dict[int, bytes] = {}         # size of a member -> its header, with the 8 bytes of its length

    def learn(self, member: bytes) -> None:
        """Takes note of the header of a member that was read whole and found right."""
        if len(member) not in self._headers:
            self._headers[len(member)] = header_of(member)

    def read(self, offset: int, size: int, crc: int | None, limit: int | None,
             into: np.ndarray) -> Regions | None:
        """Returns the `limit` most confident regions, their features in the first rows of `into`.

        None where the member must be read whole: of a size not seen before, with another header than the others of its
        size, a wrong checksum (`crc`, None: not looked at) or wrong values, features of another type or width than
        `into`; then the rows hold anything.
        """
        header = self._headers.get(size)
        if header is None:
            return None
        layout, _ = layout_of(header[8:])
        feat = next(one for one in layout if one[0] == "feat")
        _, kind, _, begin, (count, width) = feat
        taken = count if limit is None else min(count, limit)
        room = into[:taken]
        if into.dtype != kind or into.shape[1:] != (width,) or len(room) < taken or not room.size or \
                not room.flags.c_contiguous:
            return None
        begin += len(header)
        rest = bytearray(size - room.nbytes)
        parts = [memoryview(rest)[:begin], room.data.cast("B"), memoryview(rest)[begin:]]
        if os.preadv(self._file, [part for part in parts if len(part)], offset) != size or \
                rest[:len(header)] != header:
            return None
        if crc is not None:
            found = 0
            for part in parts:
                found = zlib.crc32(part, found)
            if found != crc:
                return None
        arrays = {"feat": room}
        for name, kind, elements, offset, shape in layout:
            if name != "feat":
                place = len(header) + offset - (room.nbytes if len(header) + offset > begin else 0)
                arrays[name] = np.frombuffer(rest, kind, elements, place).reshape(shape)[:taken]
        regions = Regions(**arrays)
        return None if problem(regions) else regions
