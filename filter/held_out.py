"""How good is a small model on what it never saw?  Folds by source or stratified, pooled predictions, intervals.

A source left out whole says what happens on the next site; a stratified fold says what the features can tell at best.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.intp]
Fit = Callable[[Rows, Rows], NDArray[np.float64]]      # (rows to learn from, rows to judge) -> P(1) of the latter
FOLDS = 10
_ROUNDS = 2000
_SEED = 1


def by_source(sources: Sequence[str]) -> NDArray[np.int64]:
    """Returns the fold [N] of each row: a source is a fold."""
    names = sorted(set(sources))
    return np.array([names.index(name) for name in sources])


def stratified(targets: NDArray[np.int64], folds: int = FOLDS) -> NDArray[np.int64]:
    """Returns the fold [N] of each row: both kinds spread evenly, by a seeded order."""
    fold = np.zeros(len(targets), dtype=np.int64)
    for kind in (0, 1):
        rows = np.random.default_rng(_SEED).permutation(np.flatnonzero(targets == kind))
        fold[rows] = np.arange(len(rows)) % folds
    return fold


def pooled(fold: NDArray[np.int64], fit: Fit) -> NDArray[np.float64]:
    """Returns P(1) [N], each row judged by a model that saw none of its fold."""
    judged = np.zeros(len(fold))
    for out in np.unique(fold):
        judged[fold == out] = fit(np.flatnonzero(fold != out), np.flatnonzero(fold == out))
    return judged


def balanced_accuracy(targets: NDArray[np.int64], judged: NDArray[np.float64]) -> float:
    """Returns the mean of both kinds' shares of right verdicts at P = 0.5."""
    called = judged > 0.5
    return float((called[targets == 1].mean() + (~called[targets == 0]).mean()) / 2)


def area_under_curve(targets: NDArray[np.int64], judged: NDArray[np.float64]) -> float:
    """Returns the chance that a 1 is judged above a 0, ties half: the area under the ROC curve."""
    order = np.argsort(judged, kind="stable")
    values = judged[order]
    first, last = np.searchsorted(values, values, "left"), np.searchsorted(values, values, "right")
    ranks = np.empty(len(values))
    ranks[order] = (first + last + 1) / 2
    ones = int(targets.sum())
    zeros = len(targets) - ones
    return float((ranks[targets == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def interval(targets: NDArray[np.int64], judged: NDArray[np.float64],
             figure: Callable[[NDArray[np.int64], NDArray[np.float64]], float]) -> tuple[float, float]:
    """Returns the bootstrap 95 % interval of a figure; each kind is drawn by itself, so both are always there."""
    random = np.random.default_rng(_SEED)
    kinds = [np.flatnonzero(targets == kind) for kind in (0, 1)]
    drawn = []
    for _ in range(_ROUNDS):
        rows = np.concatenate([random.choice(rows, len(rows)) for rows in kinds])
        drawn.append(figure(targets[rows], judged[rows]))
    low, high = np.quantile(drawn, [0.025, 0.975])
    return round(float(low), 4), round(float(high), 4)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Returns Wilson's 95 % interval of a share.

    >>> wilson(9, 10)
    (0.5958, 0.9821)
    """
    if not count:
        return 0.0, 1.0
    z, share = 1.959964, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5 / (1 + z * z / count)
    return round(centre - half, 4), round(centre + half, 4)
