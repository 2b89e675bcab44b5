"""Looks for something in every byte of every file, as it lies and decompressed."""
from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator

import pyarrow.parquet as pq


def files_with(root: str, needles: Iterable[bytes]) -> set[tuple[str, bytes]]:
    """Returns (file, needle) of all that was found."""
    wanted = list(needles)
    return {(os.path.relpath(path, root), needle) for folder, _, names in os.walk(root) for name in names
            for path in [os.path.join(folder, name)] for text in _texts(path) for needle in wanted if needle in text}


def _texts(path: str) -> Iterator[bytes]:
    with open(path, "rb") as file:
        data = file.read()
    yield data
    while path.endswith(".gz") and data:
        stream = zlib.decompressobj(31)
        yield stream.decompress(data)
        data = stream.unused_data
    if path.endswith(".parquet"):
        yield repr(pq.read_table(path).to_pylist()).encode()
