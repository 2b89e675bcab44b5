"""Is an image like a photograph?  A logistic model over fixed-size pixel statistics; no weights to download.

Paper section 1.2: images that are non-natural (drawings, screenshots, logos) or that nothing can be learnt from are
rejected.  The coefficients in data/natural.json come from filter/natural_training.py, with the accuracy that was seen
when they were fitted.
"""
from __future__ import annotations

import functools
import json
import math
import pathlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from filter.picture_statistics import FEATURES, SIDE, statistics

__all__ = ["DATA", "FEATURES", "SIDE", "bent", "model", "natural_probability"]
DATA = pathlib.Path(__file__).parent / "data" / "natural.json"
_BENDS = (-0.7, 0.0, 0.7)          # deviations from the mean, where a feature's slope may change
_CAP = 4.0                         # deviations; beyond, one feature says no more


def bent(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns standardised features [..., F] with their parts above each bend behind them, [..., 4 F]."""
    capped = np.clip(scaled, -_CAP, _CAP)
    return np.concatenate([capped, *(np.maximum(capped - bend, 0) for bend in _BENDS)], axis=-1)


@functools.cache
def model() -> dict[str, Any]:
    """Returns the shipped model: mean, scale (one each a feature), weights (four each), bias, how it was fitted."""
    value = json.loads(DATA.read_text(encoding="utf-8"))
    if value["features"] != list(FEATURES):
        raise ValueError(f"{DATA} was fitted on other features; run `imagebert scorer train-natural`")
    return value


@functools.cache
def _arrays() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    value = model()
    return np.array(value["mean"]), np.array(value["scale"]), np.array(value["weights"])


def natural_probability(pixels: Image.Image) -> float:
    """Returns P(like a photograph) in [0, 1] of an RGB image."""
    mean, scale, weights = _arrays()
    logit = math.fsum((bent((statistics(pixels) - mean) / scale) * weights).tolist()) + model()["bias"]
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
