"""Trains the scorer `weak` (paper section 1.4): few shallow trees over the three groups of features, calibrated.

Each source weighs as the root of its rows, so that a synthetic web of thousands does not drown a site of fifty.
"""
from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from filter.held_out import area_under_curve, by_source, interval, pooled
from filter.labelled_pairs import LabelledPairs
from filter.pair_features import CROSS_FEATURES, FEATURES, IMAGE_FEATURES, TEXT_FEATURES
from filter.scoring import PRIOR_BIAS, PRIOR_WEIGHTS, weak_text

GROUPS = {"text": TEXT_FEATURES, "image": IMAGE_FEATURES, "cross": CROSS_FEATURES}
# One thread and no sampling, so that equal rows give an equal model.
_SETTINGS = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 8, "max_depth": 4, "min_data_in_leaf": 15,
    "lambda_l2": 5.0, "feature_fraction": 1.0, "bagging_fraction": 1.0, "seed": 1, "num_threads": 1,
    "deterministic": True, "force_row_wise": True, "verbosity": -1}
_ROUNDS = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """A model and how it was made."""

    model: str                         # filter.scoring.weak_text
    features: tuple[str, ...]          # those that gained in some fold; the others were left out
    rows: int
    positive: int
    area: float                        # under the curve, each source left out in turn; of all rows where there is one
    log_loss: float                    # of the calibrated held-out predictions


def train(pairs: LabelledPairs) -> Trained:
    """Returns the trees fitted to all pairs, over the features that gained where a source was left out."""
    names = gaining_features(pairs)
    held_out = left_out(pairs, names)
    slope, shift = _calibration(held_out, pairs.targets)
    trees = _grown(pairs, names, np.arange(len(pairs.targets)))
    p = np.clip(1 / (1 + np.exp(-(slope * _logit(held_out) + shift))), 1e-9, 1 - 1e-9)
    loss = float(-(pairs.targets * np.log(p) + (1 - pairs.targets) * np.log(1 - p)).mean())
    return Trained(weak_text(trees.model_to_string(), slope, shift), names, len(pairs.targets),
                   int(pairs.targets.sum()), round(area_under_curve(pairs.targets, held_out), 4), round(loss, 4))


def gaining_features(pairs: LabelledPairs) -> tuple[str, ...]:
    """Returns the features by which some tree split, in some fold, at a gain; all where rows are too few."""
    fold, gains = _folds(pairs), np.zeros(len(FEATURES))
    for out in np.unique(fold):
        gains += _grown(pairs, FEATURES, np.flatnonzero(fold != out)).feature_importance("gain")
    return tuple(name for name, gain in zip(FEATURES, gains, strict=True) if gain > 0) or FEATURES


def left_out(pairs: LabelledPairs, names: Sequence[str]) -> NDArray[np.float64]:
    """Returns P [N] before calibration, each source judged by trees that saw none of it."""
    columns = _columns(names)
    return pooled(_folds(pairs), lambda rows, out: np.asarray(
        _grown(pairs, names, rows).predict(pairs.values[out][:, columns], num_threads=1)))


def report_scorer(pairs: LabelledPairs, judged: Sequence[str]) -> dict[str, Any]:
    """Returns areas under the curve with intervals on the sources `judged`, each left out whole in turn.

    All features, each group alone and removed, each source; beside them the hand-set prior and a constant.
    """
    here = np.array([source in judged for source in pairs.sources])
    targets = pairs.targets[here]

    def told(p: NDArray[np.float64]) -> dict[str, Any]:
        return {"area": round(area_under_curve(targets, p[here]), 4),
                "interval_95": interval(targets, p[here], area_under_curve)}

    names = gaining_features(pairs)
    weak, prior = left_out(pairs, names), _prior(pairs)
    figures = {"weak, all features": told(weak), "prior": told(prior), "constant": told(np.zeros(len(here)))}
    for group, members in GROUPS.items():
        alone, rest = [name for name in names if name in members], [name for name in names if name not in members]
        figures[f"{group} alone"] = told(left_out(pairs, alone or members))
        figures[f"without {group}"] = told(left_out(pairs, rest or FEATURES))
    each = {}
    for source in sorted(set(judged)):
        rows = np.array([one == source for one in pairs.sources])
        one = pairs.targets[rows]
        both = len(set(one.tolist())) == 2
        each[source] = {"pairs": int(rows.sum()), "describe": int(one.sum()),
                        "weak": round(area_under_curve(one, weak[rows]), 4) if both else "one kind only",
                        "prior": round(area_under_curve(one, prior[rows]), 4) if both else "one kind only"}
    return {"rows": dict(sorted(Counter(pairs.sources).items())), "labels_not_found": pairs.unknown,
            "judged_on": sorted(set(judged)), "figures": figures, "with_cosine": "not run: no CLIP weights",
            "each_source_left_out": each, "removed_features": [name for name in FEATURES if name not in names]}


def _prior(pairs: LabelledPairs) -> NDArray[np.float64]:
    weights = np.array([PRIOR_WEIGHTS.get(name, 0.0) for name in FEATURES])
    return 1 / (1 + np.exp(-(PRIOR_BIAS + pairs.values @ weights)))


def _folds(pairs: LabelledPairs) -> NDArray[np.int64]:
    """A source is a fold; where there is but one, every third row is."""
    fold = by_source(pairs.sources)
    return fold if len(set(pairs.sources)) > 1 else np.arange(len(fold)) % 3


def _columns(names: Sequence[str]) -> list[int]:
    return [FEATURES.index(name) for name in names]


def _grown(pairs: LabelledPairs, names: Sequence[str], rows: NDArray[np.intp]) -> Any:
    import lightgbm

    sizes = Counter(pairs.sources[row] for row in rows)
    weight = [1 / math.sqrt(sizes[pairs.sources[row]]) for row in rows]
    data = lightgbm.Dataset(pairs.values[rows][:, _columns(names)], label=pairs.targets[rows],
                            weight=np.array(weight) * len(weight) / sum(weight), feature_name=list(names),
                            params={"verbosity": -1})
    return lightgbm.train(_SETTINGS, data, num_boost_round=_ROUNDS)


def _logit(p: NDArray[np.float64]) -> NDArray[np.float64]:
    held = np.clip(p, 1e-6, 1 - 1e-6)
    return np.log(held / (1 - held))


def _calibration(p: NDArray[np.float64], targets: NDArray[np.int64]) -> tuple[float, float]:
    """Returns slope and shift of the logit, fitted to held-out predictions (Platt 1999); the slope stays above 0."""
    x = np.stack([_logit(p), np.ones(len(p))], axis=1)
    beta = np.array([1.0, 0.0])
    for _ in range(50):
        q = 1 / (1 + np.exp(-np.clip(x @ beta, -30, 30)))
        hessian = x.T @ (x * np.maximum(q * (1 - q), 1e-6)[:, None]) + np.eye(2) * 1e-3
        beta -= np.linalg.solve(hessian, x.T @ (q - targets) + 1e-3 * (beta - [1.0, 0.0]))
    return round(max(float(beta[0]), 0.05), 6), round(float(beta[1]), 6)
