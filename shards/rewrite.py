"""Writes a set again without the bytes of what was removed: a new folder beside the old one, the pointer last.

    1  OUT/shards/NEW/                  touched shards written under their old names; all other files hard links,
                                    or copies that the object store makes itself
    2  OUT/shards/NEW/manifest-<12 hex of the old digest>.json     the manifest it came from
    3  OUT/shards/NEW/manifest.json     now the folder is finished
    4  OUT/dataset.json                 now it is the current one
    5  OUT/shards/OLD/                  removed, and with it the last link to the bytes

Killed anywhere the old set, with its tombstones, or the new one is whole; the same command goes on where it was.
"""
from __future__ import annotations

import dataclasses
import posixpath
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.second_names import second_names
from crawl.stages import Funnel, Manifest, Stage, current, read_manifest
from crawl.tables import FileEntry, encode_table, read_table
from shards.files import commit_small
from shards.index import encode_index
from shards.manifest import MANIFEST, ShardFile, ShardSet
from shards.reader import ShardReader, open_shard
from shards.records import SampleRow
from shards.sample import member_names, regions_name
from shards.writer import Tar, note

LINEAGE = "lineage"
TOMBSTONES = "tombstones"          # in the new manifest: keys that the folder is free of
_FOLDER = re.compile(r"shards/[0-9a-f]{12}")


@dataclasses.dataclass(frozen=True, slots=True)
class Rewritten:
    """What a rewrite did."""

    manifest: Manifest
    shards: int                    # that were written again
    read: int                      # bytes
    written: int                   # bytes


def rewrite(shards: ShardSet, root: str, renamed: Mapping[str, str] | None = None) -> Rewritten | None:
    """Returns the set without its removed samples, now the current one of the root; None where none is pending.

    Args:
        renamed: in a purge, old digest -> new digest of manifests: a set whose inputs have changed is written again
            too, and one that is not the current one does not become it.

    Raises UsageError for a set that is not the current one, outside a purge: the pointer would go back to it.
    """
    folder = posixpath.join("shards", posixpath.basename(storage.absolute(shards.directory)))
    is_current = bool(root) and current(root).get("shards") == folder
    if not is_current and renamed is None:
        raise UsageError(f"{shards.directory}: --rewrite is for the current shards of a dataset's root; give the root")
    old = read_manifest(root, folder)
    if old is None:
        raise UsageError(f"{shards.directory}: no {MANIFEST}; build the shards first")
    _sweep(root, old)
    inputs = {name: (renamed or {}).get(digest, digest) for name, digest in old.inputs.items()}
    if not shards.removed_keys and inputs == old.inputs:
        return None
    stage = _stage(root, old, shards, inputs)
    files = {entry.name: entry for entries in old.tables.values() for entry in entries}
    listed: list[ShardFile] = []
    read = written = cut = 0
    for shard in shards.shards:
        if not shards.removed_from(shard):
            listed.append(shard)
            continue
        before = [files.pop(name) for name in shard.files]
        read += sum(entry.bytes for entry in before)
        with ShardReader(shards.directory, shard) as whole:
            gone = np.isin(whole.index["key"], [key.encode() for key in sorted(shards.removed_from(shard))])
            cut += int((whole.index["num_cut"][gone] > 0).sum())
        if shard.samples > int(gone.sum()):
            again, entries = _write_shard(shards, shard, stage.directory)
            listed.append(again)
            files |= {entry.name: entry for entry in entries}
            written += sum(entry.bytes for entry in entries)
    touched = {shard.name for shard in shards.shards if shards.removed_from(shard)}
    fresh = {name for shard in listed if shard.name in touched
             for name in shard.files}
    second_names((shards.path(name), storage.join(stage.directory, name)) for name in sorted(files.keys() - fresh))
    manifest = _commit(stage, old, shards, files, listed, cut, is_current)
    _sweep(root, manifest)
    return Rewritten(manifest, len(touched), read, written)


