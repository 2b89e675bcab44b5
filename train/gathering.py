"""The samples of a pack, read together: features straight to their place in it, what is small of all images at once.

One by one they would be the same samples (`read_sample`), at twice the processor's time.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from crawl.object_store import StoreUsageError
from shards.reader import ShardReader
from shards.regions import Regions
from shards.straight import Shape, Straight, stacked
from shards.tokens import CaptionTokenizer
from train.sequences import Sample

Place = tuple[ShardReader, int]        # a row of a shard


def read_samples(wanted: Sequence[Place | Sample], tokenizer: CaptionTokenizer, limit: int,
                 into: NDArray[Any]) -> list[Sample | UsageError]:
    """Returns samples with their `limit` most confident regions, their features end to end in the rows of `into`;
    instead of a damaged one what is wrong with it, which takes no rows.  One that is at hand is copied.

    Raises StoreUsageError where an object store is out of reach: that damages no sample.
    """
    found = _read(wanted, tokenizer, limit, into, straight=True)
    if found is None:      # a wrong value shows when what is behind it has its place: all is read again, one by one
        found = _read(wanted, tokenizer, limit, into, straight=False)
    if found is None:
        raise RuntimeError("members that were read whole have been looked at")
    return found


def read_sample(reader: ShardReader, row: int, tokenizer: CaptionTokenizer, limit: int) -> Sample:
    """Returns one sample of a shard, with its `limit` most confident regions."""
    regions = reader.regions(row, limit)
    return _sample((reader, row), tokenizer.encode(reader.caption(row))[0], regions.feat,
                   _converted(_arrays(regions)))


def _read(wanted: Sequence[Place | Sample], tokenizer: CaptionTokenizer, limit: int, into: NDArray[Any],
          straight: bool) -> list[Sample | UsageError] | None:
    """Returns what `read_samples` does, or None where one of the members that were read straight has wrong values."""
    found: dict[int, Sample | UsageError] = {}
    words: dict[int, list[int]] = {}
    alike: dict[Shape, list[tuple[int, Place, Straight]]] = {}
    used = 0
    for number, one in enumerate(wanted):
        if isinstance(one, Sample):
            room = into[used:used + len(one.features)]
            room[:] = one.features
            found[number] = dataclasses.replace(one, features=room)
            used += len(room)
            continue
        reader, row = one
        try:
            words[number] = tokenizer.encode(reader.caption(row))[0]
            member = reader.straight(row, limit, into[used:]) if straight else None
            if member is None:
                regions = reader.regions(row, limit, into[used:])
                found[number] = _sample(one, words[number], regions.feat, _converted(_arrays(regions)))
                used += len(regions)
            else:
                alike.setdefault(member.shape, []).append((number, one, member))
                used += len(member.features)
        except StoreUsageError:
            raise
        except UsageError as error:
            found[number] = error
    for members in alike.values():
        arrays = stacked([member for _, _, member in members])
        if arrays is None:
            return None
        converted = _converted(arrays)
        for which, (number, place, member) in enumerate(members):
            found[number] = _sample(place, words[number], member.features,
                                    {name: array[which] for name, array in converted.items()})
    return [found[number] for number in range(len(wanted))]


def _arrays(regions: Regions) -> dict[str, NDArray[Any]]:
    return {field.name: array for field in dataclasses.fields(regions)
            if (array := getattr(regions, field.name)) is not None}


def _converted(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Returns what a sample holds of the stored arrays [..., regions, ...] of an image, or of several."""
    classes = np.maximum(arrays["cls"], 0).astype(np.int64)
    found = {"boxes": arrays["box"].astype(np.float32), "classes": classes,
             "scale": arrays["scale"].astype(np.float32) if "scale" in arrays else np.ones(classes.shape, np.float32),
             "zero": arrays["zero"].astype(np.float32) if "zero" in arrays else np.zeros(classes.shape, np.float32)}
    if "soft_id" in arrays:
        found |= {"soft_ids": np.maximum(arrays["soft_id"], 0).astype(np.int64),
                  "soft_p": arrays["soft_p"].astype(np.float32)}
    return found


def _sample(place: Place, words: list[int], features: NDArray[Any], arrays: Mapping[str, NDArray[Any]]) -> Sample:
    reader, row = place
    key, (image_hash, group_hash) = reader.key(row), reader.hashes(row)
    return Sample(key=key, key_hash=key_hash(key), words=np.array(words, np.int64), features=features,
                  image_hash=image_hash, group_hash=group_hash, caption_hash=token_hash(words), **arrays)


def key_hash(key: str) -> int:
    """Returns the 64 bits of a key that masks are drawn from."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def token_hash(words: Sequence[int] | NDArray[np.int64]) -> int:
    """Returns 64 bits that are equal for token-identical captions (the index's hash is of the text)."""
    return int.from_bytes(hashlib.sha256(np.asarray(words, "<i8").tobytes()).digest()[:8], "big")
