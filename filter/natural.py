"""Is an image like a photograph?  A logistic model over fixed-size pixel statistics; no weights to download.

Paper section 1.2: images that are non-natural (drawings, screenshots, logos) are rejected.  The coefficients in
data/natural.json come from filter/natural_training.py, with the accuracy seen when it was fitted.
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

SIDE = 128                         # px; every image is squeezed to SIDE x SIDE before it is measured
DATA = pathlib.Path(__file__).parent / "data" / "natural.json"
FEATURES = (
    "colours_4bit", "colours_5bit", "top_colour_share", "top8_colours_share", "white_share", "black_share",
    "border_top_share", "saturation_mean", "saturation_deviation", "grey_share", "luma_deviation", "luma_entropy",
    "flat_share", "soft_share", "hard_edge_share", "edge_kurtosis", "high_band_energy", "texture_floor",
    "row_repeat_share", "histogram_gaps", "channel_correlation", "aspect")


def statistics(pixels: Image.Image) -> NDArray[np.float64]:
    """Returns the values of FEATURES, float64 [22], of an RGB image; integer counts first, so equal on any machine."""
    width, height = pixels.size
    rgb = np.asarray(pixels.resize((SIDE, SIDE), Image.Resampling.BOX), dtype=np.int64)
    luma = (299 * rgb[..., 0] + 587 * rgb[..., 1] + 114 * rgb[..., 2] + 500) // 1000
    total = SIDE * SIDE
    four, five = _counts(rgb >> 4, 16), _counts(rgb >> 3, 32)
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]) >> 4
    high, low = rgb.max(axis=2), rgb.min(axis=2)
    saturation = (high - low) * 255 // np.maximum(high, 1)
    across, down = np.abs(np.diff(luma, axis=1)), np.abs(np.diff(luma, axis=0))
    steps = np.concatenate([across.ravel(), down.ravel()])
    laplace = np.abs(4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:])
    blocks = luma.reshape(SIDE // 8, 8, SIDE // 8, 8).transpose(0, 2, 1, 3).reshape(-1, 64)
    spread = np.sort(blocks.max(axis=1) - blocks.min(axis=1))
    bins = np.bincount(luma.ravel(), minlength=256)
    mean_step = float(steps.mean())
    values = (
        math.log1p(len(four)), math.log1p(len(five)), four[0] / total, float(four[:8].sum()) / total,
        float((low > 240).mean()), float((high < 24).mean()), _counts(border[None], 16)[0] / len(border),
        float(saturation.mean()) / 255, float(saturation.std()) / 255, float((high - low < 12).mean()),
        float(luma.std()) / 128, _entropy(bins), float((steps == 0).mean()), float(((steps > 0) & (steps < 8)).mean()),
        float((steps > 64).mean()), math.log1p(float(steps.std()) / (mean_step + 0.1)),
        math.log1p(float(laplace.mean())), math.log1p(float(spread[len(spread) // 5])),
        float((across.max(axis=1) == 0).mean()) + float((down.max(axis=0) == 0).mean()),
        float((bins[int(luma.min()):int(luma.max()) + 1] == 0).mean()), _correlation(rgb),
        abs(math.log(width / height)))
    return np.array(values, dtype=np.float64)


def _counts(quantised: NDArray[np.int64], levels: int) -> NDArray[np.int64]:
    """Returns how often each colour occurs, most common first."""
    codes = (quantised[..., 0] * levels + quantised[..., 1]) * levels + quantised[..., 2]
    counts = np.bincount(codes.ravel())
    return np.sort(counts[counts > 0])[::-1]


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _correlation(rgb: NDArray[np.int64]) -> float:
    """Of red and blue; in integers, without a matrix product (whose threads cost more than they give here)."""
    red, blue = rgb[..., 0].ravel(), rgb[..., 2].ravel()
    count, red_sum, blue_sum = red.size, int(red.sum()), int(blue.sum())
    covariance = count * int((red * blue).sum()) - red_sum * blue_sum
    variances = (count * int((red * red).sum()) - red_sum ** 2) * (count * int((blue * blue).sum()) - blue_sum ** 2)
    return covariance / (math.sqrt(variances) + 1.0)


@functools.cache
def model() -> dict[str, Any]:
    """Returns the shipped model: mean, scale, weights (one each a feature), bias, and how it was fitted."""
    value = json.loads(DATA.read_text(encoding="utf-8"))
    if value["features"] != list(FEATURES):
        raise ValueError(f"{DATA} was fitted on other features; run `imagebert scorer train-natural`")
    return value


def natural_probability(pixels: Image.Image) -> float:
    """Returns P(like a photograph) in [0, 1] of an RGB image."""
    value = model()
    scaled = (statistics(pixels) - np.array(value["mean"])) / np.array(value["scale"])
    logit = float(np.clip(scaled, -4, 4) @ np.array(value["weights"])) + value["bias"]
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, logit))))
