"""Which rows of the report get a picture, and where it comes from: the features table, never a shuffle of pictures."""
from __future__ import annotations

from collections.abc import Set

import pyarrow as pa
import pyarrow.parquet as pq

from crawl import storage
from crawl.tables import stable_hash
from filter.records import Best, Pair


def wants_thumbnail(row: Best | Pair, share: float) -> bool:
    """Returns whether a row is in the hash-chosen share; a pair whose image never arrived has no picture."""
    name = row.pair_id if isinstance(row, Pair) else row.key
    return bool(row.image_sha256) and stable_hash(f"thumbnail\n{name}") < share * 2 ** 64


def read_thumbnails(path: str, wanted: Set[str]) -> dict[str, bytes]:
    """Returns sha256 -> thumbnail of the wanted images of one file of features, one row group in memory at a time."""
    source = pa.BufferReader(storage.read_bytes(path)) if storage.is_remote(path) else path
    found = {}
    with pq.ParquetFile(source) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["sha256", "thumbnail"])
            for place, sha256 in enumerate(table.column("sha256").to_pylist()):
                if sha256 in wanted:
                    found[sha256] = table.column("thumbnail")[place].as_py()
    return found
