"""Reads every byte of a set of shards and lists what is against the contract (docs/shards.md).

A fault never ends the check: behind a missing member it goes on with the next sample, behind a cut with the next file.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from crawl import storage
from crawl.errors import UsageError
from crawl.sandbox_client import Sandbox
from shards.faults import Fault, of_index_row, of_picture, of_regions, of_sample
from shards.image_work import Picture, picture_sandbox
from shards.index import INDEX_DTYPE, load_index
from shards.manifest import MANIFEST, ShardFile, ShardSet
from shards.sample import KEY_LENGTH, REGIONS_SUFFIX
from shards.tarwalk import Damage, Member, walk
from shards.tokens import CaptionTokenizer, load_tokenizer
from shards.validate_foreign import foreign_faults

_PICTURES = 32                     # images of a shard that wait to be decoded together


@dataclasses.dataclass(slots=True)
class Context:
    """What all shards of a set are checked against."""

    shards: ShardSet
    files: dict[str, tuple[int, str]]          # name -> bytes, sha256, as the manifest lists them
    tokenizer: CaptionTokenizer | None
    read: Callable[[int], None]                # called with bytes as they are read
    pictures: Sandbox[Picture] | None          # decodes images; None: they are not decoded
    keys: list[tuple[str, np.ndarray]] = dataclasses.field(default_factory=list)     # shard, its keys (S32)


class _Watched:
    """A file whose bytes are hashed and reported as they are read."""

    def __init__(self, file: Any, read: Callable[[int], None]) -> None:
        self._file, self._read, self.sha256 = file, read, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.sha256.update(data)
        self._read(len(data))
        return data

    def drain(self) -> None:
        while self.read(1 << 20):
            pass


def validate(shards: ShardSet, read: Callable[[int], None] = lambda count: None,
             decode: bool = True) -> Iterator[Fault]:
    """Yields every fault of a set of shards, in the order of its files.

    Args:
        shards: from `load_shards(path, check_sizes=False)`, so that a file of a wrong size is a fault among others.
        read: called with the number of bytes as they are read, for a progress bar.
        decode: decode the images too, in the sandbox; the rest takes a fraction of that time.
    """
    if not decode:
        yield from _validate(shards, read, None)
        return
    with picture_sandbox() as box:
        yield from _validate(shards, read, box)


def _validate(shards: ShardSet, read: Callable[[int], None], box: Sandbox[Picture] | None) -> Iterator[Fault]:
    files, broken = _listed(shards)
    yield from broken
    if shards.foreign:
        context = Context(shards, files, None, read, box)
        for name in sorted(files):
            yield from _whole_file(context, name)
        for shard in shards.shards:
            yield from foreign_faults(shards, shard, box)
        return
    tokenizer = None
    try:
        tokenizer = load_tokenizer(shards.path(shards.vocab))
        if tokenizer.digest != shards.tokenizer_digest:
            yield Fault(shards.vocab, "", -1, f"sha256 {tokenizer.digest[:12]} is not the manifest's "
                                              f"{shards.tokenizer_digest[:12]}")
    except UsageError as error:
        yield Fault(shards.vocab, "", -1, str(error))
    context = Context(shards, files, tokenizer, read, box)
    tars = {name for shard in shards.shards for name in (shard.name, shard.regions) if name}
    for name in sorted(files.keys() - tars):
        yield from _whole_file(context, name)
    for shard in shards.shards:
        yield from _shard(context, shard)
    yield from _repeated(context)
    yield from _removed(context)


def total_bytes(shards: ShardSet) -> int:
    """Returns how many bytes a validation reads, as the manifest has it."""
    return sum(size for size, _ in _listed(shards)[0].values())


def _listed(shards: ShardSet) -> tuple[dict[str, tuple[int, str]], list[Fault]]:
    """Returns the files of the manifest, and faults where its list of shards says otherwise."""
    tables = json.loads(storage.read_bytes(shards.path(MANIFEST)))["tables"]
    files = {entry["name"]: (entry["bytes"], entry.get("sha256", "none"))
             for entries in tables.values() for entry in entries}
    faults = []
    for shard in shards.shards:
        if files.get(shard.name) != (shard.bytes, shard.sha256):
            faults.append(Fault(MANIFEST, "", -1, f"lists {shard.name} twice, with different bytes or sha256"))
        faults += [Fault(MANIFEST, "", -1, f"names {name} without its bytes and sha256")
                   for name in (shard.regions, shard.index, shard.table) if name and name not in files]
    return files, faults


def _whole_file(context: Context, name: str) -> Iterator[Fault]:
    """Yields the faults of a file as a whole: there, as long and with the sha256 that the manifest says."""
    try:
        with storage.opened(context.shards.path(name)) as file:
            watched = _Watched(file, context.read)
            watched.drain()
    except FileNotFoundError:
        yield Fault(name, "", -1, "the file is missing")
        return
    yield from _against_manifest(context, name, watched.sha256.hexdigest())


def _against_manifest(context: Context, name: str, sha256: str) -> Iterator[Fault]:
    if name in context.files:
        size, expected = context.files[name]
        found = storage.size(context.shards.path(name))
        if found != size:
            yield Fault(name, "", -1, f"has {found} bytes, the manifest says {size}")
        elif sha256 != expected:
            yield Fault(name, "", -1, f"sha256 {sha256[:12]} is not the manifest's {expected[:12]}")


def _shard(context: Context, shard: ShardFile) -> Iterator[Fault]:
    try:
        index = load_index(context.shards.path(shard.index))
    except UsageError as error:
        yield Fault(shard.index, "", -1, str(error))
        index = np.zeros(0, INDEX_DTYPE)
    if len(index) != shard.samples:
        yield Fault(shard.index, "", -1, f"has {len(index)} rows, the manifest says {shard.samples} samples")
    rows = {key.decode(errors="replace"): row for row, key in enumerate(index["key"])}
    if shard.table:
        yield from _table(context, shard, index)
    keys: list[str] = []
    yield from _tar(context, shard.name, lambda members: _samples(context, shard, index, rows, members, keys))
    if len(keys) != shard.samples:
        yield Fault(shard.name, "", -1, f"holds {len(keys)} whole samples, the manifest says {shard.samples}")
    context.keys.append((shard.name, np.array([key.encode() for key in keys], dtype=f"S{KEY_LENGTH}")))
    if shard.regions and not shard.inline:
        yield from _tar(context, shard.regions, lambda members: _regions(context, shard, index, rows, members, keys))


def _table(context: Context, shard: ShardFile, index: np.ndarray) -> Iterator[Fault]:
    """Yields a fault where the Parquet beside a shard does not list the index's keys in its order."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    try:
        with storage.opened(context.shards.path(shard.table)) as file:
            keys = pq.read_table(file, columns=["key"]).column("key").to_pylist()
    except FileNotFoundError:
        return                                              # a fault of the file already
    except storage.StoreUsageError:
        raise
    except (pa.ArrowException, OSError, KeyError) as error:
        yield Fault(shard.table, "", -1, f"not a table of samples ({str(error).splitlines()[0]})")
        return
    if keys != [key.decode(errors="replace") for key in index["key"]]:
        yield Fault(shard.table, "", -1,
                    f"its {len(keys)} keys are not the {len(index)} of {shard.index} in their order")


