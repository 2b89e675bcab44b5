"""What an extractor found becomes `Regions`: sorted by confidence, cut to a number, features as u8 or f16.

u8 is linear for each region: scale = (high - low) / 255 in f16, rounded up, so that the largest value always fits; zero
point only where a region of the image has negative values.
"""
from __future__ import annotations

import dataclasses

import numpy as np

from shards.regions import Regions

FORMS = ("u8", "f16")
NUM_SOFT = 8
NO_CLASS = -1                      # `cls` of a source without classes
_LEVELS = 255
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).tiny)      # below it f16 loses precision


class UnusableRegions(ValueError):
    """Regions that cannot be stored; `reason` is stable and snake_case, the text says more."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Regions as a source has them, in any order: n of them, D feature values each."""

    features: np.ndarray                       # (n, D) float
    boxes: np.ndarray                          # (n, 4): x0, y0, x1, y1 in [0, 1] of the upright image
    confidences: np.ndarray                    # (n,) in [0, 1]
    classes: np.ndarray | None = None          # (n,) from 0; None in a source without classes
    probabilities: np.ndarray | None = None    # (n, C) of the classes, without background


def quantised(found: Found, form: str, limit: int, soft: bool = False) -> Regions:
    """Returns the `limit` most confident regions, in the order found where equally confident.

    Args:
        form: u8 or f16.
        soft: keep the 8 most likely classes where the source has probabilities.

    Raises UnusableRegions: not_finite, out_of_range (what f16 cannot hold).
    """
    for name in ("features", "boxes", "confidences"):
        if not np.isfinite(getattr(found, name)).all():
            raise UnusableRegions("not_finite", f"a value of {name} is NaN or infinite")
    confidences = found.confidences.astype(np.float16)     # sorted as it is stored: falling after rounding, too
    order = np.argsort(-confidences.astype(np.float32), kind="stable")[:limit]
    features = found.features[order].astype(np.float32)
    if features.size and float(np.abs(features).max()) > _LARGEST:
        raise UnusableRegions("out_of_range", f"a feature is {float(np.abs(features).max()):g}")
    feat, scale, zero = _features(features, form)
    boxes = np.clip(found.boxes[order].astype(np.float32), 0, 1)
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise UnusableRegions("box_order", "a box has x0 > x1 or y0 > y1")
    classes = np.full(len(order), NO_CLASS) if found.classes is None else found.classes[order]
    soft_id, soft_p = _most_likely(found.probabilities[order]) if soft and found.probabilities is not None \
        else (None, None)
    return Regions(feat=feat, box=boxes.astype(np.float16), cls=classes.astype(np.int16), conf=confidences[order],
                   scale=scale, zero=zero, soft_id=soft_id, soft_p=soft_p)


def _features(values: np.ndarray, form: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    if form == "f16":
        return values.astype(np.float16), None, None
    if form != "u8":
        raise ValueError(f"quantise is {form!r}; choose {' or '.join(FORMS)}")
    high = values.max(axis=1, initial=0)
    low = values.min(axis=1, initial=0)                    # 0 lies in the range, so that zeros stay zeros
    scale = _rounded_up((high - low) / _LEVELS)
    steps = scale.astype(np.float32)
    zero = np.rint(-low / steps)
    feat = np.clip(np.rint(values / steps[:, None]) + zero[:, None], 0, _LEVELS).astype(np.uint8)
    return feat, scale, zero.astype(np.uint8) if (low < 0).any() else None


def _rounded_up(steps: np.ndarray) -> np.ndarray:
    """Returns f16 values that are not below `steps`, and large enough to divide by."""
    scale = np.maximum(steps, _SMALLEST).astype(np.float16)
    return np.where(scale.astype(np.float32) < steps, np.nextafter(scale, np.float16(np.inf)), scale)


def _most_likely(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns ids and probabilities of the 8 most likely classes, falling; of fewer classes the last is repeated, 0."""
    order = np.argsort(-probabilities.astype(np.float32), axis=1, kind="stable")[:, :NUM_SOFT]
    chosen = np.take_along_axis(probabilities, order, axis=1)
    missing = NUM_SOFT - order.shape[1]
    if missing:
        order = np.pad(order, ((0, 0), (0, missing)), mode="edge")
        chosen = np.pad(chosen, ((0, 0), (0, missing)))
    return order.astype(np.int16), chosen.astype(np.float16)
