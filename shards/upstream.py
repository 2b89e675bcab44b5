"""The finished stages that a shards folder was made from, found again by their digests."""
from __future__ import annotations

import os

from crawl import storage
from crawl.errors import UsageError
from crawl.stages import Manifest, read_manifest
from shards.manifest import MANIFEST


def root_of(directory: str) -> str:
    """Returns the dataset root that a shards folder lies in (two levels up), "" when it was taken out of one."""
    root = os.path.dirname(os.path.dirname(storage.absolute(directory)))
    return root if storage.exists(os.path.join(root, "dataset.json")) else ""


def upstream(directory: str) -> dict[str, Manifest]:
    """Returns stage -> manifest of all that a shards folder was made from, itself included.

    Folders are found by the digests in the manifests, not by what is current: an old build beside a new one keeps its
    own past.  Empty for a folder outside a dataset's root; a stage whose folder is gone is left out.
    """
    root = root_of(directory)
    if not root:
        return {}
    first = read_manifest(root, storage.absolute(directory).removeprefix(root).strip("/"))
    return made_from(root, first) if first else {}


def made_from(root: str, first: Manifest) -> dict[str, Manifest]:
    """Returns stage -> manifest of `first` and of all that it was made from, as far as the root has it."""
    found: dict[str, Manifest] = {}
    waiting = [first]
    while waiting:
        manifest = waiting.pop()
        if manifest.stage in found:
            continue
        found[manifest.stage] = manifest
        waiting += [source for name, digest in sorted(manifest.inputs.items())
                    if (source := _with_digest(root, name, digest)) is not None]
    return found


def _with_digest(root: str, stage: str, digest: str) -> Manifest | None:
    """Returns the finished folder of a stage whose manifest has this digest; an input may also be a plain file."""
    folder = os.path.join(root, stage)
    for name in storage.folders_in(folder):
        if storage.exists(os.path.join(folder, name, MANIFEST)):
            try:
                manifest = read_manifest(root, os.path.join(stage, name))
            except UsageError:
                continue                                    # damaged, so not what is looked for
            if manifest is not None and manifest.digest == digest:
                return manifest
    return None
