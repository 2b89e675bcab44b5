"""WebDataset tars of others: one pass makes an index and a manifest, and they open like our own.

    imagebert shards index cc3m/*.tar --out cc3m-index
    imagebert shards stats cc3m-index
"""
from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence

from crawl import storage
from crawl.errors import UsageError
from crawl.tables import FileEntry
from shards.files import sha256_of
from shards.index import encode_index, index_tar
from shards.manifest import MANIFEST, ShardFile

FORMAT = 1


def index_tars(tars: Sequence[str], out: str, split: str, read: Callable[[int], None] = lambda count: None) -> int:
    """Writes an index a tar and, last, a manifest that `load_shards` opens; returns how many samples were found.

    The tars stay where they are: names are absolute, or relative where they lie in `out`.  Without word pieces (there
    is no vocabulary) and without split, if nobody says which.  Raises UsageError for a tar that is damaged or holds no
    sample, and for a folder that holds other shards.
    """
    manifest = os.path.join(out, MANIFEST)
    if os.path.exists(manifest) and not _is_ours(manifest):
        raise UsageError(f"{manifest}: a finished stage lies here; name another folder with --out")
    os.makedirs(out, exist_ok=True)
    listed: list[ShardFile] = []
    files: list[FileEntry] = []
    for number, path in enumerate(tars):
        index = index_tar(path)
        inside = os.path.relpath(path, out)
        name = os.path.abspath(path) if inside.startswith(os.pardir) else inside
        index_name = f"{number:06d}-{os.path.splitext(os.path.basename(path))[0]}.idx.npy"
        storage.replace_bytes(os.path.join(out, index_name), encode_index(index))
        entries = [FileEntry(name=each, bytes=os.path.getsize(full), sha256=sha256_of(full))
                   for each, full in ((name, path), (index_name, os.path.join(out, index_name)))]
        files += entries
        listed.append(ShardFile(name=name, split=split, ext="", samples=len(index), bytes=entries[0].bytes,
                                sha256=entries[0].sha256, regions="", index=index_name, table=""))
        read(entries[0].bytes)
    value = {"stage": "shards", "format": FORMAT, "inputs": {}, "config": {}, "funnel": [], "notes": [],
             "tables": {"shards": [dataclasses.asdict(entry) for entry in files], "samples": []},
             "extra": {"foreign": True, "shards": [dataclasses.asdict(shard) for shard in listed], "feature_dim": 0,
                       "num_classes": 0, "max_regions": 0, "quantisation": "none", "extractor": "none",
                       "extractor_digest": "", "codebook": "", "tokenizer_digest": "", "vocab": ""}}
    storage.replace_bytes(manifest, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())
    return sum(shard.samples for shard in listed)


def _is_ours(manifest: str) -> bool:
    """Returns whether a manifest was written by `index_tars`, so that it may be written again."""
    try:
        with open(manifest, "rb") as file:
            return bool(json.load(file)["extra"]["foreign"])
    except (ValueError, KeyError, TypeError):
        return False