def _stage(root: str, old: Manifest, shards: ShardSet, inputs: dict[str, str]) -> Stage:
    inputs = inputs | {"rewritten_from": old.digest}
    removed = {name: sorted(keys) for name, keys in sorted(shards.removed.items())}
    config = old.config | {"removed": digest(removed)}
    identity = digest({"inputs": inputs, "config": config, "format": old.format})
    return Stage("shards", root, posixpath.join("shards", identity[:12]), old.format, inputs, config)


def _write_shard(shards: ShardSet, shard: ShardFile, directory: str) -> tuple[ShardFile, list[FileEntry]]:
    """Commits one shard without its removed samples, under its old names; members are checked by crc on the way."""
    with open_shard(shards, shard) as reader:
        index = np.array(reader.index)
        with Tar(directory) as tar:
            for row in range(len(reader)):
                names = member_names(reader.key(row), shard.ext)
                for member, name in zip(("image", "txt", "json"), names, strict=True):
                    copy_member(tar, reader, index, row, member, name)
                if shard.inline:
                    copy_member(tar, reader, index, row, "regions", regions_name(reader.key(row)))
            tar.finish()
            entries = [tar.commit(lambda _: shard.name)]
        if shard.regions and not shard.inline:
            with Tar(directory) as tar:
                for row in range(len(reader)):
                    copy_member(tar, reader, index, row, "regions", regions_name(reader.key(row)))
                tar.finish()
                entries.append(tar.commit(lambda _: shard.regions))
    entries.append(commit_small(directory, shard.index, encode_index(index)))
    if shard.table:
        removed = shards.removed_from(shard)
        rows = [row for row in read_table(shards.path(shard.table), SampleRow) if row.key not in removed]
        data, counted = encode_table(SampleRow, rows)
        entries.append(dataclasses.replace(commit_small(directory, shard.table, data), **counted))
    again = dataclasses.replace(shard, samples=len(index), bytes=entries[0].bytes, sha256=entries[0].sha256)
    return again, entries


def copy_member(tar: Tar, reader: ShardReader, index: np.ndarray, row: int, member: str, name: str,
                source: int | None = None) -> None:
    """Copies a member, checked by its crc, to the end of a tar and notes its place in row `row` of the new index.

    Args:
        source: its row in the reader, where that is another one.
    """
    data = reader.member(row if source is None else source, member)
    offset = tar.place(name, len(data))
    tar.write_at(offset, data)
    note(index, row, member, offset, len(data), zlib.crc32(data))


def _commit(stage: Stage, old: Manifest, shards: ShardSet, files: dict[str, FileEntry], listed: list[ShardFile],
            cut: int, is_current: bool) -> Manifest:
    kept_name = f"manifest-{old.digest[:12]}.json"
    lineage: list[dict[str, Any]] = list(old.extra.get(LINEAGE, []))
    second_names((shards.path(line["file"]), storage.join(stage.directory, line["file"])) for line in lineage)
    storage.commit_bytes(storage.join(stage.directory, kept_name), old.encode())
    before, removed = sum(shard.samples for shard in shards.shards), len(shards.removed_keys)
    lineage.append({"folder": old.folder, "manifest": old.digest, "file": kept_name, "samples": before,
                    "removed": removed})
    tables = {shard.table for shard in listed}
    return stage.commit(
        {"shards": files.values(), "samples": [entry for entry in files.values() if entry.name in tables]},
        [*old.funnel, Funnel("remove", "sample", before, (("kept", before - removed), ("removed", removed)))],
        notes=old.notes, point=is_current, extra=old.extra | {
            "shards": [dataclasses.asdict(shard) for shard in listed], LINEAGE: lineage,
            "captions_cut": old.extra.get("captions_cut", cut) - cut,
            TOMBSTONES: sorted({*old.extra.get(TOMBSTONES, ()), *shards.removed_keys})})


def _sweep(root: str, manifest: Manifest) -> None:
    """Removes the folders a set was rewritten from: the new one is whole, and the removed bytes are in the old."""
    for line in manifest.extra.get(LINEAGE, []):
        if _FOLDER.fullmatch(line["folder"]) and line["folder"] != manifest.folder and not line.get("kept"):
            storage.remove_below(storage.join(root, line["folder"]), MANIFEST)
