"""`KEY.npy` of others as regions: features alone, whose places follow from their shape, or from nothing.

    (D,) or (1, D)    one region, the whole picture: an embedding
    (h, w, D)         the cells of a grid, row by row from the top left: a feature map
    (n, D)            no places: n features of unknown boxes are of no use, whatever n is a square of

They have no classes and equal confidence.
"""
from __future__ import annotations

import io
import math

import numpy as np

from shards.precomputed import Row, check_width
from shards.quantise import Found, UnusableRegions
from shards.region_config import RegionsConfig

_MOST = 1000                       # regions of a picture


def parse_npy(id_: str, data: bytes, config: RegionsConfig) -> Row:
    """Returns the regions of one picture; read without pickle, never more than its bytes.

    Reasons: bad_npy, no_places, too_many, wrong_width, not_finite.
    """
    try:
        features, boxes = _placed(_array(data))
        check_width(features, config)
        if not np.isfinite(features).all():
            raise UnusableRegions("not_finite", "a feature is NaN or infinite")
        return Row(id_, Found(features.astype(np.float32), boxes, np.ones(len(features), np.float32)))
    except UnusableRegions as error:
        return Row(id_, None, error.reason, error.detail)


def _array(data: bytes) -> np.ndarray:
    file = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, kind = read(file)
    except (ValueError, EOFError, TypeError) as error:
        raise UnusableRegions("bad_npy", str(error).splitlines()[0][:120] if str(error) else "cut") from error
    if kind.kind != "f" or by_columns and len(shape) > 1:
        raise UnusableRegions("bad_npy", f"{kind} {'by columns' if by_columns else shape}, not rows of floats")
    if math.prod(shape) * kind.itemsize != len(data) - file.tell():
        raise UnusableRegions("bad_npy", f"its head says {shape} of {kind}, {len(data) - file.tell()} bytes follow")
    return np.frombuffer(data, kind, offset=file.tell()).reshape(shape)


def _placed(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns features (n, D) and boxes (n, 4)."""
    if array.ndim == 1:
        array = array[None]
    if array.ndim == 2 and len(array) == 1:
        return array, np.array([[0, 0, 1, 1]], np.float32)
    if array.ndim != 3 or not array.size:
        raise UnusableRegions("no_places", f"an array {array.shape} says nothing of places; (D,) and (h, w, D) do")
    high, wide = array.shape[:2]
    if high * wide > _MOST:
        raise UnusableRegions("too_many", f"{high} x {wide} cells, at most {_MOST}")
    rows, columns = np.divmod(np.arange(high * wide), wide)
    boxes = np.stack([columns / wide, rows / high, (columns + 1) / wide, (rows + 1) / high], axis=1)
    return array.reshape(high * wide, -1), boxes.astype(np.float32)
