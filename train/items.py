"""What retrieval is measured on: images with their regions, each with one or several captions."""
from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crawl.config import digest
from crawl.errors import UsageError
from shards.manifest import ShardSet
from shards.reader import open_shard
from shards.regions import Regions
from shards.tokens import CaptionTokenizer
from train.gathering import key_hash, read_sample, token_hash
from train.packing import Sample

Words = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Collection:
    """I images in memory, features as they are stored; `samples[i]` has the words of image i's first caption."""

    name: str                                  # for messages: a folder and a split
    samples: tuple[Sample, ...]
    captions: tuple[tuple[Words, ...], ...]    # WordPiece ids of all captions of each image
    skipped: tuple[tuple[str, int], ...] = ()  # reason and count of images left out, sorted

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def keys(self) -> list[str]:
        """Returns the images' keys in order."""
        return [sample.key for sample in self.samples]

    @property
    def num_captions(self) -> int:
        """Returns C."""
        return sum(map(len, self.captions))

    def caption_names(self) -> list[list[str]]:
        """Returns each image's captions as text that is equal for token-identical ones."""
        return [[" ".join(map(str, words)) for words in own] for own in self.captions]

    def take(self, indices: Sequence[int], name: str = "") -> Collection:
        """Returns some of the images, in the order given."""
        return Collection(name or self.name, tuple(self.samples[index] for index in indices),
                          tuple(self.captions[index] for index in indices), self.skipped)

    def first_captions(self, count: int) -> Collection:
        """Returns the collection with at most `count` captions an image."""
        return dataclasses.replace(self, captions=tuple(own[:count] for own in self.captions))

    def flat_captions(self) -> tuple[list[Words], NDArray[np.int64]]:
        """Returns all C captions, image by image, and the image of each."""
        words = [words for own in self.captions for words in own]
        return words, np.repeat(np.arange(len(self)), [len(own) for own in self.captions])

    def every_caption(self) -> tuple[Sample, ...]:
        """Returns one sample for each caption: the pairs that training draws from."""
        return tuple(dataclasses.replace(sample, words=words, caption_hash=token_hash(words))
                     for sample, own in zip(self.samples, self.captions, strict=True) for words in own)

    def digest(self) -> str:
        """Returns a hash of everything a score depends on."""
        pixels = hashlib.sha256()
        for sample in self.samples:
            for array in (sample.features, sample.scale, sample.zero, sample.boxes):
                pixels.update(np.ascontiguousarray(array).tobytes())
        return digest([self.keys, self.caption_names(), pixels.hexdigest()])


def sample_of(key: str, words: Sequence[int], regions: Regions, image_hash: int) -> Sample:
    """Returns one photograph with one caption."""
    scale, zero = regions.scale_and_zero()
    ids = [int(word) for word in words]
    return Sample(key=key, key_hash=key_hash(key), words=np.array(ids, np.int64), features=regions.feat,
                  scale=scale, zero=zero, boxes=regions.box.astype(np.float32),
                  classes=np.maximum(regions.cls, 0).astype(np.int64), image_hash=image_hash, group_hash=image_hash,
                  caption_hash=token_hash(ids))


def from_shards(shards: ShardSet, split: str, tokenizer: CaptionTokenizer, max_regions: int = 100,
                limit: int | None = None) -> Collection:
    """Returns the first `limit` samples of a split (its order is random): one caption an image.

    Samples without regions or words are skipped and counted.  Raises UsageError for a split without samples.
    """
    samples: list[Sample] = []
    skipped: collections.Counter[str] = collections.Counter()
    for shard in shards.of_split(split):
        with open_shard(shards, shard) as reader:
            for row in range(len(reader)):
                if limit is not None and len(samples) >= limit:
                    break
                if not shard.regions or not reader.index["num_regions"][row]:
                    skipped["no_regions"] += 1
                    continue
                sample = read_sample(reader, row, tokenizer, max_regions)
                if len(sample.words):
                    samples.append(sample)
                else:
                    skipped["no_words"] += 1
    if not samples:
        raise UsageError(f"{shards.directory}: no sample to use in split {split!r} ({shards.samples(split)} stored); "
                         f"build shards with held-out samples, or choose another split with --set split=train")
    return Collection(f"{shards.directory} {split}", tuple(samples), tuple((sample.words,) for sample in samples),
                      tuple(sorted(skipped.items())))


def shuffled_regions(collection: Collection) -> Collection:
    """Returns the control: every image keeps key and captions but has the regions of another one."""
    images = len(collection)
    samples = []
    for index, sample in enumerate(collection.samples):
        other = collection.samples[(index + max(1, images // 2)) % images]
        samples.append(dataclasses.replace(sample, features=other.features, scale=other.scale, zero=other.zero,
                                           boxes=other.boxes, classes=other.classes))
    return dataclasses.replace(collection, name=f"{collection.name}, regions shuffled", samples=tuple(samples))
