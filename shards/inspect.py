"""Looks into finished shards: counts of the set, a list of samples, one sample with all that is known of it."""
from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crawl.errors import UsageError
from crawl.sandbox_client import Sandbox
from shards.census import site_of
from shards.image_work import Picture, picture_sandbox
from shards.index import load_index, without
from shards.manifest import ShardFile, ShardSet
from shards.reader import open_shard
from shards.regions import Regions
from shards.samples import sample_rows

_QUANTILES = (("least", 0), ("5 %", 5), ("median", 50), ("95 %", 95), ("most", 100))
# Shorter beginnings of a key name too many samples.
_MIN_PREFIX = 4
MAX_SIDE = 4096                    # px of a picture that is shown: 50 MB of pixels
_BOX_COLOURS = ("#e6550d", "#3182bd", "#31a354", "#756bb1", "#d6336c", "#b58900")


def stats(shards: ShardSet) -> dict[str, Any]:
    """Returns counts of a set as plain JSON values, from its manifest, its indexes and one column of its tables."""
    indexes = [(shard, _index(shards, shard)) for shard in shards.shards]
    splits = {}
    for split in sorted({shard.split for shard in shards.shards}):
        splits[split] = _counts([pair for pair in indexes if pair[0].split == split])
    return {
        "directory": shards.directory, "manifest": shards.digest, "all": _counts(indexes), "splits": splits,
        "regions": {"extractor": shards.extractor, "extractor_digest": shards.extractor_digest,
                    "feature_dim": shards.feature_dim, "num_classes": shards.num_classes,
                    "max_regions": shards.max_regions, "quantisation": shards.quantisation},
        "tokenizer": {"vocab": shards.vocab, "digest": shards.tokenizer_digest}, "sites": _sites(shards),
        "removed": len(shards.removed_keys)}


def _index(shards: ShardSet, shard: ShardFile) -> np.ndarray:
    rows = load_index(shards.path(shard.index))
    return without(rows, removed) if (removed := shards.removed_from(shard)) else rows


def _counts(indexes: list[tuple[ShardFile, np.ndarray]]) -> dict[str, Any]:
    def column(name: str) -> np.ndarray:
        return np.concatenate([np.asarray(index[name]) for _, index in indexes] or [np.zeros(0, np.int64)])

    return {
        "shards": len(indexes), "samples": sum(len(index) for _, index in indexes),
        "tar_bytes": sum(shard.bytes for shard, _ in indexes), "image_bytes": int(column("image_size").sum()),
        "region_bytes": int(column("regions_size").sum()), "distinct_groups": len(np.unique(column("group_hash"))),
        "distinct_captions": len(np.unique(column("caption_hash"))), "captions_cut": int((column("num_cut") > 0).sum()),
        "word_pieces": _spread(column("num_tokens")), "caption_bytes": _spread(column("txt_size")),
        "regions_an_image": _spread(column("num_regions")), "bytes_an_image": _spread(column("image_size"))}


def _spread(values: np.ndarray) -> dict[str, float]:
    """Returns mean and quantiles (lower value, so that they are values that occur)."""
    if not len(values):
        return {}
    found = {name: int(np.percentile(values, share, method="lower")) for name, share in _QUANTILES}
    return {"mean": round(float(values.mean()), 2), **found, "sum": int(values.sum())}


def _sites(shards: ShardSet) -> dict[str, int]:
    """Returns samples by site, most first."""
    ours = dataclasses.replace(shards, shards=tuple(shard for shard in shards.shards if shard.table))
    counts = collections.Counter(
        site_of(row["page_url"]) for row in sample_rows(ours, ("page_url",)) if row["page_url"])
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


@dataclasses.dataclass(frozen=True, slots=True)
class Listed:
    """One line of `ls`."""

    key: str
    shard: str
    row: int
    image_bytes: int
    num_regions: int
    num_tokens: int
    caption: str


def listed(shards: ShardSet, split: str = "", contains: str = "") -> Iterator[Listed]:
    """Yields samples in shard order: of one split, with captions that contain some text in any case."""
    wanted = contains.casefold()
    for shard in shards.of_split(split) if split else shards.shards:
        with open_shard(shards, shard) as reader:
            for row in range(len(reader)):
                caption = reader.caption(row)
                if wanted in caption.casefold():
                    entry = reader.index[row]
                    yield Listed(reader.key(row), shard.name, row, int(entry["image_size"]), int(entry["num_regions"]),
                                 int(entry["num_tokens"]), caption)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Found:
    """A sample with the place it was found at."""

    key: str
    shard: ShardFile
    row: int
    image: bytes
    caption: str
    json: dict[str, Any]
    regions: Regions | None
    class_names: tuple[str, ...] = ()          # of the regions; () where nobody gave names


