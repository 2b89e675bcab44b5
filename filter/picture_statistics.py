"""Numbers that tell a photograph from a drawing, a screenshot or a plain tile, over a picture of one fixed size.

Nothing here sees the file's size, its metadata or how large the picture was.  Everything is counted in integers first,
so the values are equal on any machine.
"""
from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 128                         # px; every image is squeezed to SIDE x SIDE before it is measured
_QUANTILES = (0.05, 0.35, 0.5, 0.65, 0.8, 0.95)
FEATURES = (
    "colours_4bit", "colours_5bit", "top_colour_share", "top8_colours_share", "white_share", "black_share",
    "border_top_share", "saturation_mean", "saturation_deviation", "grey_share", "luma_deviation", "luma_entropy",
    "flat_share", "soft_share", "hard_edge_share", "edge_kurtosis", "high_band_energy", "texture_floor",
    "row_repeat_share", "histogram_gaps", "channel_correlation",
    "upright_edge_share", *(f"block_spread_{round(100 * q)}" for q in _QUANTILES),
    "still_share", "calm_share", "quiet_share", "chroma_entropy", "blue_steps", "red_steps",
    *(f"pattern_{n}" for n in range(10)), *(f"coarse_pattern_{n}" for n in range(10)),
    "thin_dark", "thin_light", "dark_over_light", "thin_dark_share", "thin_light_share", "paper_share", "ink_share",
    "paper_colour_share", "paper_4_colours_share", "zigzag_across", "slope_across", "zigzag_down",
    "chroma_10", "chroma_50", "chroma_90", "vivid_share", "pure_colour_share")
Plane = NDArray[np.int16]


def statistics(pixels: Image.Image) -> NDArray[np.float64]:
    """Returns the values of FEATURES, float64 [len(FEATURES)], of an RGB image."""
    small = pixels.resize((SIDE, SIDE), Image.Resampling.BOX)
    luma = np.asarray(small.convert("L")).astype(np.int16)
    rgb = np.asarray(small).transpose(2, 0, 1).astype(np.int16)          # planes: each is read through quickly
    high, low = np.maximum(np.maximum(rgb[0], rgb[1]), rgb[2]), np.minimum(np.minimum(rgb[0], rgb[1]), rgb[2])
    across, down = luma[:, 1:] - luma[:, :-1], luma[1:] - luma[:-1]
    values = (*_colours(rgb, high, low), *_tones(luma, across, down), _correlation(rgb),
              *_edges(luma, across, down), *_chroma_steps(rgb, luma), *_patterns(luma), *_patterns(_halved(luma)),
              *_lines(luma), *_paper(rgb), *_zigzags(across, down), *_chroma(high, low))
    return np.array(values, dtype=np.float64)


def _colours(rgb: Plane, high: Plane, low: Plane) -> tuple[float, ...]:
    total = SIDE * SIDE
    four, five = _counts(rgb >> 4, 16), _counts(rgb >> 3, 32)
    border = np.concatenate([rgb[:, 0], rgb[:, -1], rgb[:, :, 0], rgb[:, :, -1]], axis=1) >> 4
    saturation = (high - low).astype(np.int32) * 255 // np.maximum(high, 1)
    return (math.log1p(len(four)), math.log1p(len(five)), int(four[0]) / total, int(four[:8].sum()) / total,
            _share(low > 240), _share(high < 24), int(_counts(border, 16)[0]) / border.shape[1],
            _mean(saturation) / 255, _deviation(saturation) / 255, _share(high - low < 12))


def _tones(luma: Plane, across: Plane, down: Plane) -> tuple[float, ...]:
    bins = np.bincount(luma.ravel(), minlength=256)
    steps = np.bincount(np.concatenate([np.abs(across).ravel(), np.abs(down).ravel()]), minlength=256)
    count, sizes = int(steps.sum()), np.arange(256)
    mean_step = int((steps * sizes).sum()) / count
    spread = math.sqrt(max(int((steps * sizes * sizes).sum()) / count - mean_step ** 2, 0.0))
    laplace = np.abs(4 * luma[1:-1, 1:-1] - luma[:-2, 1:-1] - luma[2:, 1:-1] - luma[1:-1, :-2] - luma[1:-1, 2:])
    repeats = (_share(np.abs(across).max(axis=1) == 0) + _share(np.abs(down).max(axis=0) == 0))
    return (_deviation(luma) / 128, _entropy(bins), int(steps[0]) / count, int(steps[1:8].sum()) / count,
            int(steps[65:].sum()) / count, math.log1p(spread / (mean_step + 0.1)), math.log1p(_mean(laplace)),
            math.log1p(_quantile(_block_spread(luma, 8), 0.2)), repeats,
            _share(bins[int(luma.min()):int(luma.max()) + 1] == 0))


def _correlation(rgb: Plane) -> float:
    """Of red and blue; in integers, without a matrix product (whose threads cost more than they give here)."""
    red, blue = rgb[0].ravel().astype(np.int64), rgb[2].ravel().astype(np.int64)
    count, red_sum, blue_sum = red.size, int(red.sum()), int(blue.sum())
    covariance = count * int((red * blue).sum()) - red_sum * blue_sum
    variances = (count * int((red * red).sum()) - red_sum ** 2) * (count * int((blue * blue).sum()) - blue_sum ** 2)
    return covariance / (math.sqrt(variances) + 1.0)


def _edges(luma: Plane, across: Plane, down: Plane) -> tuple[float, ...]:
    """Type and windows stand upright; a photograph is quiet in few places."""
    x, y = np.abs(across[:-1]), np.abs(down[:, :-1])
    strong = x + y > 24
    upright = int((strong & (8 * np.minimum(x, y) < np.maximum(x, y))).sum()) / max(int(strong.sum()), 1)
    spread, fine = _block_spread(luma, 8), _block_spread(luma, 4)
    return (upright, *(math.log1p(_quantile(spread, share)) for share in _QUANTILES),
            _share(fine == 0), _share(fine <= 2), _share(fine <= 6))


