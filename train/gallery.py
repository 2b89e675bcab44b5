"""Images to search in, by number and read when they are wanted: a set of shards, or a folder of photographs.

Only numbers, keys and names are in memory; regions and pictures stay where they are.
"""
from __future__ import annotations

import bisect
import dataclasses
import hashlib
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Protocol

from crawl.config import digest
from crawl.errors import UsageError
from shards.manifest import MANIFEST, ShardSet, load_shards
from shards.reader import ShardReader, open_shard
from shards.regions import Regions, first
from train.captioned import (
    SPLITS,
    UnusableImage,
    captions_file,
    read_photograph,
    read_photographs,
)
from train.extractor import load_extractor
from train.items import sample_of
from train.opening import Checkpoint, check_fits
from train.packing import Sample

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")


class Gallery(Protocol):
    """Images 0, 1, ... len - 1 in an order that does not change."""

    name: str                      # for messages

    def __len__(self) -> int: ...

    def digest(self) -> str:
        """Returns a hash of everything an image's vector depends on, beside the weights."""

    def sample(self, number: int) -> Sample:
        """Returns an image without words; raises UnusableImage with a stable reason."""

    def picture(self, number: int) -> bytes:
        """Returns the bytes of the image."""

    def caption(self, number: int) -> str:
        """Returns what is known to be written about the image, "" for nothing."""

    def place(self, number: int) -> str:
        """Returns where the image is from: the page it was found on, or its file."""

    def close(self) -> None:
        """Closes the files."""


def open_gallery(path: str, checkpoint: Checkpoint, split: str = "", limit: int = 0) -> Gallery:
    """Returns the images of shards or of a folder, of one split or ("") of all, the first `limit` (0: all).

    Raises UsageError when there are none, or when the checkpoint cannot see them.
    """
    if os.path.basename(path) == MANIFEST or any(os.path.isfile(os.path.join(path, name))
                                                 for name in (MANIFEST, "dataset.json")):
        shards = load_shards(path)
        check_fits(checkpoint, shards)
        return ShardGallery(shards, checkpoint.max_regions, split, limit)
    if not os.path.isdir(path):
        raise UsageError(f"{path}: no such folder; give a dataset's root, its shards/ folder, or a folder of images")
    entries = _captioned(path, split) if captions_file(path) else _walked(path, split)
    if not entries:
        raise UsageError(f"{path}: no image here{f' in split {split!r}' if split else ''} "
                         f"({', '.join(IMAGE_ENDINGS)}); give a folder of images, or a dataset's root")
    regions_of = load_extractor(checkpoint.folder, checkpoint.state)
    return FolderGallery(path, entries[:limit or None], regions_of, checkpoint.max_regions)


@dataclasses.dataclass(frozen=True, slots=True)
class File:
    """A photograph in a folder."""

    path: str
    caption: str


