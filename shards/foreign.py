"""WebDataset tars of others: one pass makes an index and a manifest, and they open like our own.

    imagebert shards index cc3m/*.tar --out cc3m-index
    imagebert shards stats cc3m-index
"""
from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from crawl.tables import FileEntry
from shards.files import sha256_of
from shards.foreign_regions import RegionTars
from shards.index import encode_index, index_tar
from shards.manifest import MANIFEST, ShardFile
from shards.region_config import RegionsConfig
from shards.tokens import CaptionTokenizer, load_tokenizer
from shards.vocabulary import VOCAB

FORMAT = 1


def index_tars(tars: Sequence[str], out: str, split: str, read: Callable[[int], None] = lambda count: None,
               vocab: str = "", config: RegionsConfig | None = None) -> int:
    """Writes an index a tar and, last, a manifest that `load_shards` opens; returns how many samples were found.

    The tars stay where they are: names are absolute, or relative where they lie in `out`.  Raises UsageError for a tar
    that is damaged or holds no sample, and for a folder that holds other shards.

    Args:
        vocab: a vocab.txt, copied into `out`: captions are counted in its pieces, and `KEY.npz` or `KEY.npy` members
            become tars of regions there (`config` says how many values and classes); such a set can be trained on.
    """
    manifest = os.path.join(out, MANIFEST)
    if storage.exists(manifest) and not _is_ours(manifest):
        raise UsageError(f"{manifest}: a finished stage lies here; name another folder with --out")
    tokenizer = load_tokenizer(vocab) if vocab else None
    if not storage.is_remote(out):
        os.makedirs(out, exist_ok=True)
    regions = RegionTars(config) if vocab and config else None
    listed: list[ShardFile] = []
    files: list[FileEntry] = []
    for number, path in enumerate(tars):
        stem = f"{number:06d}-{os.path.splitext(os.path.basename(path))[0]}"
        region_tar = regions.write(path, out, f"{stem}.regions.tar") if regions else ""
        index = index_tar(path, storage.join(out, region_tar) if region_tar else "",
                          None if tokenizer is None else lambda caption: sum(_pieces(tokenizer, caption)))
        name = _name_from(path, out)
        storage.replace_bytes(storage.join(out, f"{stem}.idx.npy"), encode_index(index))
        entries = [FileEntry(name=each, bytes=storage.size(full), sha256=sha256_of(full)) for each, full in (
            (name, path), *((each, storage.join(out, each)) for each in (f"{stem}.idx.npy", region_tar) if each))]
        files += entries
        listed.append(ShardFile(name=name, split=split, ext="", samples=len(index), bytes=entries[0].bytes,
                                sha256=entries[0].sha256, regions=region_tar, index=f"{stem}.idx.npy", table=""))
        read(entries[0].bytes)
    facts: dict[str, Any] = {
        "feature_dim": 0, "num_classes": 0, "max_regions": 0, "quantisation": "none", "extractor": "none",
        "extractor_digest": "", "codebook": "", "tokenizer_digest": "", "vocab": ""}
    notes = []
    if tokenizer is not None:
        data = storage.read_bytes(vocab)
        storage.replace_bytes(storage.join(out, VOCAB), data)
        files.append(FileEntry(name=VOCAB, bytes=len(data), sha256=tokenizer.digest))
        facts |= {"vocab": VOCAB, "tokenizer_digest": tokenizer.digest}
    if regions is not None and regions.found:
        facts |= regions.facts()
    if regions is not None:
        notes = [f"{count} members are no regions: {reason}" for reason, count in sorted(regions.unusable.items())]
    value = {"stage": "shards", "format": FORMAT, "inputs": {}, "config": {}, "funnel": [], "notes": notes,
             "tables": {"shards": [dataclasses.asdict(entry) for entry in files], "samples": []},
             "extra": {"foreign": True, "shards": [dataclasses.asdict(shard) for shard in listed], **facts}}
    storage.replace_bytes(manifest, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())
    for note in notes:
        print(note, file=sys.stderr)
    return sum(shard.samples for shard in listed)


def _pieces(tokenizer: CaptionTokenizer, caption: str) -> tuple[int, int]:
    ids, cut = tokenizer.encode(caption)
    return len(ids), cut


def _name_from(path: str, out: str) -> str:
    """Returns the name under which a tar is found from the manifest in `out`: `os.path.join(out, name)` is the tar."""
    if storage.is_remote(path) or storage.is_remote(out):
        return path.removeprefix(out.rstrip("/") + "/") if storage.is_remote(path) else os.path.abspath(path)
    inside = os.path.relpath(path, out)
    return os.path.abspath(path) if inside.startswith(os.pardir) else inside


def _is_ours(manifest: str) -> bool:
    """Returns whether a manifest was written by `index_tars`, so that it may be written again."""
    try:
        return bool(json.loads(storage.read_bytes(manifest))["extra"]["foreign"])
    except (ValueError, KeyError, TypeError):
        return False
