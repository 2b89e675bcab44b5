"""What a pack is built from: samples, the sequences they form, what is masked in them, and how much room there is."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOTHING = -1        # in Rows.images and Rows.captions: this half is absent; in Rows.matched: no label


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """One image with its caption, as the trainer holds it."""

    key: str
    key_hash: int                  # 64-bit: what masks are drawn from
    words: NDArray[np.int64]       # [w] WordPiece ids without [CLS] and [SEP]
    features: NDArray[Any]         # [r, F] u8 or f16
    scale: NDArray[np.float32]     # [r]
    zero: NDArray[np.float32]      # [r]
    boxes: NDArray[np.float32]     # [r, 4] x1 y1 x2 y2 in [0, 1]
    classes: NDArray[np.int64]     # [r]
    image_hash: int                # 64-bit each, from the shard index: equal ones are never negatives of each other
    group_hash: int
    caption_hash: int
    soft_ids: NDArray[np.int64] | None = None      # [r, 8] most likely classes, where they are stored and asked for
    soft_p: NDArray[np.float32] | None = None      # [r, 8] and their probabilities


@dataclasses.dataclass(frozen=True, slots=True)
class SpecialTokens:
    """Ids of the tokens the layout needs, and what an image shows beside its regions."""

    cls: int
    sep: int
    mask: int
    vocab_size: int
    never_drawn: tuple[int, ...] = ()   # [PAD], [UNK], [CLS], [SEP], [MASK]: no random replacement is one of these
    global_region: bool = False    # whether one more token stands for the whole image
    tag_room: int = 0              # most word pieces of an image's tags (train/tags.py); 0 shows none
    tags: tuple[tuple[int, ...], ...] = ()   # word pieces of every class's name


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The sequences of a pack, in order; arrays of one length."""

    images: NDArray[np.int64]      # whose regions, or NOTHING
    captions: NDArray[np.int64]    # whose words, or NOTHING
    matched: NDArray[np.int64]     # 1, 0 or NOTHING
    masked: NDArray[np.bool_]      # whether the masks apply to this sequence
    contrast_images: NDArray[np.int64]   # [k] row of an image-only sequence ...
    contrast_texts: NDArray[np.int64]    # [k] ... and of the text-only sequence that belongs to it

    @staticmethod
    def pairs(images: Sequence[int] | NDArray[np.int64], captions: Sequence[int] | NDArray[np.int64],
              matched: Sequence[int] | NDArray[np.int64] | None = None, masked: bool = False) -> Rows:
        """Returns joint sequences (image i with caption j); without `matched` they carry no label."""
        count = len(images)
        labels = np.full(count, NOTHING) if matched is None else np.asarray(matched)
        none = np.empty(0, np.int64)
        return Rows(np.asarray(images, np.int64), np.asarray(captions, np.int64), labels.astype(np.int64),
                    np.full(count, masked), none, none)

    @staticmethod
    def singles(count: int) -> Rows:
        """Returns an image-only and a text-only sequence of each of `count` samples, contrasted with each other."""
        each, none = np.arange(count), np.full(count, NOTHING)
        return Rows(np.concatenate([each, none]), np.concatenate([none, each]), np.full(2 * count, NOTHING),
                    np.zeros(2 * count, bool), each, each + count)

    def and_then(self, other: Rows) -> Rows:
        """Returns these sequences followed by the other ones."""
        shift = len(self.images)
        return Rows(np.concatenate([self.images, other.images]), np.concatenate([self.captions, other.captions]),
                    np.concatenate([self.matched, other.matched]), np.concatenate([self.masked, other.masked]),
                    np.concatenate([self.contrast_images, other.contrast_images + shift]),
                    np.concatenate([self.contrast_texts, other.contrast_texts + shift]))


@dataclasses.dataclass(frozen=True, slots=True)
class Masks:
    """What is masked in the words and regions of all samples, laid end to end in the samples' order."""

    word_inputs: NDArray[np.int64]       # what the model sees
    word_masked: NDArray[np.bool_]       # what it must predict
    region_visible: NDArray[np.bool_]    # whether the model sees the feature
    region_masked: NDArray[np.bool_]     # what it must predict
    gated: bool = True                   # nothing is predicted in a mismatched pair (section 3.5)


@dataclasses.dataclass(frozen=True, slots=True)
class Capacity:
    """Sizes of a pack's tensors (the letters of model/inputs.py)."""

    tokens: int
    sequences: int
    words: int
    regions: int
    distinct: int
    masked_words: int
    masked_regions: int
    contrasts: int
    max_tokens: int                # of one sequence
    soft: int = 0                  # most likely classes of a region
