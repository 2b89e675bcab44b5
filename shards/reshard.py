"""Cuts a set of shards anew: other sizes or numbers, the same samples in the same order, a folder of its own.

    OUT/shards/NEW/train/lait-jpg-000000.tar ...    each with its JSON entry last: a killed run goes on there
    OUT/shards/NEW/manifest-<12 hex>.json           the manifest it came from
    OUT/shards/NEW/manifest.json                    now the folder is finished; dataset.json then names it

Members are copied as they are, checked by the index.  The shards of a split and extension, one behind the other, are in
hash order already: so the new tars are, byte for byte, those of a build with these sizes.
"""
from __future__ import annotations

import dataclasses
import itertools
import json
import posixpath
from collections.abc import Callable, Iterator

import numpy as np

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.stages import Funnel, Manifest, Stage, read_manifest
from crawl.tables import FileEntry, encode_table, read_table
from shards.files import commit_small
from shards.index import encode_index
from shards.manifest import ShardFile, ShardSet
from shards.order import OrderConfig, num_shards, shard_stem
from shards.reader import ShardReader, open_shard
from shards.records import SampleRow
from shards.rewrite import LINEAGE, TOMBSTONES, copy_member
from shards.sample import member_names, regions_name
from shards.writer import Tar, WrittenShard, read_written, tar_bytes

