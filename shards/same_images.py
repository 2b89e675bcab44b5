"""Shards that were built of the same samples with other regions: their tars are used again under a second name.

So another extractor writes region tars and indexes, and reads no image.
"""
from __future__ import annotations

import dataclasses

import numpy as np

from crawl import stages, storage
from crawl.second_names import second_name
from crawl.stages import Stage
from crawl.tables import FileEntry
from shards.index import MEMBERS, load_index

_COLUMNS = tuple(f"{member}_{what}" for member in MEMBERS if member != "regions" for what in ("offset", "size", "crc"))


@dataclasses.dataclass(frozen=True)
class SameImages:
    """A finished set of shards whose tars may be used again."""

    directory: str
    tars: dict[str, FileEntry]     # name -> entry of the manifest

    def linked(self, directory: str, stem: str, index: np.ndarray) -> FileEntry | None:
        """Gives the tar of a shard a second name in `directory` and fills in where its members lie.

        Returns its entry, or None when that shard holds other samples: then it must be written.
        """
        entry = self.tars.get(f"{stem}.tar")
        beside = storage.join(self.directory, f"{stem}.idx.npy")
        if entry is None or not storage.exists(beside):
            return None
        theirs = load_index(beside)
        source, target = (storage.join(folder, entry.name) for folder in (self.directory, directory))
        if not np.array_equal(theirs["key"], index["key"]) or not storage.exists(source) \
                or storage.size(source) != entry.bytes:
            return None
        for name in _COLUMNS:
            index[name] = theirs[name]
        second_name(source, target)
        return entry


def same_images(out: str, stage: Stage) -> SameImages | None:
    """Returns the root's current shards when they differ from those of `stage` in nothing but their regions."""
    folder = stages.current(out).get("shards")
    before = stages.read_manifest(out, folder) if folder else None
    if before is None or before.format != stage.format or before.config != stage.config \
            or before.config.get("inline_regions"):
        return None
    theirs, ours = ({name: digest for name, digest in inputs.items() if name != "regions"}
                    for inputs in (before.inputs, stage.inputs))
    if theirs != ours:
        return None
    names = {shard["name"] for shard in before.extra["shards"]}
    return SameImages(before.directory, {entry.name: entry for entry in before.tables["shards"] if entry.name in names})
