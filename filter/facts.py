"""What one decoded image is: sizes, flatness, hashes, colours and P(photograph)."""
from __future__ import annotations

import math

import numpy as np
from PIL import Image

from crawl.records import Image as ImageRow
from filter.colours import colour_shares
from filter.decode import MAX_PIXELS, Decoded, decode
from filter.hashes import difference_hash, perceptual_hash
from filter.natural import SIDE, natural_probability
from filter.records import ImageFacts, on_grid

_SMALL = 64                        # px; flatness and colours are measured at this size


def image_facts(row: ImageRow, data: bytes, max_pixels: int = MAX_PIXELS) -> ImageFacts:
    """Returns the facts of an image from one decode; outcome `decoded`, or the reason why not."""
    decoded = decode(data, max_pixels, small=SIDE)
    if decoded.pixels is None:
        return no_facts(row, decoded.reason, decoded)
    pixels = decoded.pixels
    small = _squeezed(pixels)
    rgb = np.asarray(small, dtype=np.uint8)
    # The hashes see the same squeezed 64 px picture, so that a copy of another size gives nearly the same bits.
    grey = small.convert("L")
    return ImageFacts(
        sha256=row.sha256, outcome="decoded", format=decoded.format, width=decoded.width, height=decoded.height,
        orientation=decoded.orientation, mode=decoded.mode, num_bytes=len(data), part=row.part, offset=row.offset,
        length=row.length, deviation=_deviation(np.asarray(grey)), entropy=_entropy(rgb),
        perceptual_hash=perceptual_hash(grey), difference_hash=difference_hash(grey),
        natural=on_grid(natural_probability(pixels)), colours=tuple(map(on_grid, colour_shares(rgb))))


def picture_hash(data: bytes, max_pixels: int = MAX_PIXELS) -> str:
    """Returns the perceptual hash that the facts of an image would have, "" for what does not decode."""
    decoded = decode(data, max_pixels, small=SIDE)
    return "" if decoded.pixels is None else perceptual_hash(_squeezed(decoded.pixels).convert("L"))


def _squeezed(pixels: Image.Image) -> Image.Image:
    return pixels.resize((_SMALL, _SMALL), Image.Resampling.BOX)


def no_facts(row: ImageRow, reason: str, decoded: Decoded | None = None) -> ImageFacts:
    """Returns the facts of an image without pixels: what its header told, and the reason."""
    told = decoded if decoded is not None else Decoded(reason, None)
    return ImageFacts(
        sha256=row.sha256, outcome=reason, format=told.format or row.format, width=told.width, height=told.height,
        orientation=told.orientation, mode=told.mode, num_bytes=row.length, part=row.part, offset=row.offset,
        length=row.length, deviation=0.0, entropy=0.0, perceptual_hash="", difference_hash="", natural=0.0,
        colours=())


def _deviation(luma: np.ndarray) -> float:
    values = luma.astype(np.int64).ravel()
    count = len(values)
    return on_grid(math.sqrt(int((values * values).sum()) * count - int(values.sum()) ** 2) / count)


def _entropy(rgb: np.ndarray) -> float:
    six = rgb.reshape(-1, 3).astype(np.int64) >> 2
    counts = np.bincount((six[:, 0] * 64 + six[:, 1]) * 64 + six[:, 2])
    share = counts[counts > 0] / len(six)
    return on_grid(float(-(share * np.log2(share)).sum()))
