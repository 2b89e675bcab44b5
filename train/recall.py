"""Recall at k in both directions, against chance, with an interval: numpy only.

Shapes: I images, C captions, an image has one or several captions; `scores_IC` is higher for a better match.
A tie counts against the scorer (paper.md section 7), so a scorer that says nothing is never above chance.
"""
from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Integers = NDArray[np.int64]

KS = (1, 5, 10)
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text", "text_to_image"
DIRECTIONS = (IMAGE_TO_TEXT, TEXT_TO_IMAGE)
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class Recall:
    """One recall: a share of queries, what guessing gives, and how sure the number is."""

    direction: str                 # image_to_text, text_to_image
    k: int
    value: float                   # in [0, 1], over all queries of all folds
    chance: float
    low: float                     # 95 % bootstrap interval over images
    high: float
    queries: int
    fold_mean: float               # mean of the folds' own recalls
    fold_spread: float             # standard deviation between folds, 0 for one fold
    folds: int

    @property
    def name(self) -> str:
        """Returns e.g. `image_to_text/recall@1`."""
        return f"{self.direction}/recall@{self.k}"


@dataclasses.dataclass(frozen=True, slots=True)
class Ranks:
    """Where the right answer stood in one fold: 0 is best."""

    image_to_text_I: Integers      # best of the image's own captions; -1 for an image without a caption
    text_to_image_C: Integers
    image_of_caption: Integers


def ranks_of(scores_IC: Floats, image_of_caption: Sequence[int] | Integers) -> Ranks:
    """Returns pessimistic ranks; raises ValueError for a shape that does not fit or a score that is not finite."""
    owner_C = np.asarray(image_of_caption, dtype=np.int64)
    if scores_IC.ndim != 2 or owner_C.shape != scores_IC.shape[1:]:
        raise ValueError(f"scores of shape {scores_IC.shape} do not fit {owner_C.shape} captions")
    if owner_C.size and not (owner_C.min() >= 0 and owner_C.max() < len(scores_IC)):
        raise ValueError(f"image_of_caption names image {owner_C.max()} of {len(scores_IC)}")
    if not np.isfinite(scores_IC).all():
        raise ValueError("a score is not finite: the model diverged")
    own_IC = owner_C[None, :] == np.arange(len(scores_IC))[:, None]
    best_I = np.where(own_IC, scores_IC, -np.inf).max(axis=1, initial=-np.inf)
    image_to_text_I = ((scores_IC >= best_I[:, None]) & ~own_IC).sum(axis=1)
    image_to_text_I[~own_IC.any(axis=1)] = -1
    right_C = scores_IC[owner_C, np.arange(len(owner_C))]
    text_to_image_C = (scores_IC >= right_C[None, :]).sum(axis=0) - 1     # the right image itself is one of them
    return Ranks(image_to_text_I, text_to_image_C, owner_C)


def recall_at_k(scores_IC: Floats, image_of_caption: Sequence[int] | Integers,
                ks: Iterable[int] = KS) -> dict[str, float]:
    """Returns `image_to_text/recall@k` and `text_to_image/recall@k`; image to text counts any of its captions.

    >>> recall_at_k(np.array([[2.0, 1.0], [0.0, 1.0]]), [0, 1], ks=[1])
    {'image_to_text/recall@1': 1.0, 'text_to_image/recall@1': 0.5}
    """
    ranks = ranks_of(scores_IC, image_of_caption)
    asked_I = ranks.image_to_text_I[ranks.image_to_text_I >= 0]
    both = {IMAGE_TO_TEXT: asked_I, TEXT_TO_IMAGE: ranks.text_to_image_C}
    return {f"{direction}/recall@{k}": float((both[direction] < k).mean()) for direction in DIRECTIONS for k in ks}