class ShardGallery:
    """The samples of a set of shards, in the order of splits (test first), shards and rows."""

    def __init__(self, shards: ShardSet, max_regions: int, split: str = "", limit: int = 0) -> None:
        known = sorted({shard.split for shard in shards.shards})
        if split and split not in known:
            raise UsageError(f"{shards.directory}: no split {split!r}; it has {', '.join(known) or 'none'}")
        files = [shard for name in known if split in ("", name) for shard in shards.of_split(name)]
        without = next((shard.name for shard in files if not shard.regions), "")
        if without:
            raise UsageError(f"{shards.directory}/{without} has no regions; build the shards with a region extractor")
        self.name = f"{shards.directory}{f' {split}' if split else ''}"
        self._readers = [open_shard(shards, shard) for shard in files]      # without what was removed
        self._ends = list(itertools.accumulate(len(reader) for reader in self._readers))
        self._count = min(limit or self._stored, self._stored)
        self._max_regions = max_regions
        self._identity = [shards.digest, split, self._count, max_regions]
        if not self._count:
            raise UsageError(f"{self.name}: no sample here; build shards from more pages, or choose another split")

    @property
    def _stored(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __len__(self) -> int:
        return self._count

    def digest(self) -> str:
        """Returns a hash of the manifest's digest and the choice of samples."""
        return digest(self._identity)

    def sample(self, number: int) -> Sample:
        """Returns an image without words; raises UnusableImage for one without regions."""
        reader, row = self._at(number)
        entry = reader.index[row]
        if not entry["num_regions"]:
            raise UnusableImage("no_regions")
        return sample_of(reader.key(row), [], reader.regions(row, self._max_regions), int(entry["image_hash"]))

    def picture(self, number: int) -> bytes:
        """Returns the stored image."""
        reader, row = self._at(number)
        return reader.image(row)

    def caption(self, number: int) -> str:
        """Returns the stored caption."""
        reader, row = self._at(number)
        return reader.caption(row)

    def place(self, number: int) -> str:
        """Returns the page the image was found on, or the shard where that is not known."""
        reader, row = self._at(number)
        page = reader.sample_json(row).get("page_url")
        return page if isinstance(page, str) and page else reader.shard.name

    def close(self) -> None:
        """Closes the shards."""
        for reader in self._readers:
            reader.close()

    def _at(self, number: int) -> tuple[ShardReader, int]:
        place = bisect.bisect_right(self._ends, number)
        return self._readers[place], number - (self._ends[place - 1] if place else 0)


class FolderGallery:
    """Image files, cut into regions by the checkpoint's extractor."""

    def __init__(self, folder: str, files: Sequence[File], regions_of: Callable[[bytes], Regions],
                 max_regions: int) -> None:
        self.name, self._folder, self._files = folder, folder, tuple(files)
        self._regions_of, self._max_regions = regions_of, max_regions

    def __len__(self) -> int:
        return len(self._files)

    def digest(self) -> str:
        """Returns a hash of the bytes of all files, in order; reads them."""
        contents = hashlib.sha256()
        for file in self._files:
            try:
                contents.update(hashlib.sha256(read_photograph(file.path)).digest())
            except UnusableImage as reason:
                contents.update(str(reason).encode())
        return digest([contents.hexdigest(), self._max_regions])

    def sample(self, number: int) -> Sample:
        """Returns an image without words; raises UnusableImage with the reason."""
        data = read_photograph(self._files[number].path)
        regions = first(self._regions_of(data), self._max_regions)
        if not len(regions):
            raise UnusableImage("no_regions")
        identity = hashlib.sha256(data).digest()
        return sample_of(identity.hex()[:32], [], regions, int.from_bytes(identity[:8], "big"))

    def picture(self, number: int) -> bytes:
        """Returns the file's bytes."""
        return read_photograph(self._files[number].path)

    def caption(self, number: int) -> str:
        """Returns the first caption of a captioned folder."""
        return self._files[number].caption

    def place(self, number: int) -> str:
        """Returns the file's name in the folder."""
        return os.path.relpath(self._files[number].path, self._folder)

    def close(self) -> None:
        """Does nothing: no file stays open."""


def _captioned(folder: str, split: str) -> list[File]:
    if split and split not in SPLITS:
        raise UsageError(f"--split {split!r}: a captioned folder has {', '.join(SPLITS)}")
    return [File(photograph.path, next(iter(photograph.captions), "")) for photograph in read_photographs(folder)
            if split in ("", photograph.split)]


def _walked(folder: str, split: str) -> list[File]:
    """Returns the image files below a folder, sorted by name; what begins with a dot is left out."""
    if split:
        raise UsageError(f"{folder} is a folder of images without captions.json, which has no splits; leave --split "
                         f"{split} out")
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [os.path.join(here, name) for name in names
                  if name.lower().endswith(IMAGE_ENDINGS) and not name.startswith(".")]
    return [File(path, "") for path in sorted(found)]


def read_samples(gallery: Gallery, numbers: Sequence[int], skipped: dict[str, int]) -> tuple[list[int], list[Sample]]:
    """Returns the usable ones of some images and their numbers; the others are counted in `skipped` by reason."""
    kept, samples = [], []
    for number in numbers:
        try:
            samples.append(gallery.sample(number))
        except UnusableImage as reason:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
        else:
            kept.append(number)
    return kept, samples


def chunks(numbers: Sequence[int] | range, size: int) -> list[list[int]]:
    """Returns numbers in lists of at most `size`.

    >>> chunks(range(5), 2)
    [[0, 1], [2, 3], [4]]
    """
    return [list(numbers[at:at + size]) for at in range(0, len(numbers), size)]
