"""Regions of an image: boxes, quantised features, classes and confidences, sorted by confidence.

On disk `KEY.regions.safetensors`.  Sorted, so the first 36 regions are a prefix.  feature = (feat - zero) * scale.
"""
from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

import numpy as np
from safetensors.numpy import save

# name -> (dtype, dimensions); the optional ones may be missing
_REQUIRED = {"box": (np.float16, 2), "cls": (np.int16, 1), "conf": (np.float16, 1)}
_OPTIONAL = {"scale": (np.float16, 1), "zero": (np.uint8, 1), "soft_id": (np.int16, 2), "soft_p": (np.float16, 2)}
# The types a region file may hold, as safetensors calls them; another one is no regions of ours.
_TYPES: dict[str, Any] = {"U8": np.uint8, "F16": np.float16, "I16": np.int16}
_MAX_HEADER = 64 << 10             # bytes
# Bits of f16: of 0 or more these grow with the number.
_ONE, _LARGEST = 0x3C00, 0x7BFF


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The regions of one image; n of them, D feature values each."""

    feat: np.ndarray                       # u8 (n, D) with `scale`, or f16 (n, D) without
    box: np.ndarray                        # f16 (n, 4): x0, y0, x1, y1 in [0, 1], after orientation
    cls: np.ndarray                        # i16 (n,)
    conf: np.ndarray                       # f16 (n,), falling
    scale: np.ndarray | None = None        # f16 (n,)
    zero: np.ndarray | None = None         # u8 (n,)
    soft_id: np.ndarray | None = None      # i16 (n, 8): the most likely classes
    soft_p: np.ndarray | None = None       # f16 (n, 8): and their probabilities

    def __len__(self) -> int:
        return len(self.feat)

    @property
    def feature_dim(self) -> int:
        """Returns D."""
        return int(self.feat.shape[1])

    def scale_and_zero(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns f32 (n,) each: feature = (feat - zero) * scale; for f16 features 1 and 0."""
        count = len(self)
        return (np.ones(count, np.float32) if self.scale is None else self.scale.astype(np.float32),
                np.zeros(count, np.float32) if self.zero is None else self.zero.astype(np.float32))

    def features(self) -> np.ndarray:
        """Returns the features as f32 (n, D), dequantised."""
        values = self.feat.astype(np.float32)
        if self.zero is not None:
            values -= self.zero.astype(np.float32)[:, None]
        return values if self.scale is None else values * self.scale.astype(np.float32)[:, None]


def problem(regions: Regions) -> str | None:
    """Returns what is wrong with regions in a few words, or None."""
    n = len(regions.feat)
    if regions.feat.ndim != 2 or regions.feat.dtype not in (np.uint8, np.float16):
        return f"feat is {regions.feat.dtype} {regions.feat.shape}, not u8 or f16 (n, D)"
    if (regions.feat.dtype == np.uint8) != (regions.scale is not None):
        return "u8 features need a scale, f16 features none"
    for name, (dtype, dimensions) in (_REQUIRED | _OPTIONAL).items():
        array = getattr(regions, name)
        if array is None and name in _OPTIONAL:
            continue
        if array.dtype != dtype or array.ndim != dimensions or len(array) != n:
            return f"{name} is {array.dtype} {array.shape} beside {n} features"
    if (regions.soft_id is None) != (regions.soft_p is None):
        return "soft_id and soft_p come together"
    if regions.box.shape[1] != 4:
        return f"box is {regions.box.shape}, not (n, 4)"
    return _wrong_values(regions) if n and not plain_values(regions.box[None], regions.conf[None]) else None


def plain_values(boxes: np.ndarray, confidences: np.ndarray) -> bool:
    """Returns whether all values are right and no number is negative: most are, and bits say it quickly.

    Args:
        boxes: f16 [images, n, 4].
        confidences: f16 [images, n], n at least 1.
    """
    if not (boxes.flags.c_contiguous and confidences.flags.c_contiguous):
        return False
    box, conf = boxes.view(np.uint16), confidences.view(np.uint16)
    return bool(box.max() <= _ONE and (box[..., :2] <= box[..., 2:]).all()
                and conf[:, 0].max() <= _LARGEST and (conf[:, 1:] <= conf[:, :-1]).all())