def chance(image_of_caption: Sequence[int] | Integers, num_images: int, k: int) -> dict[str, float]:
    """Returns the recall at k of a random order, by direction.

    >>> chance([0, 0, 1, 1], 2, 1)
    {'image_to_text': 0.5, 'text_to_image': 0.5}
    """
    counts_I = np.bincount(np.asarray(image_of_caption, dtype=np.int64), minlength=num_images)
    total = int(counts_I.sum())
    own, images = np.unique(counts_I[counts_I > 0], return_counts=True)
    missed = [math.comb(total - int(n), k) / math.comb(total, k) if k <= total else 0.0 for n in own]
    to_text = 1.0 - float(np.average(missed, weights=images)) if len(own) else 0.0
    return {IMAGE_TO_TEXT: to_text, TEXT_TO_IMAGE: min(k, num_images) / num_images}


def summarise(folds: Sequence[Ranks], ks: Iterable[int] = KS, seed: int = 0) -> tuple[Recall, ...]:
    """Returns the recalls of one or several disjoint folds: over all queries with an interval, and fold by fold."""
    rows = []
    for direction in DIRECTIONS:
        for k in ks:
            hits, asked = zip(*(_hits_by_image(ranks, direction, k) for ranks in folds), strict=True)
            each = [float(hit.sum() / count.sum()) for hit, count in zip(hits, asked, strict=True)]
            guess = [chance(ranks.image_of_caption, len(ranks.image_to_text_I), k)[direction] for ranks in folds]
            hits_I, asked_I = np.concatenate(hits), np.concatenate(asked)
            low, high = bootstrap_interval(hits_I, asked_I, seed)
            rows.append(Recall(
                direction=direction, k=k, value=round(float(hits_I.sum() / asked_I.sum()), 6),
                chance=round(float(np.mean(guess)), 6), low=low, high=high, queries=int(asked_I.sum()),
                fold_mean=round(float(np.mean(each)), 6), folds=len(folds),
                fold_spread=round(float(np.std(each, ddof=1)), 6) if len(each) > 1 else 0.0))
    return tuple(rows)


def _hits_by_image(ranks: Ranks, direction: str, k: int) -> tuple[Integers, Integers]:
    images = len(ranks.image_to_text_I)
    if direction == IMAGE_TO_TEXT:
        asked_I = (ranks.image_to_text_I >= 0).astype(np.int64)
        return asked_I * (ranks.image_to_text_I < k), asked_I
    hits_C = (ranks.text_to_image_C < k).astype(np.int64)
    owner_C = ranks.image_of_caption
    return (np.bincount(owner_C[hits_C == 1], minlength=images), np.bincount(owner_C, minlength=images))


def bootstrap_interval(hits_I: Integers, asked_I: Integers, seed: int = 0,
                       resamples: int = _RESAMPLES) -> tuple[float, float]:
    """Returns the 95 % percentile interval of sum(hits) / sum(asked).

    Images are drawn, not captions: the five captions of one photograph are one piece of evidence.  The draws come
    from a counter-based generator, so the interval is the same on every machine.
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    images = len(hits_I)
    shares = np.empty(resamples)
    for row in range(resamples):
        drawn = generator.integers(0, images, size=images)
        shares[row] = hits_I[drawn].sum() / max(int(asked_I[drawn].sum()), 1)
    low, high = np.quantile(shares, (0.025, 0.975))
    return round(float(low), 6), round(float(high), 6)


def disjoint_folds(keys: Sequence[str], texts: Sequence[Iterable[str]], size: int, count: int) -> list[list[int]]:
    """Returns up to `count` disjoint folds of `size` indices each, in the order of a hash of the keys.

    Two images that share a caption (`texts[i]` are image i's, in the form that counts as equal) go to different
    folds: inside one fold neither the model nor a person could tell which of them is meant.  With fewer images than
    one fold the answer is a single fold, where such images stay together.
    """
    order = sorted(range(len(keys)), key=lambda index: (hashlib.sha256(keys[index].encode()).digest(), index))
    if len(order) <= size:
        return [order] if order else []
    folds: list[list[int]] = [[] for _ in range(count)]
    seen: list[set[str]] = [set() for _ in range(count)]
    for index in order:
        own = set(texts[index])
        for fold, taken in zip(folds, seen, strict=True):
            if len(fold) < size and not taken & own:
                fold.append(index)
                taken |= own
                break
    full = [fold for fold in folds if len(fold) == size]
    return full or [max(folds, key=len)]
