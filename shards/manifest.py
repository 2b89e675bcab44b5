"""What a finished shards stage says of itself, for readers: plain JSON, no table library."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from crawl import storage
from crawl.errors import UsageError

MANIFEST = "manifest.json"
NEWEST_FORMAT = 5                  # of a shards stage that this version reads: shards_run.FORMAT
# Written by `imagebert shards remove` beside the manifest: keys that are in the tars and not in the set any more.
TOMBSTONES = "removed.json"
_ASKED_AT_ONCE = 32                # sizes of files on an object store


@dataclasses.dataclass(frozen=True, slots=True)
class ShardFile:
    """One shard and the files beside it; names are relative to the shards folder."""

    name: str                      # train/lait-jpg-000000.tar
    split: str                     # train or test
    ext: str                       # jpg, png, webp: the one image extension in it
    samples: int
    bytes: int                     # of the tar
    sha256: str                    # of the tar
    regions: str                   # train/lait-jpg-000000.regions.tar, its own name where inline; "" without any
    index: str                     # train/lait-jpg-000000.idx.npy
    table: str                     # train/lait-jpg-000000.parquet

    @property
    def inline(self) -> bool:
        """Returns whether regions are a fourth member of each sample, in the same tar."""
        return bool(self.regions) and self.regions == self.name

    @property
    def files(self) -> tuple[str, ...]:
        """Returns the names of the tar and of the files beside it, each once."""
        return tuple(dict.fromkeys(name for name in (self.name, self.regions, self.index, self.table) if name))


@dataclasses.dataclass(frozen=True, slots=True)
class ShardSet:
    """A finished set of shards: what a trainer needs to know before it reads one."""

    directory: str
    digest: str                    # sha256 of manifest.json, and of removed.json behind it where there is one
    shards: tuple[ShardFile, ...]  # sorted by name
    feature_dim: int               # D of the regions
    num_classes: int
    max_regions: int               # the largest number of regions an image has
    quantisation: str              # how features are stored: u8_scale (feat * scale), f16, ...
    extractor: str
    extractor_digest: str
    codebook: str                  # file name, "" when the extractor has none
    tokenizer_digest: str          # sha256 of the vocabulary
    vocab: str                     # file name
    removed: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)   # shard -> keys that readers skip
    built_digest: str = ""         # sha256 of manifest.json alone: the same before and after a removal
    class_names: str = ""          # file name, a class a line; "" when nobody gave names
    reencoded: bool = False        # images may be JPEGs made of the originals, which keys and sha256 are of

    @property
    def foreign(self) -> bool:
        """Returns whether these are tars of others, which keep to no contract of ours."""
        return any(not shard.ext for shard in self.shards)

    def of_split(self, split: str) -> tuple[ShardFile, ...]:
        """Returns the shards of train or test, sorted by name."""
        return tuple(shard for shard in self.shards if shard.split == split)

    def samples(self, split: str) -> int:
        """Returns how many samples a split has, without those that were removed."""
        return sum(shard.samples - len(self.removed_from(shard)) for shard in self.of_split(split))

    def removed_from(self, shard: ShardFile) -> frozenset[str]:
        """Returns the keys in a shard that were removed."""
        return self.removed.get(shard.name, frozenset())

    @property
    def removed_keys(self) -> frozenset[str]:
        """Returns all keys that were removed and are still in the tars."""
        return frozenset().union(*self.removed.values())

    def path(self, name: str) -> str:
        """Returns the full path of a file of the set."""
        return storage.join(self.directory, name)


def load_shards(path: str, *, check_sizes: bool = True) -> ShardSet:
    """Returns the shards at a dataset root (with dataset.json), a shards folder or a manifest.json, local or by URL.

    Raises UsageError when there are none, or when a file is missing or has another size than the manifest says
    (`check_sizes=False` leaves that to the validator, which lists every fault).
    """
    directory = _directory(path)
    file = os.path.join(directory, MANIFEST)
    if not _is_file(file):
        raise UsageError(f"{path}: no {MANIFEST} in {directory}: the shards are not finished, or this is no dataset; "
                         f"give another path, or run `imagebert dataset` again to continue")
    data = storage.read_bytes(file)
    value = _parse(data, file)
    if value.get("stage") != "shards":
        raise UsageError(f"{file}: the manifest of stage {value.get('stage')!r}, not of shards; give the dataset's "
                         f"root or its shards/ folder")
    if isinstance(value.get("format"), int) and value["format"] > NEWEST_FORMAT:
        raise UsageError(f"{file}: of format {value['format']}, written by a newer version of imagebert-lait than this "
                         f"one, which reads up to {NEWEST_FORMAT}; install the newer one")
    try:
        sizes = {entry["name"]: entry["bytes"] for entry in value["tables"]["shards"]}
        extra = value["extra"]
        shards = sorted((ShardFile(**shard) for shard in extra["shards"]), key=lambda shard: shard.name)
        facts = {field.name: extra[field.name] for field in dataclasses.fields(ShardSet)
                 if field.name not in ("directory", "digest", "shards", "removed", "reencoded", "built_digest",
                                       "class_names")}
    except (KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a manifest of shards as this version writes it "
                         f"({type(error).__name__}: {error}); copy it again, or build the shards again") from error
    if check_sizes:
        _check_sizes(directory, sizes)
    removed, tombstones = _tombstones(directory, {shard.name for shard in shards})
    return ShardSet(directory=directory, digest=hashlib.sha256(data + tombstones).hexdigest(), shards=tuple(shards),
                    removed=removed, reencoded="reencoded" in extra, built_digest=hashlib.sha256(data).hexdigest(),
                    class_names=extra.get("class_names", ""), **facts)


def _tombstones(directory: str, shards: set[str]) -> tuple[dict[str, frozenset[str]], bytes]:
    """Returns shard -> removed keys and the bytes they stand in; a damaged file is an error, never an empty list."""
    file = os.path.join(directory, TOMBSTONES)
    if not _is_file(file):
        return {}, b""
    data = storage.read_bytes(file)
    keys = _parse(data, file).get("keys")
    if not isinstance(keys, dict) or not keys.keys() <= shards \
            or not all(isinstance(listed, list) for listed in keys.values()):
        raise UsageError(f"{file}: not the list of removed samples of these shards; copy it again, or remove it and "
                         f"run `imagebert shards remove` again")
    return {name: frozenset(map(str, listed)) for name, listed in keys.items()}, data


def _directory(path: str) -> str:
    if os.path.basename(path) == MANIFEST:
        return os.path.dirname(path) or "."
    pointer = os.path.join(path, "dataset.json")
    if _is_file(pointer):
        stages = _parse(storage.read_bytes(pointer), pointer).get("stages")
        if not isinstance(stages, dict):
            raise UsageError(f"{pointer}: damaged, it names no stages; copy it again, or give the shards/ folder "
                             f"itself")
        if "shards" not in stages:
            raise UsageError(f"{path}: no shards here yet (only {', '.join(sorted(stages)) or 'nothing'}); run "
                             f"`imagebert dataset --out {path}` to its end")
        return os.path.join(path, stages["shards"])
    if not storage.is_remote(path) and not os.path.isdir(path):
        raise UsageError(f"{path}: no such folder; give a dataset's root, its shards/ folder or a {MANIFEST}")
    return path


def _parse(data: bytes, file: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise UsageError(f"{file}: not JSON ({error}); copy it again") from error
    if not isinstance(value, dict):
        raise UsageError(f"{file}: a {type(value).__name__} and no JSON object; copy it again")
    return value


def _is_file(path: str) -> bool:
    return storage.exists(path) if storage.is_remote(path) else os.path.isfile(path)


def _check_sizes(directory: str, sizes: Mapping[str, int]) -> None:
    if not storage.is_remote(directory):
        for name, expected in sizes.items():
            _check_size(directory, name, expected)
        return
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        for _ in pool.map(lambda pair: _check_size(directory, *pair), sizes.items()):
            pass


def _check_size(directory: str, name: str, expected: int) -> None:
    file = storage.join(directory, name)
    try:
        found = storage.size(file)
    except FileNotFoundError:
        found = -1
    if found < 0 or not storage.is_remote(file) and not os.path.isfile(file):
        raise UsageError(f"{file}: missing; the manifest lists it with {expected} bytes; copy it again, or remove "
                         f"{directory} and build the shards again")
    if found != expected:
        raise UsageError(f"{file}: the manifest says {expected} bytes, found {found}; copy it again, or remove "
                         f"{directory} and build the shards again")
