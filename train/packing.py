"""Samples and a list of sequences in, one `Pack` out.

    rows = Rows.pairs(images=[0, 1], captions=[0, 0], matched=[1, 0])       # caption 0 with its own and with image 1
    pack = build_pack(samples, rows, special, capacity_for(samples, rows, special), no_masks(samples))

A sample is named by its place in `samples`, so scoring a cross product stores each region once.  Everything is index
arithmetic on whole arrays: no loop over tokens.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.inputs import (
    FIRST_WORD_POSITION,
    IMAGE_SEPARATOR_POSITION,
    SEGMENT_IMAGE,
    SEGMENT_TEXT,
    Pack,
)
from train.sequences import NOTHING, Capacity, Masks, Rows, Sample, SpecialTokens
from train.tags import Tags, keys_of, tags_of

__all__ = ["NOTHING", "Capacity", "Masks", "PackOverflow", "Rows", "Sample", "SpecialTokens", "build_pack",
           "capacity_for", "identities", "no_masks", "with_area"]


class PackOverflow(ValueError):
    """The sequences asked for do not fit the capacity: a planning bug, never bad data."""


def no_masks(samples: Sequence[Sample]) -> Masks:
    """Returns the masks that hide nothing."""
    words = _joined([sample.words for sample in samples], np.int64)
    regions = sum(len(sample.classes) for sample in samples)
    return Masks(words, np.zeros(len(words), bool), np.ones(regions, bool), np.zeros(regions, bool))


def capacity_for(samples: Sequence[Sample], rows: Rows, special: SpecialTokens) -> Capacity:
    """Returns the capacity that fits exactly these sequences, for whatever masks."""
    spans = _spans(samples, rows, special, tags_of(samples, special))
    return Capacity(tokens=int(spans.lengths.sum()), sequences=len(rows.images), words=int(spans.num_words.sum()),
                    regions=int(spans.regions.sum()), distinct=sum(len(sample.classes) for sample in samples),
                    masked_words=int(spans.pieces.sum()), masked_regions=int(spans.regions.sum()),
                    contrasts=len(rows.contrast_images), max_tokens=max(1, int(spans.lengths.max(initial=1))))


def build_pack(samples: Sequence[Sample], rows: Rows, special: SpecialTokens, capacity: Capacity,
               masks: Masks | None = None, features: torch.Tensor | None = None) -> Pack:
    """Returns the pack of `rows`; raises PackOverflow when a capacity is too small.

    `features`, [capacity.distinct, F], already holds those of the samples end to end, and zeros.
    Masked word pieces or regions beyond their capacity are left unmasked, last ones first.
    """
    masks, tags = masks or no_masks(samples), tags_of(samples, special)
    spans = _spans(samples, rows, special, tags)
    starts = _ends(spans.lengths) - spans.lengths                  # of each sequence in the stream
    has_image, has_text = rows.images != NOTHING, rows.captions != NOTHING
    # Mismatched pairs are masked too, but nothing of them is predicted (section 3.5).
    gated = rows.matched != 0 if masks.gated else np.ones(len(rows.matched), bool)
    total, count = int(spans.lengths.sum()), len(rows.images)

    # regions follow [CLS], or the token of the whole image; [SEP] follows them
    first_region, middle = starts + 1 + int(special.global_region), np.flatnonzero(has_image)
    after_regions = first_region + spans.regions
    of_row, within = _repeat(spans.regions)
    region_tokens = first_region[of_row] + within
    region_rows = spans.first_region[of_row] + within
    region_masked = masks.region_masked[region_rows] & rows.masked[of_row]
    region_predicted = np.flatnonzero(region_masked & gated[of_row])
    region_chosen = region_predicted[:capacity.masked_regions]
    region_visible = masks.region_visible[region_rows] | ~rows.masked[of_row]
    region_visible[region_predicted[capacity.masked_regions:]] = True

    # an image's tags, and a [SEP] of their own; hidden where a region of their class is to be predicted
    tag_row, tag_within = _repeat(spans.tags)
    tag_source, tagged = spans.first_tag[tag_row] + tag_within, np.flatnonzero(spans.tags)
    telling = np.isin(tags.keys, _masked_classes(samples, masks) if len(tags.keys) else ())
    tag_ids = np.where(rows.masked[tag_row] & telling[tag_source], special.mask, tags.ids[tag_source])

    # word pieces come after [CLS], or after the image
    piece_row, piece_within = _repeat(spans.pieces)
    text_start = starts + 1 + spans.image_tokens
    piece_tokens = text_start[piece_row] + piece_within
    piece_source = spans.first_piece[piece_row] + piece_within
    targets = _joined([sample.words for sample in samples], np.int64)[piece_source]
    piece_masked = masks.word_masked[piece_source] & rows.masked[piece_row]
    predicted = np.flatnonzero(piece_masked & gated[piece_row])
    chosen = predicted[:capacity.masked_words]
    piece_ids = np.where(rows.masked[piece_row], masks.word_inputs[piece_source], targets)
    beyond = predicted[capacity.masked_words:]
    piece_ids[beyond] = targets[beyond]

    # [CLS], the [SEP] after the regions, tags with theirs, the [SEP] after the text, its pieces
    last = np.flatnonzero(has_text)
    word_tokens = np.concatenate([starts, after_regions[middle], after_regions[tagged] + 1 + spans.tags[tagged],
                                  after_regions[tag_row] + 1 + tag_within, text_start[last] + spans.pieces[last],
                                  piece_tokens])
    word_ids = np.concatenate([np.full(count, special.cls), np.full(len(middle) + len(tagged), special.sep), tag_ids,
                               np.full(len(last), special.sep), piece_ids])
    word_positions = np.concatenate([np.zeros(count, np.int64), np.full(len(middle), IMAGE_SEPARATOR_POSITION),
                                     FIRST_WORD_POSITION + spans.tags[tagged], FIRST_WORD_POSITION + tag_within,
                                     FIRST_WORD_POSITION + spans.pieces[last], FIRST_WORD_POSITION + piece_within])
    word_segments = np.concatenate([np.full(count + len(middle) + len(tagged) + len(tag_ids), SEGMENT_IMAGE),
                                    np.full(len(last) + len(piece_ids), SEGMENT_TEXT)])
    source = np.empty(total, np.int64)
    source[word_tokens] = np.arange(len(word_tokens))
    source[region_tokens] = capacity.words + np.arange(len(region_tokens))
    if special.global_region:
        source[starts[middle] + 1] = capacity.words + capacity.regions + middle
    boxes = _joined([sample.boxes for sample in samples], np.float32).reshape(-1, 4)
    contrasted = rows.images[rows.contrast_images]
    fit = _Fit(capacity)
    pack = Pack(
        token_source=fit(source, capacity.tokens, "tokens"),
        cu_seqlens=_starts_with_tiles(spans.lengths, capacity),
        first_tokens=fit(starts, capacity.sequences, "sequences"),
        word_ids=fit(word_ids, capacity.words, "words"),
        word_positions=fit(word_positions, capacity.words, "words"),
        word_segments=fit(word_segments, capacity.words, "words"),
        features=fit(_features(samples), capacity.distinct, "distinct") if features is None else features,
        scale=fit(_joined([sample.scale for sample in samples], np.float32), capacity.distinct, "distinct"),
        zero=fit(_joined([sample.zero for sample in samples], np.float32), capacity.distinct, "distinct"),
        geometry=fit(with_area(boxes), capacity.distinct, "distinct"),
        classes=fit(_joined([sample.classes for sample in samples], np.int64), capacity.distinct, "distinct"),
        soft_ids=fit(_soft([sample.soft_ids for sample in samples], samples, capacity.soft, np.int64),
                     capacity.distinct, "distinct"),
        soft_p=fit(_soft([sample.soft_p for sample in samples], samples, capacity.soft, np.float32),
                   capacity.distinct, "distinct"),
        region_rows=fit(region_rows, capacity.regions, "regions"),
        region_visible=fit(region_visible.astype(np.float32), capacity.regions, "regions"),
        region_sequences=(fit(of_row, capacity.regions, "regions") if special.global_region
                          else torch.empty(0, dtype=torch.int64)),
        masked_word_tokens=fit(piece_tokens[chosen], capacity.masked_words, "masked_words"),
        masked_word_targets=fit(targets[chosen], capacity.masked_words, "masked_words"),
        masked_word_weights=fit(np.ones(len(chosen), np.float32), capacity.masked_words, "masked_words"),
        masked_region_tokens=fit(region_tokens[region_chosen], capacity.masked_regions, "masked_regions"),
        masked_region_rows=fit(region_rows[region_chosen], capacity.masked_regions, "masked_regions"),
        masked_region_weights=fit(np.ones(len(region_chosen), np.float32), capacity.masked_regions, "masked_regions"),
        matched=fit((rows.matched == 1).astype(np.float32), capacity.sequences, "sequences"),
        itm_weights=fit((rows.matched != NOTHING).astype(np.float32), capacity.sequences, "sequences"),
        contrast_images=fit(rows.contrast_images, capacity.contrasts, "contrasts"),
        contrast_texts=fit(rows.contrast_texts, capacity.contrasts, "contrasts"),
        contrast_weights=fit(np.ones(len(rows.contrast_images), np.float32), capacity.contrasts, "contrasts"),
        contrast_ids=fit(identities(samples)[contrasted], capacity.contrasts, "contrasts"),
        tokens=total, sequences=count, words=len(word_ids), regions=len(region_rows),
        distinct=len(boxes), masked_words=len(chosen), masked_regions=len(region_chosen),
        contrasts=len(rows.contrast_images), longest=capacity.max_tokens)
    return pack


def _soft(arrays: Sequence[NDArray[Any] | None], samples: Sequence[Sample], width: int,
          dtype: type) -> NDArray[Any]:
    """Returns [r, width] of all samples laid end to end, 0 for a sample that has none."""
    if not (width and samples):
        return np.zeros((sum(len(sample.classes) for sample in samples), width), dtype)
    return _joined([np.zeros((len(sample.classes), width), dtype) if array is None else array
                    for array, sample in zip(arrays, samples, strict=True)], dtype)


def identities(samples: Sequence[Sample]) -> NDArray[np.int64]:
    """Returns [samples, 3] of image, group and caption hash, as signed 64-bit integers."""
    values = [(sample.image_hash, sample.group_hash, sample.caption_hash) for sample in samples]
    return np.array(values, dtype=np.uint64).reshape(-1, 3).view(np.int64)


def with_area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns [r, 5] x1, y1, x2, y2, area of normalised boxes (section 2.5)."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return np.concatenate([boxes, area[:, None]], axis=1)


@dataclasses.dataclass(frozen=True, slots=True)
class _Spans:
    """Sizes of each sequence, and where its parts start in the samples laid end to end."""

    regions: NDArray[np.int64]
    tags: NDArray[np.int64]
    pieces: NDArray[np.int64]
    first_region: NDArray[np.int64]
    first_tag: NDArray[np.int64]
    first_piece: NDArray[np.int64]
    image_tokens: NDArray[np.int64]    # from after [CLS] to the last [SEP] of the image's half; 0 without an image
    num_words: NDArray[np.int64]       # with [CLS] and [SEP], and tags with theirs
    lengths: NDArray[np.int64]


def _spans(samples: Sequence[Sample], rows: Rows, special: SpecialTokens, found: Tags) -> _Spans:
    regions_of = np.array([len(sample.classes) for sample in samples], np.int64)
    pieces_of = np.array([len(sample.words) for sample in samples], np.int64)
    has_image, has_text = rows.images != NOTHING, rows.captions != NOTHING
    regions = np.where(has_image, regions_of[rows.images], 0)
    tags = np.where(has_image, found.counts[rows.images], 0)
    pieces = np.where(has_text, pieces_of[rows.captions], 0)
    image_words = has_image + tags + (tags > 0)
    image_tokens = image_words + regions + has_image * int(special.global_region)
    text_words = has_text + pieces
    return _Spans(regions, tags, pieces, (_ends(regions_of) - regions_of)[rows.images],
                  (_ends(found.counts) - found.counts)[rows.images], (_ends(pieces_of) - pieces_of)[rows.captions],
                  image_tokens, 1 + image_words + text_words, 1 + image_tokens + text_words)


def _masked_classes(samples: Sequence[Sample], masks: Masks) -> NDArray[np.int64]:
    """Returns the keys of the classes that a region of each sample must be told by: a tag must not tell them."""
    classes = _joined([sample.classes for sample in samples], np.int64)
    owner = np.repeat(np.arange(len(samples)), [len(sample.classes) for sample in samples])
    return keys_of(owner[masks.region_masked], classes[masks.region_masked])


def _ends(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(lengths)


def _repeat(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Returns for lengths [2, 3] the owners 0 0 1 1 1 and the places within 0 1 0 1 2."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    return owner, np.arange(len(owner)) - (_ends(lengths) - lengths)[owner]


def _joined(arrays: Sequence[NDArray[Any]], dtype: type) -> NDArray[Any]:
    return np.concatenate(arrays).astype(dtype, copy=False) if arrays else np.empty(0, dtype)


def _features(samples: Sequence[Sample]) -> NDArray[Any]:
    """Returns [u, F] u8 or f16, as they are stored; f16 holds every u8 exactly where both are in one pack."""
    return np.concatenate([sample.features for sample in samples]) if samples else np.empty((0, 0), np.uint8)


def _starts_with_tiles(lengths: NDArray[np.int64], capacity: Capacity) -> torch.Tensor:
    """Returns [S+X+1] starts of sequences: the used ones, empty ones, and tiles over the unused tokens."""
    used = int(lengths.sum())
    tiles = -(-capacity.tokens // capacity.max_tokens)
    starts = np.full(capacity.sequences + tiles + 1, used, np.int32)
    starts[:len(lengths)] = _ends(lengths) - lengths
    ends = used + capacity.max_tokens * np.arange(1, tiles + 1)
    starts[capacity.sequences + 1:] = np.minimum(ends, capacity.tokens)
    return torch.from_numpy(starts)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fit:
    capacity: Capacity

    def __call__(self, values: NDArray[Any], size: int, name: str) -> torch.Tensor:
        if len(values) > size:
            raise PackOverflow(f"{len(values)} {name} in a pack of {size}")
        if len(values) == size:
            return torch.from_numpy(np.ascontiguousarray(values))
        padded = np.zeros((size, *values.shape[1:]), values.dtype)
        padded[:len(values)] = values
        return torch.from_numpy(padded)
