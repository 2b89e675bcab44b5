"""What can be wrong with one sample: its members, its row in the index, its regions."""
from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from shards.image_work import Picture
from shards.manifest import ShardFile, ShardSet
from shards.regions import unpack
from shards.sample import is_key, key_of, parse_sample_json, sample_json
from shards.tarwalk import Member
from shards.tokens import CaptionTokenizer


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    shard: str                     # file, relative to the shards folder
    key: str                       # "" where it is about the file
    offset: int                    # byte in that file, -1 where it is about the whole
    what: str

    def __str__(self) -> str:
        """Returns one line that names the place and the fault."""
        place = f" {self.key}" if self.key else ""
        return f"{self.shard}{place}{f' at byte {self.offset}' if self.offset >= 0 else ''}: {self.what}"


def of_sample(shard: ShardFile, key: str, image: Member, caption: Member, provenance: Member,
              sha256: str, reencoded: bool) -> Iterator[Fault]:
    """Yields what is wrong with the three members of a sample, each alone and against each other; pixels apart.

    Args:
        sha256: of the image's bytes.
        reencoded: the image may be a JPEG made of the original, which the key and the sha256 are of.
    """
    def fault(member: Member, what: str) -> Fault:
        return Fault(shard.name, key, member.offset, what)

    if not is_key(key):
        yield fault(image, f"the key {key!r} is not 32 hex digits")
    if key != key_of(sha256) and not (reencoded and shard.ext == "jpg"):
        yield fault(image, f"the image's sha256 begins {sha256[:12]}, so this is not its key")
    try:
        text = caption.data.decode()
    except UnicodeDecodeError as error:
        text = ""
        yield fault(caption, f"the caption is not UTF-8 ({error.reason} at {error.start})")
    try:
        values = parse_sample_json(provenance.data)
        if sample_json(values) != provenance.data:
            yield fault(provenance, "KEY.json is not written as the contract has it (order of fields, white space)")
    except ValueError as error:
        yield fault(provenance, str(error))
        return
    if reencoded and shard.ext == "jpg" and key == key_of(values["sha256"]):
        sha256 = values["sha256"]                           # the manifest's, of the whole tar, is what covers the bytes
    facts: tuple[tuple[str, Any], ...] = (
        ("key", key), ("caption", text), ("sha256", sha256), ("num_bytes", len(image.data)), ("format", shard.ext),
        ("split", shard.split))
    for name, found in facts:
        if values[name] != found:
            yield fault(provenance, f"KEY.json says {name} {values[name]!r}, the shard has {found!r}")


def of_picture(shard: ShardFile, key: str, image: Member, provenance: Member, picture: Picture) -> Iterator[Fault]:
    """Yields what is wrong with an image as the sandbox decoded it, alone and against KEY.json."""
    if picture.reason:
        yield Fault(shard.name, key, image.offset, f"the image does not decode ({picture.reason})")
        return
    if picture.format != shard.ext:
        yield Fault(shard.name, key, image.offset, f"the image is {picture.format}, in a shard of {shard.ext}")
        return
    try:
        values = parse_sample_json(provenance.data)
    except ValueError:
        return                                              # a fault of the sample already
    for name, found in (("width", picture.width), ("height", picture.height)):
        if values.get(name) != found:
            yield Fault(shard.name, key, provenance.offset,
                        f"KEY.json says {name} {values.get(name)!r}, the shard has {found!r}")


def of_index_row(file: str, entry: np.void | None, key: str, triple: list[Member],
                 sha256: str, tokenizer: CaptionTokenizer | None, reencoded: bool) -> Iterator[Fault]:
    """Yields where a row of the index `file` (None: there is no row) differs from the sample in the tar."""
    if entry is None:
        yield Fault(file, key, -1, "has no row for this sample of the tar")
        return
    for name, member in zip(("image", "txt", "json"), triple, strict=True):
        yield from of_place(file, key, entry, name, member)
    facts = [("image_hash", int(sha256[:16], 16))]
    if tokenizer is not None:
        ids, cut = tokenizer.encode(triple[1].data.decode(errors="replace"))
        facts += [("num_tokens", len(ids)), ("num_cut", min(cut, 65535))]
    try:
        values = parse_sample_json(triple[2].data)
        facts += [(name, int(values[name], 16)) for name in ("group_hash", "caption_hash")]
        if reencoded:
            facts[0] = ("image_hash", int(values["sha256"][:16], 16))
    except (ValueError, KeyError, TypeError):
        pass                                                # the sample itself has this fault already
    for name, found in facts:
        if int(entry[name]) != found:
            yield Fault(file, key, -1, f"{name} is {int(entry[name])}, the sample has {found}")


def of_place(file: str, key: str, entry: np.void, name: str, member: Member) -> Iterator[Fault]:
    """Yields a fault where an index row's offset, size or checksum of a member is not the tar's."""
    for what, found in (("offset", member.offset), ("size", len(member.data)), ("crc", zlib.crc32(member.data))):
        if int(entry[f"{name}_{what}"]) != found:
            yield Fault(file, key, -1, f"{name}_{what} is {int(entry[f'{name}_{what}'])}, in the tar {found}")


def of_regions(shard: ShardFile, known: ShardSet, entry: np.void | None, key: str, member: Member) -> Iterator[Fault]:
    """Yields what is wrong with an image's regions, against the manifest and against the index row."""
    if entry is not None:
        yield from of_place(shard.index, key, entry, "regions", member)
    try:
        regions = unpack(member.data)
    except ValueError as error:
        yield Fault(shard.regions, key, member.offset, str(error))
        return
    if regions.feature_dim != known.feature_dim:
        yield Fault(shard.regions, key, member.offset,
                    f"features have {regions.feature_dim} values, the manifest says {known.feature_dim}")
    if len(regions) > known.max_regions:
        yield Fault(shard.regions, key, member.offset,
                    f"{len(regions)} regions, the manifest says at most {known.max_regions}")
    # A source without classes says -1 of every region.
    least, most = (0, known.num_classes - 1) if known.num_classes else (-1, -1)
    if len(regions) and (regions.cls.min() < least or regions.cls.max() > most):
        yield Fault(shard.regions, key, member.offset, f"a class lies outside {least}..{most}")
    if entry is not None and int(entry["num_regions"]) != len(regions):
        yield Fault(shard.index, key, -1, f"num_regions is {int(entry['num_regions'])}, the tar has {len(regions)}")