def _repeated(context: Context) -> Iterator[Fault]:
    """Yields a fault for each key that stands twice in the set."""
    if not context.keys:
        return
    keys = np.concatenate([part for _, part in context.keys])
    shards = np.repeat(np.arange(len(context.keys)), [len(part) for _, part in context.keys])
    order = np.argsort(keys, kind="stable")
    for place in np.flatnonzero(keys[order][1:] == keys[order][:-1]):
        first, second = (context.keys[shards[order[at]]][0] for at in (place, place + 1))
        yield Fault(second, keys[order[place]].decode(), -1, f"the key stands in {first} too")


def _removed(context: Context) -> Iterator[Fault]:
    """Yields a fault for each key that the manifest says was written out of the set and that is in a tar."""
    value = json.loads(storage.read_bytes(context.shards.path(MANIFEST)))
    gone = {str(key).encode() for key in value["extra"].get("tombstones", ())}
    for name, keys in context.keys if gone else ():
        yield from (Fault(name, key.decode(), -1, "was removed from the set, and is here") for key in keys.tolist()
                    if key in gone)


def _tar(context: Context, name: str, check: Callable[[Iterator[Member]], Iterator[Fault]]) -> Iterator[Fault]:
    """Walks one tar, hashing it on the way; yields what `check` finds in its members and what is wrong with it."""
    path = context.shards.path(name)
    try:
        file = storage.opened(path)
    except FileNotFoundError:
        yield Fault(name, "", -1, "the file is missing")
        return
    with file:
        watched = _Watched(file, context.read)
        try:
            yield from check(walk(watched, storage.size(path)))
        except Damage as damage:
            yield Fault(name, damage.name.partition(".")[0], damage.offset, damage.what)
        watched.drain()
    yield from _against_manifest(context, name, watched.sha256.hexdigest())


