"""Detector tags as text: the names of an image's regions as word pieces beside them (Oscar; not in the paper).

They belong to the image's half of a sequence, after its [SEP]: in a wrong pair a caption meets the tags of the other
image, and nothing of a caption's own tokens depends on them.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crawl import storage
from crawl.errors import UsageError
from shards.manifest import ShardSet
from train.sequences import Sample, SpecialTokens


@dataclasses.dataclass(frozen=True, slots=True)
class Tags:
    """The tags of samples, end to end."""

    counts: NDArray[np.int64]      # [samples] word pieces
    ids: NDArray[np.int64]         # [t]
    keys: NDArray[np.int64]        # [t] sample and class, as `keys_of` gives them


def tags_of(samples: Sequence[Sample], special: SpecialTokens) -> Tags:
    """Returns each class's name once, of the most confident region first; whole names, up to `tag_room` pieces."""
    counts = np.zeros(len(samples), np.int64)
    ids: list[int] = []
    classes: list[int] = []
    for number, sample in enumerate(samples if special.tags else ()):
        _, first = np.unique(sample.classes, return_index=True)
        left = special.tag_room
        for cls in sample.classes[np.sort(first)].tolist():
            name = special.tags[cls]
            if len(name) > left:
                break
            ids += name
            classes += [cls] * len(name)
            left -= len(name)
        counts[number] = special.tag_room - left
    owner = np.repeat(np.arange(len(samples)), counts)
    return Tags(counts, np.array(ids, np.int64), keys_of(owner, np.array(classes, np.int64)))


def keys_of(samples: NDArray[np.int64], classes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns one number for each pair of a sample and a class (classes are i16)."""
    return (samples << 16) + classes


def region_names(shards: ShardSet) -> tuple[str, ...]:
    """Returns the first name of each region class; raises UsageError where nobody gave names, or not of all."""
    if not shards.class_names:
        raise UsageError(f"{shards.directory}: the region classes have no names to show as tags; extract the regions "
                         f"with --class-names FILE, or --set model.tags=0")
    path = shards.path(shards.class_names)
    names = tuple(line.split(",")[0].strip() for line in storage.read_bytes(path).decode().splitlines())
    if len(names) != shards.num_classes:
        raise UsageError(f"{path}: {len(names)} names, the regions have {shards.num_classes} classes; give one a line")
    return names
