"""Checks indexed tars of others: whole files, the index against the tar as it is now, every image."""
from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from crawl.errors import UsageError
from crawl.sandbox_client import Sandbox
from shards.faults import Fault
from shards.image_work import Picture
from shards.index import MEMBERS, index_tar, load_index
from shards.manifest import ShardFile, ShardSet
from shards.reader import ShardReader

# What one pass over a tar finds without a vocabulary.
_COMPARED = tuple(f"{member}_{what}" for member in MEMBERS for what in ("offset", "size", "crc"))


def foreign_faults(shards: ShardSet, shard: ShardFile, box: Sandbox[Picture] | None) -> Iterator[Fault]:
    """Yields what is wrong with one tar of others: it cannot be read, its index is not of it, an image is none.

    They keep to no contract of ours, so headers, names and order are as their writers like them.
    """
    try:
        now = index_tar(shards.path(shard.name), shards.path(shard.regions) if shard.regions else "")
        index = load_index(shards.path(shard.index))
    except UsageError as error:
        yield Fault(shard.name, "", -1, str(error))
        return
    if len(now) != len(index) or not np.array_equal(now["key"], index["key"]):
        yield Fault(shard.index, "", -1, f"lists {len(index)} samples, the tar holds {len(now)}, or others: the tar "
                                         f"was changed after it was indexed; run `imagebert shards index` again")
        return
    for name in _COMPARED:
        for place in np.flatnonzero(now[name] != index[name]):
            yield Fault(shard.index, now["key"][place].decode(), -1, f"{name} is {index[name][place]}, in the tar "
                                                                     f"{now[name][place]}; index it again")
    if box is None:
        return
    with ShardReader(shards.directory, shard) as reader:
        rows = [row for row in range(len(reader)) if reader.index["image_size"][row]
                and all(now[name][row] == index[name][row] for name in _COMPARED)]
        for row, answer in box.map((row, None, reader.image(row)) for row in rows):
            picture = answer.result or Picture(answer.reason)
            if picture.reason:
                yield Fault(shard.name, reader.key(row), int(reader.index["image_offset"][row]),
                            f"the image does not decode ({picture.reason})")
