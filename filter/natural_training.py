"""Fits filter/natural.py: ridge logistic regression by Newton's steps, and how it does on a source it never saw."""
from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from filter.decode import decode
from filter.held_out import balanced_accuracy, by_source, interval, pooled, stratified, wilson
from filter.labelled_images import Label
from filter.natural import bent
from filter.picture_statistics import FEATURES, SIDE, statistics

LARGE = 300                        # px; both sides above: what a build keeps, and what the figures are about
_RIDGE = 30.0                      # pull of the standardised weights to 0: few labels, many features


@dataclasses.dataclass(frozen=True, slots=True)
class Examples:
    """What training reads: a row an image that was found and decodes."""

    values: NDArray[np.float64]    # [N, F]
    targets: NDArray[np.int64]     # 1 natural, 0 nonnatural or nonlearnable
    sources: tuple[str, ...]
    kinds: tuple[str, ...]         # Label.label
    large: NDArray[np.bool_]       # both sides above LARGE
    broken: int                    # images that do not decode


def read_examples(files: Iterable[tuple[Label, bytes]]) -> Examples:
    """Returns the images measured; raises UsageError where they are all of one kind."""
    values, labels, large, broken = [], [], [], 0
    for label, data in files:
        decoded = decode(data, small=SIDE)
        if decoded.pixels is None:
            broken += 1
            continue
        values.append(statistics(decoded.pixels))
        labels.append(label)
        large.append(min(decoded.width, decoded.height) > LARGE)
    targets = np.array([int(label.label == "natural") for label in labels])
    if len(set(targets.tolist())) != 2:
        raise UsageError(f"{len(labels)} labelled images were found and decode, all of one kind; give natural and "
                         f"nonnatural ones, and the folders that hold them as --root")
    return Examples(np.array(values), targets, tuple(label.source for label in labels),
                    tuple(label.label for label in labels), np.array(large), broken)


def train_natural(examples: Examples) -> dict[str, Any]:
    """Returns the model that natural.json holds, with `seen`: how it does where it was not fitted."""
    value = _fit(examples, np.arange(len(examples.targets)))
    left_out = pooled(by_source(examples.sources), lambda rows, out: _judge(_fit(examples, rows), examples, out))
    figures = _figures(examples, left_out)
    value["seen"] = {"images": len(examples.targets), "natural": int(examples.targets.sum()),
                     "sources": len(set(examples.sources)), "large_left_out": figures}
    return value


def report_natural(examples: Examples) -> dict[str, Any]:
    """Returns the figures on images above LARGE: sources left out, stratified, and each source's own."""
    def fit(rows: NDArray[np.intp], out: NDArray[np.intp]) -> NDArray[np.float64]:
        return _judge(_fit(examples, rows), examples, out)

    left_out = pooled(by_source(examples.sources), fit)
    even = pooled(stratified(examples.targets), fit)
    return {"images": len(examples.targets), "large": int(examples.large.sum()), "broken": examples.broken,
            "sources": len(set(examples.sources)), "sources_left_out": _figures(examples, left_out),
            "stratified": _figures(examples, even), "each_source_left_out": _each(examples, left_out)}


def _figures(examples: Examples, judged: NDArray[np.float64]) -> dict[str, Any]:
    targets, called = examples.targets[examples.large], judged[examples.large]
    rejected = {kind: _share(judged <= 0.5, [large and one == kind
                                             for large, one in zip(examples.large, examples.kinds, strict=True)])
                for kind in sorted(set(examples.kinds) - {"natural"})}
    return {"balanced_accuracy": round(balanced_accuracy(targets, called), 4),
            "interval_95": interval(targets, called, balanced_accuracy),
            "natural_kept": _share(judged > 0.5, examples.large & (examples.targets == 1)), "rejected": rejected}


def _share(right: NDArray[np.bool_], among: Any) -> dict[str, Any]:
    chosen = right[np.array(among, dtype=bool)]
    count = int(chosen.sum())
    return {"right": count, "of": len(chosen), "share": round(count / max(len(chosen), 1), 4),
            "wilson_95": wilson(count, len(chosen))}


def _each(examples: Examples, judged: NDArray[np.float64]) -> dict[str, Any]:
    """Returns right and number of both kinds of every source, large images only."""
    right = (judged > 0.5) == (examples.targets == 1)
    told = {}
    for source in sorted(set(examples.sources)):
        here = examples.large & np.array([one == source for one in examples.sources])
        told[source] = {name: [int(right[here & (examples.targets == kind)].sum()),
                               int((here & (examples.targets == kind)).sum())]
                        for name, kind in (("natural", 1), ("other", 0))}
    return told


def _judge(value: dict[str, Any], examples: Examples, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    scaled = (examples.values[rows] - np.array(value["mean"])) / np.array(value["scale"])
    return 1 / (1 + np.exp(-np.clip(bent(scaled) @ np.array(value["weights"]) + value["bias"], -30, 30)))


def _weights(examples: Examples, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Both kinds weigh the same; in one kind a source weighs as the root of its images, for they are alike."""
    weight = np.zeros(len(rows))
    groups = [(examples.sources[row], int(examples.targets[row])) for row in rows]
    sizes = {group: groups.count(group) for group in set(groups)}
    for kind in (0, 1):
        here = np.array([target == kind for _, target in groups])
        weight[here] = [1 / math.sqrt(sizes[group]) for group in groups if group[1] == kind]
        weight[here] *= len(rows) / max(float(weight[here].sum()), 1e-9)
    return weight


def _fit(examples: Examples, rows: NDArray[np.intp]) -> dict[str, Any]:
    """Returns mean, scale, weights and bias, rounded."""
    x, y, weight = examples.values[rows], examples.targets[rows], _weights(examples, rows)
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    design = np.hstack([bent((x - mean) / scale), np.ones((len(x), 1))])
    ridge = np.diag([_RIDGE] * (design.shape[1] - 1) + [0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + ridge @ beta
        hessian = design.T @ (design * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]) + ridge
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if float(np.abs(step).max()) < 1e-6:
            break
    return {"features": list(FEATURES), "mean": np.round(mean, 6).tolist(), "scale": np.round(scale, 6).tolist(),
            "weights": np.round(beta[:-1], 6).tolist(), "bias": round(float(beta[-1]), 6)}


def natural_text(value: dict[str, Any]) -> str:
    """Returns a model as the JSON that filter/natural.py reads."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