def _chroma_steps(rgb: Plane, luma: Plane) -> tuple[float, ...]:
    blue, red = rgb[2] - luma, rgb[0] - luma
    codes = ((blue + 256) >> 4) * 40 + ((red + 256) >> 4)
    return (_entropy(np.bincount(codes.ravel())), _mean(np.abs(blue[:, 1:] - blue[:, :-1])),
            _mean(np.abs(red[:, 1:] - red[:, :-1])))


def _patterns(luma: Plane) -> tuple[float, ...]:
    """Shares of local binary patterns: by how many of 8 neighbours are brighter, the ragged ones apart (Ojala 2002)."""
    centre = luma[1:-1, 1:-1] + 2
    ring = (luma[:-2, :-2], luma[:-2, 1:-1], luma[:-2, 2:], luma[1:-1, 2:], luma[2:, 2:], luma[2:, 1:-1],
            luma[2:, :-2], luma[1:-1, :-2])
    brighter = [(neighbour > centre).view(np.uint8) for neighbour in ring]
    number, changes = np.zeros_like(brighter[0]), np.zeros_like(brighter[0])
    for place, bit in enumerate(brighter):
        number += bit
        changes += bit ^ brighter[place - 1]
    counts = np.bincount(np.where(changes <= 2, number, 9).ravel(), minlength=10)
    return tuple(int(count) / number.size for count in counts)


def _lines(luma: Plane) -> tuple[float, ...]:
    """Ink is thin and dark on an even ground; what is thin in a photograph is as often light."""
    closed, opened = _eroded(_dilated(luma)), _dilated(_eroded(luma))
    dark, light = closed - luma, luma - opened
    more = math.log((_mean(dark) + 1) / (_mean(light) + 1))
    return (math.log1p(_mean(dark)), math.log1p(_mean(light)), more, _share(dark > 40), _share(light > 40),
            _commonest_tone(closed), _commonest_tone(opened))


def _paper(rgb: Plane) -> tuple[float, ...]:
    """Shares of the commonest colours once thin dark lines are filled: the paper that was drawn on."""
    counts = _counts(np.stack([_eroded(_dilated(plane)) for plane in rgb]) >> 4, 16)
    return int(counts[0]) / SIDE ** 2, int(counts[:4].sum()) / SIDE ** 2


def _zigzags(across: Plane, down: Plane) -> tuple[float, ...]:
    """Grain goes up and down from pixel to pixel, a gradient goes on."""
    x, y = np.sign(across), np.sign(down)
    along = x[:, 1:] * x[:, :-1]
    return _share(along < 0), _share(along > 0), _share(y[1:] * y[:-1] < 0)


def _chroma(high: Plane, low: Plane) -> tuple[float, ...]:
    chroma = high - low
    return (*(_quantile(chroma.ravel(), share) / 255 for share in (0.1, 0.5, 0.9)), _share(chroma > 160),
            _share((high == 255) & (low == 0)))


def _halved(luma: Plane) -> Plane:
    return (luma[::2, ::2] + luma[1::2, ::2] + luma[::2, 1::2] + luma[1::2, 1::2]) >> 2


def _dilated(plane: Plane) -> Plane:
    """The largest of 5 x 5 pixels; outside there is nothing."""
    return _ranked(_ranked(plane, np.maximum).T, np.maximum).T


def _eroded(plane: Plane) -> Plane:
    return _ranked(_ranked(plane, np.minimum).T, np.minimum).T


def _ranked(plane: Plane, pick: Any) -> Plane:
    best = plane.copy()
    for shift in (1, 2):
        pick(best[shift:], plane[:-shift], out=best[shift:])
        pick(best[:-shift], plane[shift:], out=best[:-shift])
    return best


def _block_spread(luma: Plane, side: int) -> Plane:
    """Largest less smallest of each block, one value a block."""
    columns = luma.reshape(SIDE // side, side, SIDE)
    high = columns.max(axis=1).reshape(-1, SIDE // side, side).max(axis=2)
    low = columns.min(axis=1).reshape(-1, SIDE // side, side).min(axis=2)
    return (high - low).ravel()


def _commonest_tone(luma: Plane) -> float:
    """Share of the 9 neighbouring tones that hold most."""
    sums = np.concatenate([[0], np.cumsum(np.bincount(luma.ravel(), minlength=264))])
    return int((sums[9:] - sums[:-9]).max()) / luma.size


def _counts(planes: Plane, levels: int) -> NDArray[np.int64]:
    """Returns how often each colour occurs, most common first."""
    codes = (planes[0].astype(np.int32) * levels + planes[1]) * levels + planes[2]
    counts = np.bincount(codes.ravel())
    return np.sort(counts[counts > 0])[::-1]


def _entropy(counts: NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


def _share(mask: NDArray[np.bool_]) -> float:
    return int(np.count_nonzero(mask)) / mask.size


def _mean(values: NDArray[Any]) -> float:
    return int(values.sum(dtype=np.int64)) / values.size


def _deviation(values: NDArray[Any]) -> float:
    wide = values.ravel().astype(np.int64)
    return math.sqrt(max(int((wide * wide).sum()) * wide.size - int(wide.sum()) ** 2, 0)) / wide.size


def _quantile(values: NDArray[Any], share: float) -> int:
    """The value at a share of the sorted values; one of them, never between two."""
    return int(np.partition(values, int(values.size * share))[int(values.size * share)])
