"""Wrong pairs for fine-tuning: the right pairs of a batch, each with P - 1 wrong ones (paper section 5.2).

    pack      the other side is another pair of the batch: its regions are in memory already
    random    the other side is drawn from the whole training set
    hard      of `pool` drawn so, those that the model scores highest now (UNITER's 399 of which 31 are kept)

Wrong captions for the image, wrong images for the caption, or half of each.  None is a right one: never the same image,
its near-duplicate group, or a caption that is token-identical to one the image has.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from train.gathering import token_hash
from train.items import Collection
from train.packing import Rows, Sample, identities
from train.randomness import IMAGE_NEGATIVES, NEGATIVES, WORD_IDS, below, mix

PACK, RANDOM, HARD = "pack", "random", "hard"
DRAWS = (PACK, RANDOM, HARD)
BOTH, CAPTIONS, IMAGES = "both", "captions", "images"
SIDES = (BOTH, CAPTIONS, IMAGES)
_SPARE = 16        # drawn beyond what is wanted, in place of those that are right pairs


@dataclasses.dataclass(frozen=True, slots=True)
class Pairs:
    """B right pairs and P - 1 wrong ones of each."""

    samples: tuple[Sample, ...]    # what `rows` names; the right pairs come first
    rows: Rows                     # P * B sequences, the B right ones first
    allowed: NDArray[np.bool_]     # [P, B]: whether it may be used as what it is


Score = Callable[[Sequence[Sample], Rows], NDArray[np.float32]]      # of each sequence


def split_sides(count: int, sides: str) -> tuple[int, int]:
    """Returns how many wrong captions and how many wrong images a right pair gets.

    >>> split_sides(3, "both"), split_sides(3, "images")
    ((2, 1), (0, 3))
    """
    captions = {BOTH: (count + 1) // 2, CAPTIONS: count, IMAGES: 0}[sides]
    return captions, count - captions


def from_pack(samples: Sequence[Sample], negatives: int, sides: str, *counters: int) -> Pairs:
    """Returns wrong pairs inside the batch, drawn without repetition."""
    count = len(samples)
    each = np.arange(count)
    ids = identities(samples)
    forbidden_BB = (ids[:, None, :] == ids[None, :, :]).any(axis=-1)
    images, captions = [each], [each]
    allowed = np.ones((1 + negatives, count), bool)
    for text_side, wanted in zip((True, False), split_sides(negatives, sides), strict=True):
        draws_BB = mix(*counters, NEGATIVES, int(text_side), each[:, None], each[None, :]) >> np.uint64(1)
        draws_BB[forbidden_BB] |= np.uint64(1 << 63)               # behind all others
        order_BB = np.argsort(draws_BB, axis=1, kind="stable")
        for place in range(wanted):
            others = order_BB[:, min(place, count - 1)]
            allowed[len(images)] = ~forbidden_BB[each, others] & (place < count)
            images.append(each if text_side else others)
            captions.append(others if text_side else each)
    matched = np.repeat([1, 0], [count, negatives * count])
    return Pairs(tuple(samples), Rows.pairs(np.concatenate(images), np.concatenate(captions), matched), allowed)


class TrainingSet:
    """A collection with what says which of its pairs are right ones."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        words, self._owner_C = collection.flat_captions()
        self._hash_C = np.array([token_hash(own) for own in words], np.uint64)
        self._first_I = np.searchsorted(self._owner_C, np.arange(len(collection)))
        self._counts_I = np.array([len(own) for own in collection.captions])
        self._ids_I2 = np.array([(sample.image_hash, sample.group_hash) for sample in collection.samples], np.uint64)

    def draw(self, samples: Sequence[Sample], numbers: NDArray[np.int64], negatives: int, sides: str,
             *counters: int) -> Pairs:
        """Returns wrong pairs from the whole set for right pairs of its images `numbers`, without repetition."""
        count = len(samples)
        drawn: list[Sample] = list(samples)
        images = np.tile(np.arange(count), (1 + negatives, 1))
        captions, allowed = images.copy(), np.ones((1 + negatives, count), bool)
        wrong_captions, wrong_images = split_sides(negatives, sides)
        for pair, (sample, number) in enumerate(zip(samples, numbers.tolist(), strict=True)):
            for first, wanted, side in ((1, wrong_captions, captions), (1 + wrong_captions, wrong_images, images)):
                on_text = side is captions
                own = (*counters, NEGATIVES if on_text else IMAGE_NEGATIVES, pair)
                others, wrong = self._others(sample, number, wanted, on_text, own)
                places = slice(first, first + len(others))
                side[places, pair] = len(drawn) + np.arange(len(others))
                allowed[places, pair] = wrong
                allowed[first + len(others):first + wanted, pair] = False
                drawn += [self._caption(one) if on_text else self._collection.samples[one] for one in others.tolist()]
        matched = np.repeat([1, 0], [count, negatives * count])
        return Pairs(tuple(drawn), Rows.pairs(images.ravel(), captions.ravel(), matched), allowed)

    def _others(self, sample: Sample, number: int, wanted: int, on_text: bool,
                counters: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Returns numbers of captions (`on_text`) or of images, wrong ones first, and which of them are wrong."""
        size = len(self._collection)
        # Steps of a length that has no divisor in common with the size pass through everything once.
        step = 1 + int(below(max(size - 1, 1), *counters, 0))
        while math.gcd(step, size) > 1:
            step += 1
        start = int(below(size, *counters, 1))
        images = (start + step * np.arange(min(size, wanted + _SPARE))) % size
        same = (self._ids_I2[images] == self._ids_I2[number]).any(axis=1)
        if on_text:
            among = mix(*counters, WORD_IDS, images) % self._counts_I[images].astype(np.uint64)
            found = self._first_I[images] + among.astype(np.int64)
            own = self._hash_C[self._first_I[number]:self._first_I[number] + self._counts_I[number]]
            wrong = ~same & ~np.isin(self._hash_C[found], own)
        else:
            found = images
            owners = self._owner_C[self._hash_C == np.uint64(sample.caption_hash)]
            wrong = ~same & ~np.isin(images, owners)
        order = np.argsort(~wrong, kind="stable")[:wanted]
        return found[order], wrong[order]

    def _caption(self, number: int) -> Sample:
        """Returns a caption without its image's regions."""
        image = int(self._owner_C[number])
        sample = self._collection.samples[image]
        words = self._collection.captions[image][number - int(self._first_I[image])]
        return dataclasses.replace(
            sample, words=words, caption_hash=int(self._hash_C[number]), features=sample.features[:0],
            scale=sample.scale[:0], zero=sample.zero[:0], boxes=sample.boxes[:0], classes=sample.classes[:0])


def hardest(pairs: Pairs, negatives: int, sides: str, score: Score) -> Pairs:
    """Returns the pairs with only the wrong ones that score highest, on each side; of equal ones those drawn first.

    Raises ValueError where fewer were drawn than are to be kept.
    """
    drawn, count = len(pairs.allowed) - 1, pairs.allowed.shape[1]
    if drawn < negatives:
        raise ValueError(f"{drawn} drawn wrong pairs, {negatives} to keep")
    scores_PB = score(pairs.samples, pairs.rows).reshape(1 + drawn, count)
    scores_PB = np.where(pairs.allowed, scores_PB, -np.inf)
    kept, first = [np.zeros((1, count), np.int64)], 1
    for pool, wanted in zip(split_sides(drawn, sides), split_sides(negatives, sides), strict=True):
        kept.append(first + np.argsort(-scores_PB[first:first + pool], axis=0, kind="stable")[:wanted])
        first += pool
    chosen_PB = np.concatenate(kept)
    each = np.arange(count)
    images, captions = (values.reshape(1 + drawn, count)[chosen_PB, each] for values in
                        (pairs.rows.images, pairs.rows.captions))
    samples, (images, captions) = _used(pairs.samples, count, images, captions)
    matched = np.repeat([1, 0], [count, negatives * count])
    return Pairs(samples, Rows.pairs(images.ravel(), captions.ravel(), matched), pairs.allowed[chosen_PB, each])


def _used(samples: tuple[Sample, ...], first: int, *numbers: NDArray[np.int64],
          ) -> tuple[tuple[Sample, ...], list[NDArray[np.int64]]]:
    """Returns the samples that are named, the first ones always, and the names they have now."""
    used = np.unique(np.concatenate([np.arange(first), *(one.ravel() for one in numbers)]))
    return tuple(samples[number] for number in used.tolist()), [np.searchsorted(used, one) for one in numbers]