def _samples(context: Context, shard: ShardFile, index: np.ndarray, rows: dict[str, int], members: Iterator[Member],
             keys: list[str]) -> Iterator[Fault]:
    """Checks triples of members (with inline regions fours); adds the key of every whole sample to `keys`."""
    suffixes = (shard.ext, "txt", "json", *([REGIONS_SUFFIX] if shard.inline else []))
    triple: list[Member] = []
    waiting: list[tuple[str, Member, Member]] = []
    for member in members:
        yield from (Fault(shard.name, member.name.partition(".")[0], member.header_offset, f"{member.name} {line}")
                    for line in member.wrong)
        triple.append(member)
        if len(triple) < len(suffixes):
            continue
        key = triple[0].name.partition(".")[0]
        wanted = [f"{key}.{suffix}" for suffix in suffixes]
        found = [member.name for member in triple]
        if found != wanted:
            yield Fault(shard.name, key, triple[0].header_offset,
                        f"members are {', '.join(found)}, not {', '.join(wanted)}")
            # Behind a missing member every triple would be wrong: go on where the next sample begins.
            triple = [member for member in triple[1:] if member.name.partition(".")[0] != key]
            continue
        image, caption, provenance = triple[:3]
        sha256 = hashlib.sha256(image.data).hexdigest()
        yield from of_sample(shard, key, image, caption, provenance, sha256, context.shards.reencoded)
        entry = index[rows[key]] if key in rows else None
        yield from of_index_row(shard.index, entry, key, triple[:3], sha256, context.tokenizer,
                                context.shards.reencoded)
        if context.pictures is not None:
            waiting.append((key, image, provenance))
            if len(waiting) == _PICTURES:
                yield from _pictures(context.pictures, shard, waiting)
        if shard.inline:
            yield from of_regions(shard, context.shards, entry, key, triple[3])
        if rows.get(key, len(keys)) != len(keys):
            yield Fault(shard.index, key, -1, f"is row {rows[key]}, in the tar it is sample {len(keys)}")
        keys.append(key)
        triple = []
    yield from _pictures(context.pictures, shard, waiting)
    if triple:
        yield Fault(shard.name, triple[0].name.partition(".")[0], triple[0].header_offset,
                    f"the last sample is not whole: {', '.join(member.name for member in triple)}")


def _pictures(box: Sandbox[Picture] | None, shard: ShardFile,
              waiting: list[tuple[str, Member, Member]]) -> Iterator[Fault]:
    """Yields what is wrong with some images, decoded side by side with this process; empties the list."""
    asked, waiting[:] = list(waiting), []
    if box is not None:
        for one, answer in box.map((one, None, one[1].data) for one in asked):
            yield from of_picture(shard, *one, answer.result or Picture(answer.reason))


def _regions(context: Context, shard: ShardFile, index: np.ndarray, rows: dict[str, int], members: Iterator[Member],
             keys: list[str]) -> Iterator[Fault]:
    """Checks the regions tar: the same keys in the same order, and regions as the manifest describes them."""
    seen = 0
    for member in members:
        key, _, suffix = member.name.partition(".")
        for line in member.wrong:
            yield Fault(shard.regions, key, member.header_offset, f"{member.name} {line}")
        if suffix != REGIONS_SUFFIX:
            yield Fault(shard.regions, key, member.header_offset, f"{member.name} is no .{REGIONS_SUFFIX}")
            continue
        # Compared with the index where there is one: a cut image tar says nothing of these keys.
        expected = (index["key"][seen].decode(errors="replace") if seen < len(index)
                    else keys[seen] if seen < len(keys) else "")
        if key != expected:
            yield Fault(shard.regions, key, member.header_offset,
                        f"is number {seen} here, where the shard has {expected or 'nothing'}")
        seen += 1
        yield from of_regions(shard, context.shards, index[rows[key]] if key in rows else None, key, member)
    if seen != shard.samples:
        yield Fault(shard.regions, "", -1, f"holds {seen} members, the manifest says {shard.samples} samples")