_SAMPLE = ("image", "txt", "json")


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """How large shards may be; `shards` sets their number for each split and extension instead."""

    name: str = ""                 # of the new shards; "" keeps the old one
    max_samples: int = 1000
    max_bytes: int = 1 << 29
    shards: int = 0

    def __post_init__(self) -> None:
        for name, least in (("max_samples", 1), ("max_bytes", 1), ("shards", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be at least {least}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Row:
    """A sample on its way, with the shard it comes from."""

    reader: ShardReader
    row: int
    table: SampleRow | None


def reshard(shards: ShardSet, out: str, cut: Cut, read: Callable[[int], None] = lambda count: None) -> Manifest:
    """Returns the manifest of the set cut anew, now the current one of the root `out`.

    Samples that were removed are left out.  Raises UsageError for tars of others, which keep to no contract of ours.
    """
    old = read_manifest(*posixpath.split(storage.absolute(shards.directory)))
    if old is None or old.extra.get("foreign"):
        raise UsageError(f"{shards.directory}: tars of others have no order and no table to be cut by; only sets that "
                         f"imagebert built are cut anew")
    config = OrderConfig(name=cut.name or _name_of(shards), max_samples=cut.max_samples, max_bytes=cut.max_bytes)
    stage = _stage(out, old, shards, cut, config)
    done = stage.finished()
    if done is not None:
        return done
    written: list[WrittenShard] = []
    for split, ext in sorted({(shard.split, shard.ext) for shard in shards.shards}):
        sources = [shard for shard in shards.shards if (shard.split, shard.ext) == (split, ext)]
        written += _write_all(shards, sources, stage.directory, cut, config, read)
    return _commit(stage, old, shards, written)


def _name_of(shards: ShardSet) -> str:
    """Returns what the shards are called: `lait` of train/lait-jpg-000000.tar."""
    stem = posixpath.basename(shards.shards[0].name)
    return stem.rpartition(f"-{shards.shards[0].ext}-")[0] or "lait"


def _stage(out: str, old: Manifest, shards: ShardSet, cut: Cut, config: OrderConfig) -> Stage:
    inputs = old.inputs | {"resharded_from": old.digest}
    removed = {name: sorted(keys) for name, keys in sorted(shards.removed.items())}
    plain = old.config | {"reshard": dataclasses.asdict(cut) | {"name": config.name}, "removed": digest(removed)}
    identity = digest({"inputs": inputs, "config": plain, "format": old.format})
    return Stage("shards", out, posixpath.join("shards", identity[:12]), old.format, inputs, plain)


def _write_all(shards: ShardSet, sources: list[ShardFile], directory: str, cut: Cut, config: OrderConfig,
               read: Callable[[int], None]) -> Iterator[WrittenShard]:
    """Writes the shards of one split and extension, in their order; yields each when it is committed."""
    split, ext = sources[0].split, sources[0].ext
    total = size = 0
    for shard in sources:
        with open_shard(shards, shard) as reader:
            total += len(reader)
            size += tar_bytes(int(one) for member in (*_SAMPLE, *(["regions"] if shard.inline else []))
                              for one in reader.index[f"{member}_size"])
    number = min(cut.shards, total) or num_shards(total, size, config)
    rows = _rows(shards, sources, read)
    # The ranks at which `shards.order.shard_of` goes on to the next shard.
    firsts = [-(-place * total // number) for place in range(number + 1)]
    for place, (first, end) in enumerate(itertools.pairwise(firsts)):
        stem = shard_stem(split, ext, place, config)
        chosen = list(itertools.islice(rows, end - first))
        yield read_written(directory, stem) or _write(directory, stem, sources[0], chosen)
        for one in chosen:
            if end == total or one.reader is not chosen[-1].reader:      # the last one may have more
                one.reader.close()


def _rows(shards: ShardSet, sources: list[ShardFile], read: Callable[[int], None]) -> Iterator[_Row]:
    """Yields samples shard by shard; a shard's files stay open while its samples may be asked for."""
    for shard in sources:
        reader = open_shard(shards, shard)
        removed = shards.removed_from(shard)
        table = [row for row in read_table(shards.path(shard.table), SampleRow) if row.key not in removed] \
            if shard.table else [None] * len(reader)
        for row, values in enumerate(table):
            yield _Row(reader, row, values)
        read(shard.bytes)


def _write(directory: str, stem: str, like: ShardFile, rows: list[_Row]) -> WrittenShard:
    """Commits one shard; its regions lie where those of the shard `like` lie."""
    regions = f"{stem}.tar" if like.inline else f"{stem}.regions.tar" if like.regions else ""
    index = np.concatenate([np.array(one.reader.index[one.row:one.row + 1]) for one in rows])
    with Tar(directory) as tar:
        for number, one in enumerate(rows):
            key = one.reader.key(one.row)
            for member, name in zip(_SAMPLE, member_names(key, like.ext), strict=True):
                copy_member(tar, one.reader, index, number, member, name, one.row)
            if like.inline:
                copy_member(tar, one.reader, index, number, "regions", regions_name(key), one.row)
        tar.finish()
        entries = [tar.commit(lambda _: f"{stem}.tar")]
    if regions and not like.inline:
        with Tar(directory) as tar:
            for number, one in enumerate(rows):
                copy_member(tar, one.reader, index, number, "regions", regions_name(one.reader.key(one.row)), one.row)
            tar.finish()
            entries.append(tar.commit(lambda _: regions))
    entries.append(commit_small(directory, f"{stem}.idx.npy", encode_index(index)))
    known = [one.table for one in rows if one.table is not None]
    if known:
        data, counted = encode_table(SampleRow, known)
        entries.append(dataclasses.replace(commit_small(directory, f"{stem}.parquet", data), **counted))
    written = WrittenShard(
        ShardFile(name=f"{stem}.tar", split=like.split, ext=like.ext, samples=len(index), bytes=entries[0].bytes,
                  sha256=entries[0].sha256, regions=regions, index=f"{stem}.idx.npy",
                  table=f"{stem}.parquet" if known else ""),
        tuple(entries), captions_cut=int((index["num_cut"] > 0).sum()))
    commit_small(directory, f"{stem}.json", json.dumps(dataclasses.asdict(written), sort_keys=True).encode())
    return written


def _commit(stage: Stage, old: Manifest, shards: ShardSet, written: list[WrittenShard]) -> Manifest:
    kept_name = f"manifest-{old.digest[:12]}.json"
    lineage = list(old.extra.get(LINEAGE, []))
    for line in lineage:
        storage.commit_bytes(storage.join(stage.directory, line["file"]), storage.read_bytes(shards.path(line["file"])))
    storage.commit_bytes(storage.join(stage.directory, kept_name), old.encode())
    before, removed = sum(shard.samples for shard in shards.shards), len(shards.removed_keys)
    # "kept": the old set is as good as the new one; a later rewrite does not remove it.
    lineage.append({"folder": posixpath.join("shards", old.folder), "manifest": old.digest, "file": kept_name,
                    "samples": before, "removed": removed, "kept": True})
    named = {shard.name for shard in shards.shards} | {
        name for shard in shards.shards for name in (shard.regions, shard.index, shard.table)}
    others = [entry for entry in old.tables["shards"] if entry.name not in named]        # vocabulary, codebook
    for entry in others:
        commit_small(stage.directory, entry.name, storage.read_bytes(shards.path(entry.name)))
    tables = [entry for one in written for entry in one.files if entry.name == one.shard.table]
    files: list[FileEntry] = [*others, *(entry for one in written for entry in one.files)]
    return stage.commit(
        {"shards": files, "samples": tables},
        [*old.funnel, Funnel("reshard", "sample", before, (("kept", before - removed), ("removed", removed)))],
        notes=old.notes, extra=old.extra | {
            "shards": [dataclasses.asdict(one.shard) for one in written], LINEAGE: lineage,
            "captions_cut": sum(one.captions_cut for one in written),
            TOMBSTONES: sorted({*old.extra.get(TOMBSTONES, ()), *shards.removed_keys})})