def _wrong_values(regions: Regions) -> str | None:
    if not ((regions.box >= 0) & (regions.box <= 1)).all():
        return "a box lies outside [0, 1]"
    if not (regions.box[:, :2] <= regions.box[:, 2:]).all():
        return "a box has x0 > x1 or y0 > y1"
    if not (np.isfinite(regions.conf).all() and (np.diff(regions.conf.astype(np.float32)) <= 0).all()):
        return "regions are not sorted by confidence"
    return None


def pack(regions: Regions) -> bytes:
    """Returns the safetensors bytes of regions: equal regions, equal bytes.  Raises ValueError for broken ones."""
    wrong = problem(regions)
    if wrong:
        raise ValueError(f"regions: {wrong}")
    arrays = {field.name: getattr(regions, field.name) for field in dataclasses.fields(regions)}
    # No metadata: the library keeps it in a hash map, whose order differs from run to run.
    return save({name: np.ascontiguousarray(array) for name, array in arrays.items() if array is not None})


def unpack(data: bytes, limit: int | None = None) -> Regions:
    """Returns the regions in safetensors bytes, the `limit` most confident ones, as views of the bytes
    where it is all of them.

    Raises ValueError when the bytes are no regions: not safetensors, missing or wrong tensors, not sorted.
    """
    header = header_of(data)
    start = len(header)
    layout, total = layout_of(header[8:])
    if len(data) != start + total:
        raise ValueError(f"regions: {len(data)} bytes, the header says {start + total}")
    arrays = {name: np.frombuffer(data, kind, count, start + offset).reshape(shape)
              for name, kind, count, offset, shape in layout}
    unknown = arrays.keys() - {"feat"} - _REQUIRED.keys() - _OPTIONAL.keys()
    missing = {"feat", *_REQUIRED} - arrays.keys()
    if unknown or missing:
        raise ValueError(f"regions: missing tensors {sorted(missing)}, unknown tensors {sorted(unknown)}")
    regions = Regions(**arrays)
    wrong = problem(regions)
    if wrong:
        raise ValueError(f"regions: {wrong}")
    if limit is None or limit >= len(regions):
        return regions
    # Copies: a few regions that somebody keeps do not keep the whole member.
    return Regions(**{name: array[:limit].copy() for name, array in arrays.items()})


def header_of(data: bytes) -> bytes:
    """Returns the safetensors header of a member with the 8 bytes of its length; raises ValueError for none."""
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(len(data) - 8, _MAX_HEADER):
        raise ValueError(f"regions: {len(data)} bytes with a header of {size}: no safetensors, or cut")
    return data[:8 + size]


@functools.lru_cache(maxsize=1024)
def layout_of(header: bytes) -> tuple[tuple[tuple[str, Any, int, int, tuple[int, ...]], ...], int]:
    """Returns (name, type, elements, offset, shape) of each tensor of a safetensors header, and the bytes they take.

    Equal numbers of regions have equal headers, so that it is read once.  Raises ValueError for one that is broken:
    tensors lie one behind the other, without gaps, and have the bytes of their shape.
    """
    try:
        tensors = [(str(name), _TYPES[one["dtype"]], [_natural(side) for side in one["shape"]],
                    *map(_natural, one["data_offsets"])) for name, one in json.loads(header).items()
                   if name != "__metadata__"]
        found, end = [], 0
        for name, kind, shape, begin, stop in sorted(tensors, key=lambda one: one[3:]):
            count = math.prod(shape)
            if begin != end or stop - begin != count * np.dtype(kind).itemsize:
                raise ValueError(f"tensor {name} of shape {shape} lies at {begin} to {stop}")
            found.append((name, kind, count, begin, tuple(shape)))
            end = stop
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"regions: a broken header ({type(error).__name__}: {error})") from error
    return tuple(found), end


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def first(regions: Regions, count: int) -> Regions:
    """Returns the `count` most confident regions, as views."""
    arrays: dict[str, np.ndarray] = {}
    for field in dataclasses.fields(regions):
        array = getattr(regions, field.name)
        if array is not None:
            arrays[field.name] = array[:count]
    return Regions(**arrays)