def find(shards: ShardSet, key: str) -> Found:
    """Returns the sample of a key or of an unambiguous beginning of one.

    Raises UsageError when no sample has it, or several have.
    """
    if len(key) < _MIN_PREFIX:
        raise UsageError(f"key {key!r} is too short; give at least {_MIN_PREFIX} of its characters "
                         f"(`imagebert shards ls` lists keys)")
    places = []
    for shard in shards.shards:
        keys = np.asarray(_index(shards, shard)["key"])
        places += [(shard, int(row)) for row in np.flatnonzero(np.char.startswith(keys, key.encode()))]
    if not places:
        raise UsageError(f"no sample with key {key!r} in {shards.directory}; `imagebert shards ls` lists keys")
    if len(places) > 1:
        raise UsageError(f"key {key!r} is the beginning of {len(places)} keys in {shards.directory}; give more of it")
    shard, row = places[0]
    with open_shard(shards, shard) as reader:
        sample = reader.sample(row)
    return Found(sample.key, shard, row, sample.image, sample.caption, sample.json, sample.regions, _names(shards))


def _names(shards: ShardSet) -> tuple[str, ...]:
    if not shards.class_names:
        return ()
    try:
        with open(shards.path(shards.class_names), encoding="utf-8") as file:
            return tuple(file.read().splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{shards.path(shards.class_names)}: cannot be read ({error}); copy it again") from error


def class_name(number: int, names: Sequence[str]) -> str:
    """Returns what a class is called, its number where it has no name, "" for a region without class."""
    return "" if number < 0 else names[number] if number < len(names) else str(number)


def described(found: Found) -> dict[str, Any]:
    """Returns everything known of a sample as plain JSON values, regions with their boxes."""
    regions = found.regions
    boxes = [] if regions is None else [
        {"box": [round(float(edge), 4) for edge in regions.box[place]], "cls": int(regions.cls[place]),
         "class": class_name(int(regions.cls[place]), found.class_names), "conf": round(float(regions.conf[place]), 4)}
        for place in range(len(regions))]
    return {"key": found.key, "shard": found.shard.name, "row": found.row, "caption": found.caption,
            "provenance": found.json, "regions": boxes}


def upright(image: bytes, box: Sandbox[Picture] | None = None) -> Any:
    """Returns the image as Pillow RGB pixels, turned as its EXIF orientation says, no side above 4,096 px.

    It is decoded in a sandbox: a fresh one, or `box` (a `picture_sandbox` with pixels) where there are many.  Raises
    UsageError when it does not decode.
    """
    from PIL import Image
    with contextlib.ExitStack() as stack:
        answer = (box or stack.enter_context(picture_sandbox(MAX_SIDE))).one(None, image)
    picture = answer.result or Picture(answer.reason)
    if picture.reason:
        raise UsageError(f"the image does not decode ({picture.reason}); `imagebert shards validate` tells what is "
                         f"damaged")
    return Image.frombytes("RGB", (picture.width, picture.height), picture.pixels)


def with_boxes(image: bytes, regions: Regions, names: Sequence[str] = ()) -> Any:
    """Returns the upright image with a frame round each region and its class beside it."""
    from PIL import ImageDraw
    pixels = upright(image)
    draw = ImageDraw.Draw(pixels)
    width = max(2, max(pixels.size) // 300)
    height = max(13, max(pixels.size) // 45)
    # The most confident last, so that it lies on top.
    for place in reversed(range(len(regions))):
        colour = _BOX_COLOURS[place % len(_BOX_COLOURS)]
        left, top, right, bottom = (float(edge) for edge in regions.box[place])
        corner = (left * (pixels.width - 1), top * (pixels.height - 1))
        draw.rectangle((*corner, right * (pixels.width - 1), bottom * (pixels.height - 1)), outline=colour, width=width)
        label = class_name(int(regions.cls[place]), names)
        anchor = (corner[0] + width + 2, corner[1] + width)
        draw.rectangle(draw.textbbox(anchor, label, font_size=height), fill=colour)
        draw.text(anchor, label, fill="white", font_size=height)
    return pixels


def half_blocks(pixels: Any, columns: int = 72, rows: int = 24) -> Any:
    """Returns a picture as rich Text: each character is two pixels, the upper half block over its background."""
    from rich.style import Style
    from rich.text import Text
    scale = min(columns / pixels.width, 2 * rows / pixels.height)
    width, height = max(1, round(pixels.width * scale)), max(2, round(pixels.height * scale / 2) * 2)
    values = np.asarray(pixels.resize((width, height)))
    text = Text(no_wrap=True)
    for top in range(0, height, 2):
        for left in range(width):
            upper, lower = (f"rgb({','.join(map(str, values[line, left]))})" for line in (top, top + 1))
            text.append("▀", Style.parse(f"{upper} on {lower}"))
        text.append("\n")
    return text
