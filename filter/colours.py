"""How much of an image is which basic colour, and which colours a caption names."""
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAMES = ("black", "grey", "white", "red", "orange", "brown", "yellow", "green", "blue", "purple", "pink")
_ALIASES = {"gray": "grey", "silver": "grey", "golden": "yellow", "gold": "yellow", "violet": "purple",
            "magenta": "pink", "cyan": "blue", "turquoise": "blue", "teal": "green", "beige": "brown", "tan": "brown",
            "crimson": "red", "scarlet": "red", "navy": "blue", "lime": "green", "olive": "green", "dark": "black"}


def colour_shares(pixels: NDArray[np.uint8]) -> tuple[float, ...]:
    """Returns the share of each of NAMES; pixels [H, W, 3] RGB; shares sum to 1.

    Hue in degrees and the limits below are the usual names of colours (Berlin and Kay's eleven), in integers.
    """
    rgb = pixels.reshape(-1, 3).astype(np.int64)
    high, low = rgb.max(axis=1), rgb.min(axis=1)
    chroma = high - low
    hue = _hue(rgb, high, chroma)
    grey = (chroma * 5 < high) | (chroma < 16)               # saturation under 0.2
    index = np.select(
        [high < 48, grey & (high < 80), grey & (high > 185), grey,
         (hue < 18) & (low > 110), (hue < 18), (hue < 45) & (high < 160), (hue < 42), (hue < 70), (hue < 165),
         (hue < 255), (hue < 295), (hue < 335) & (high < 120), (hue < 345) | (low > 110)],
        [0, 0, 2, 1, 10, 3, 5, 4, 6, 7, 8, 9, 9, 10], default=3)
    counts = np.bincount(index, minlength=len(NAMES))
    return tuple(float(count) / len(rgb) for count in counts)


def _hue(rgb: NDArray[np.int64], high: NDArray[np.int64], chroma: NDArray[np.int64]) -> NDArray[np.int64]:
    red, green, blue = rgb.T
    safe = np.maximum(chroma, 1)
    return np.where(high == red, 60 * (green - blue) // safe % 360,
                    np.where(high == green, 120 + 60 * (blue - red) // safe, 240 + 60 * (red - green) // safe))


def colours_named(words: list[str]) -> list[int]:
    """Returns the places in NAMES of the colours that lower-case words name, sorted, each once.

    >>> colours_named(["a", "gray", "cat", "on", "red", "grey"])
    [1, 3]
    """
    return sorted({NAMES.index(_ALIASES.get(word, word)) for word in words if _ALIASES.get(word, word) in NAMES})
