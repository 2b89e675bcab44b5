"""Negatives for ITM: captions change places inside one pack (section 3.4; streaming-safe, training.md section 4)."""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.packing import Rows, Sample, identities
from train.randomness import HARD_NOISE, HARD_PAIRS, IMAGE_NEGATIVES, NEGATIVES, mix, uniform

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
    forbidden = _forbidden(samples)
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


def harder_pairs(rows: Rows, samples: Sequence[Sample], itm: str, share: float, logits_II: NDArray[np.float64],
                 *counters: int) -> Rows:
    """Returns joint sequences where `share` of the wrong pairs are exchanged for ones that look right.

    `logits_II` says how much image i looks like caption j.  A wrong partner is drawn with the softmax of its row (ALBEF
    section 3.3), among those a sequence of this pack has as its wrong one; two sequences swap theirs.  So every half is
    shown as often as before, no forbidden pair arises, and labels and lengths of the whole pack stay.
    """
    count, forbidden = len(samples), _forbidden(samples)
    images, captions = rows.images.copy(), rows.captions.copy()
    if itm == "half":
        captions[:count] = _swapped(captions[:count], forbidden, share, logits_II, *counters)
    else:
        captions[count:2 * count] = _swapped(captions[count:2 * count], forbidden, share, logits_II, *counters)
        images[2 * count:3 * count] = _swapped(images[2 * count:3 * count], forbidden, share, logits_II.T,
                                               *counters, IMAGE_NEGATIVES)
    return dataclasses.replace(rows, images=images, captions=captions)


def _swapped(given: NDArray[np.int64], forbidden: NDArray[np.bool_], share: float, logits: NDArray[np.float64],
             *counters: int) -> NDArray[np.int64]:
    """Returns the permutation `given`, its wrong partners swapped towards high logits."""
    own, given = np.arange(len(given)), given.copy()
    # The largest of logits with Gumbel noise is a draw from their softmax; ones that are taken already are left out.
    noise = uniform(*counters, HARD_NOISE, own[:, None], own[None, :])
    wished = logits - np.log(-np.log(np.clip(noise, 2.0 ** -53, None)))
    free = given != own            # one that stayed with its own for want of a negative keeps it
    wanted = np.flatnonzero(free & (uniform(*counters, HARD_PAIRS, own) < share))
    for one in wanted[np.argsort(mix(*counters, HARD_PAIRS, len(own) + wanted), kind="stable")].tolist():
        others = np.flatnonzero(free)
        others = others[~forbidden[one, given[others]] & ~forbidden[others, given[one]] | (others == one)]
        best = others[np.argmax(wished[one, given[others]])]
        given[one], given[best] = given[best], given[one]
        free[one] = False
    return given


def _forbidden(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Returns [samples, samples]: same image, near-duplicate group or caption, or a caption the other's image has, too.
    """
    ids = identities(samples)
    same = ids[:, None, :] == ids[None, :, :]
    picture, caption = same[..., :2].any(axis=-1), same[..., 2]
    if picture.sum() > len(samples):       # a picture is here with several captions: none of them is wrong for it
        told = picture.astype(np.float32) @ caption.astype(np.float32) > 0
        caption = told | told.T
    return np.asarray(picture | caption)
