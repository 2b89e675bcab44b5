"""Folds, pooled predictions and their figures, against what can be worked out by hand."""
from __future__ import annotations

import numpy as np

from filter.held_out import area_under_curve, balanced_accuracy, by_source, interval, pooled, stratified

TARGETS = np.array([0, 0, 1, 1])


def test_area_under_curve_counts_pairs_with_ties_half():
    assert area_under_curve(TARGETS, np.array([0.1, 0.4, 0.35, 0.8])) == 0.75
    assert area_under_curve(TARGETS, np.zeros(4)) == 0.5


def test_balanced_accuracy_weighs_both_kinds_alike():
    assert balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0.1, 0.2, 0.9, 0.9])) == (2 / 3 + 1) / 2


def test_a_row_is_judged_by_a_model_that_saw_none_of_its_fold():
    fold = by_source(["b", "a", "b", "c"])
    seen = pooled(fold, lambda rows, out: np.full(len(out), float(len(rows))))
    assert fold.tolist() == [1, 0, 1, 2] and seen.tolist() == [2.0, 3.0, 2.0, 3.0]


def test_strata_are_even_and_the_interval_holds_the_figure():
    targets = np.array([0] * 60 + [1] * 40)
    fold = stratified(targets, 10)
    assert all(((fold == n) & (targets == 1)).sum() == 4 for n in range(10))
    judged = np.linspace(0, 1, 100)
    low, high = interval(targets, judged, balanced_accuracy)
    assert low <= balanced_accuracy(targets, judged) <= high
    assert interval(targets, judged, balanced_accuracy) == (low, high)
