"""Takes samples out of a set: a line in the suppress list, then tombstones that readers obey at once.

The bytes stay in the tars until shards/rewrite.py writes those tars again.  Both files are replaced whole, the list
first: killed in between, the same command run again finds the same samples and goes on.
"""
from __future__ import annotations

import dataclasses
import json
import tarfile
from collections.abc import Iterable

import numpy as np

from crawl import storage
from crawl.stages import recorded_time
from crawl.suppress import Rule, Suppressed, Suppression, add_lines
from shards.index import encode_index, load_index, without
from shards.manifest import TOMBSTONES, ShardFile, ShardSet
from shards.samples import sample_rows
from shards.writer import tar_bytes

_COLUMNS = ("key", "sha256", "image_url", "page_url", "image_urls", "perceptual_hash")


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a removal takes out of a set."""

    by_rule: dict[Rule, tuple[str, ...]]      # keys in the set that each rule names, sorted; some rules name none
    by_shard: dict[str, frozenset[str]]       # shard -> keys to remove now, and those removed before
    num_new: int                              # samples that are in the set and go


def plan(shards: ShardSet, rules: Iterable[Rule]) -> Plan:
    """Returns which samples of a set fall under the rules."""
    asked = Suppression(rules)
    by_rule: dict[Rule, list[str]] = {rule: [] for rule in asked.rules}
    by_shard = {name: set(keys) for name, keys in shards.removed.items()}
    new = 0
    for row in sample_rows(shards, _COLUMNS) if asked else ():
        hit = list(asked.hits(row["key"], row["sha256"], (row["page_url"], *row["image_urls"]),
                              row["perceptual_hash"]))
        for rule in hit:
            by_rule[rule].append(row["key"])
        if hit:
            by_shard.setdefault(row["shard"], set()).add(row["key"])
            new += 1
    return Plan({rule: tuple(sorted(keys)) for rule, keys in by_rule.items()},
                {name: frozenset(keys) for name, keys in sorted(by_shard.items()) if keys}, new)


def remove(shards: ShardSet, root: str, planned: Plan) -> None:
    """Writes the suppress list of a root ("": of none) and the tombstones of a set, in this order."""
    if root:
        when = recorded_time()
        add_lines(root, [Suppressed(rule, when, keys) for rule, keys in planned.by_rule.items()])
    if planned.num_new:
        text = json.dumps({"format": 1, "keys": {name: sorted(keys) for name, keys in planned.by_shard.items()}},
                          sort_keys=True, indent=1) + "\n"
        storage.replace_bytes(shards.path(TOMBSTONES), text.encode())


def touched(shards: ShardSet, planned: Plan) -> list[ShardFile]:
    """Returns the shards that hold something to remove."""
    return [shard for shard in shards.shards if planned.by_shard.get(shard.name)]


def rewrite_bytes(shards: ShardSet, planned: Plan) -> tuple[int, int]:
    """Returns what a rewrite reads, and writes with tables as long as they are."""
    read = written = 0
    for shard in touched(shards, planned):
        size = sum(storage.size(shards.path(name)) for name in shard.files)
        index = load_index(shards.path(shard.index))
        kept = without(index, planned.by_shard[shard.name])
        read += size
        if len(kept):
            members = ("image", "txt", "json")
            tars = [_tar_of(kept, (*members, "regions"))] if shard.inline else \
                [_tar_of(kept, members)] + [_tar_of(kept, ("regions",))] * bool(shard.regions)
            written += sum(tars) + len(encode_index(kept)) + (storage.size(shards.path(shard.table))
                                                              if shard.table else 0)
    return read, written


def _tar_of(rows: np.ndarray, members: Iterable[str]) -> int:
    size = tar_bytes(int(length) for member in members for length in rows[f"{member}_size"]) + 2 * tarfile.BLOCKSIZE
    return size + -size % tarfile.RECORDSIZE
