"""What the samples of a set say of themselves, a few columns at a time; what was removed is not among them."""
from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crawl import storage
from crawl.errors import UsageError
from shards.manifest import ShardFile, ShardSet
from shards.reader import ShardReader
from shards.sample import SAMPLE_FIELDS

_BATCH_ROWS = 4096


def sample_rows(shards: ShardSet, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yields some columns of every sample, in shard order, and its shard's name as `shard`.

    Read from the tables beside the shards; of a foreign shard from its members, "" (0, []) where it does not say.
    """
    for shard in shards.shards:
        removed = shards.removed_from(shard)
        for row in _of_table(shards, shard, columns) if shard.table else _of_members(shards, shard, columns):
            if row["key"] not in removed:
                yield row | {"shard": shard.name}


def _of_table(shards: ShardSet, shard: ShardFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    path = shards.path(shard.table)
    try:
        with storage.opened(path) as source, pq.ParquetFile(source) as file:
            for batch in file.iter_batches(batch_size=_BATCH_ROWS, columns=sorted({"key", *columns})):
                yield from batch.to_pylist()
    except storage.StoreUsageError:
        raise
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise UsageError(f"{path}: damaged table ({str(error).splitlines()[0]}); copy it again; "
                         f"`imagebert shards validate` lists every fault") from error


def _of_members(shards: ShardSet, shard: ShardFile, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    with ShardReader(shards.directory, shard) as reader:
        for row in range(len(reader)):
            said = reader.sample_json(row) if reader.index["json_size"][row] else {}
            values = {name: said[name] if isinstance(said.get(name), SAMPLE_FIELDS[name]) else SAMPLE_FIELDS[name]()
                      for name in columns if name in SAMPLE_FIELDS}
            yield values | {"key": reader.key(row), "caption": reader.caption(row)}
