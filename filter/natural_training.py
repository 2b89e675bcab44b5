"""Fits filter/natural.py: ridge logistic regression by Newton's steps, and how it does on a source it never saw."""
from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from filter.decode import decode
from filter.natural import FEATURES, SIDE, statistics

_RIDGE = 3.0                       # pull of the standardised weights to 0: few labels, many features


def read_labels(table: str, root: str) -> list[tuple[str, str]]:
    """Returns (path, label) of a CSV with the columns path and label (natural, nonnatural); paths relative to root."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"path", "label"} <= rows[0].keys():
        raise UsageError(f"{table}: no columns path and label; the label is natural or nonnatural")
    wrong = {row["label"] for row in rows} - {"natural", "nonnatural"}
    if wrong:
        raise UsageError(f"{table}: label {sorted(wrong)[0]!r}; it is natural or nonnatural")
    return [(str(pathlib.Path(root) / row["path"]), row["label"]) for row in rows]


def train_natural(rows: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Returns the model that natural.json holds, with `seen`: images, and accuracy with each source left out in turn.

    A source is sites/NAME, captions/NAME or fixtures/NAME of a path, else the image's folder (they are alike).
    """
    features, labels, sources = [], [], []
    for path, label in rows:
        try:
            data = pathlib.Path(path).read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: a labelled image that cannot be read ({error.strerror}); "
                             f"correct its row or --root") from error
        decoded = decode(data, small=SIDE)
        if decoded.pixels is None:
            continue
        features.append(statistics(decoded.pixels))
        labels.append(1.0 if label == "natural" else 0.0)
        sources.append(_source(path))
    if len(set(labels)) != 2:
        raise UsageError("the labelled images that decode are all of one kind; give natural and nonnatural ones")
    x, y = np.array(features), np.array(labels)
    value = _fit(x, y)
    left_out = {source: _left_out(x, y, np.array([name == source for name in sources])) for source in set(sources)}
    right = sum(sum(pair) for pair in left_out.values())
    naturals = sum(pair[0] for pair in left_out.values())
    value["seen"] = {"images": len(y), "natural": int(y.sum()), "sources": len(left_out),
                     "accuracy_left_out": round(right / len(y), 4),
                     "natural_kept_left_out": round(naturals / float(y.sum()), 4)}
    return value


def _source(path: str) -> str:
    parts = pathlib.Path(path).parts
    for marker in ("sites", "captions", "fixtures"):
        if marker in parts:
            return "/".join(parts[parts.index(marker):][:2])
    return str(pathlib.Path(path).parent)


def _left_out(x: NDArray[np.float64], y: NDArray[np.float64], out: NDArray[np.bool_]) -> tuple[int, int]:
    """Returns (naturals called natural, non-naturals called so) among the rows that were left out."""
    value = _fit(x[~out], y[~out])
    scaled = np.clip((x[out] - np.array(value["mean"])) / np.array(value["scale"]), -4, 4)
    called = scaled @ np.array(value["weights"]) + value["bias"] > 0
    return int((called & (y[out] == 1)).sum()), int((~called & (y[out] == 0)).sum())


def _fit(x: NDArray[np.float64], y: NDArray[np.float64]) -> dict[str, Any]:
    """Returns mean, scale, weights and bias, rounded; both kinds weigh the same."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-3
    design = np.hstack([np.clip((x - mean) / scale, -4, 4), np.ones((len(x), 1))])
    weight = np.where(y == 1, 0.5 / max(y.mean(), 1e-9), 0.5 / max(1 - y.mean(), 1e-9))
    ridge = np.diag([_RIDGE] * x.shape[1] + [0.0])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + ridge @ beta
        hessian = design.T @ (design * (weight * np.maximum(p * (1 - p), 1e-6))[:, None]) + ridge
        step = np.linalg.solve(hessian, gradient)
        beta -= step
        if float(np.abs(step).max()) < 1e-9:
            break
    return {"features": list(FEATURES), "mean": np.round(mean, 6).tolist(), "scale": np.round(scale, 6).tolist(),
            "weights": np.round(beta[:-1], 6).tolist(), "bias": round(float(beta[-1]), 6)}


def natural_text(value: dict[str, Any]) -> str:
    """Returns a model as the JSON that filter/natural.py reads."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"
