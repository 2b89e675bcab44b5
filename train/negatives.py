"""Negatives for ITM: captions change places inside one pack (section 3.4; streaming-safe, training.md section 4)."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.packing import Rows, Sample, identities
from train.randomness import IMAGE_NEGATIVES, NEGATIVES, mix, uniform

_ROUNDS = 4


def pairs_for_itm(samples: Sequence[Sample], itm: str, probability: float, *counters: int) -> tuple[Rows, int]:
    """Returns the joint sequences of a pack with their labels, masked, and how many negatives were not to be had.

    `half`: each image once, with its own caption or, with `probability`, another's.  `triple`: each pair, each image
    with another's caption, each caption with another's image, 1:1:1 (the wording of section 3.4).  Negatives are masked
    like positives, so that ITM cannot read its label off the masks (section 3.5).
    """
    own = np.arange(len(samples))
    if itm == "half":
        captions, stayed = draw_captions(samples, probability, *counters)
        return Rows.pairs(own, captions, captions == own, masked=True), stayed
    captions, without_caption = draw_captions(samples, 1.0, *counters)
    images, without_image = draw_captions(samples, 1.0, *counters, IMAGE_NEGATIVES)
    shown, told = np.concatenate([own, own, images]), np.concatenate([own, captions, own])
    return Rows.pairs(shown, told, shown == told, masked=True), without_caption + without_image


def draw_captions(samples: Sequence[Sample], probability: float, *counters: int) -> tuple[NDArray[np.int64], int]:
    """Returns for each image whose caption it gets, and how many stayed positive for want of a negative.

    Each sample is drawn with `probability`; the captions of the drawn ones are permuted among them, so a caption is a
    negative as often as an image is.  None gets a caption of its own image, of its near-duplicate group, or one that
    is token-identical to its own.
    """
    count = len(samples)
    own = np.arange(count)
    captions = own.copy()
    chosen = np.flatnonzero(uniform(*counters, NEGATIVES, own) < probability)
    if not len(chosen):
        return captions, 0
    ids = identities(samples)
    forbidden = (ids[:, None, :] == ids[None, :, :]).any(axis=-1)
    # A cycle through the drawn samples in random order, then swaps where a neighbour is forbidden.
    order = chosen[np.argsort(mix(*counters, NEGATIVES, count + chosen), kind="stable")]
    given = np.roll(order, -1)
    for _ in range(_ROUNDS):
        for place in np.flatnonzero(forbidden[order, given]):
            swaps = np.flatnonzero(~forbidden[order[place], given] & ~forbidden[order, given[place]])
            if len(swaps):
                other = swaps[0]
                given[place], given[other] = given[other], given[place]
        if not forbidden[order, given].any():
            break
    # Who still has a forbidden caption keeps its own; the one who was to get that takes the forbidden one instead.
    while True:
        left = np.flatnonzero(forbidden[order, given] & (order != given))
        if not len(left):
            break
        place = left[0]
        taker = np.flatnonzero(given == order[place])[0]
        given[taker], given[place] = given[place], order[place]
    captions[order] = given
    return captions, int((order == given).sum())
