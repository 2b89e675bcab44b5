"""What finds regions in pictures: pixels in, boxes with features and class probabilities out (paper, section 2.6).

A detector is opened with the bytes of its published checkpoint and never without: random weights are no detector.
Pictures are prepared one by one and go through the network together only where they then have equal sizes, so that no
padding reaches a feature.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class WeightsError(ValueError):
    """Weights that are not those of the model asked for; the text is one line for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class DetectorOptions:
    """How a detector is used; each ignores what it has no use for."""

    max_regions: int = 100
    min_confidence: float = 0.2
    min_regions: int = 10
    min_side: int = 0              # px; 0: as the detector was published
    max_side: int = 0
    architecture: str = ""         # clip: a name of open_clip
    grid: int = 3                  # clip: the picture, its 2 x 2, ... grid x grid parts
    class_names: tuple[str, ...] = ()      # clip: what its classes are


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Detected:
    """The regions of one picture, as f32."""

    features: np.ndarray           # [n, F]
    boxes: np.ndarray              # [n, 4] x0 y0 x1 y1 in [0, 1]
    confidences: np.ndarray        # [n]
    classes: np.ndarray | None     # [n] from 0
    probabilities: np.ndarray | None       # [n, C] without background


class Detector(Protocol):
    """Anything that finds regions."""

    feature_dim: int
    num_classes: int               # 0: it knows none
    signed: bool                   # whether features may be negative

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Returns one upright RGB picture, u8 [H, W, 3], as the network takes it."""

    def detect(self, prepared: Tensor) -> list[Detected]:
        """Returns the regions of each of some pictures of equal size, stacked."""


def open_detector(name: str, weights: bytes, file: str, options: DetectorOptions, device: str = "") -> Detector:
    """Returns a detector by name (bottom-up, fasterrcnn, clip); raises WeightsError where the weights are not its own.

    Args:
        file: what the weights are called: its suffix says how they are stored.
        device: cuda where there is one by default, else cpu.
    """
    from model.bottom_up import BottomUp
    from model.checkpoint_tensors import tensors_in
    from model.clip_regions import ClipRegions
    from model.fasterrcnn import FasterRcnn
    opened: dict[str, Callable[..., Detector]] = {"bottom-up": BottomUp, "fasterrcnn": FasterRcnn, "clip": ClipRegions}
    return opened[name](tensors_in(weights, file), file, options,
                        device or ("cuda" if torch.cuda.is_available() else "cpu"))


def detect_all(detector: Detector, pictures: Sequence[np.ndarray], batch: int) -> list[Detected]:
    """Returns the regions of each picture, in order; at most `batch` of equal prepared size go together."""
    prepared = [detector.prepare(pixels) for pixels in pictures]
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, tensor in enumerate(prepared):
        by_size.setdefault(tuple(tensor.shape), []).append(number)
    found: dict[int, Detected] = {}
    for numbers in by_size.values():
        for at in range(0, len(numbers), batch):
            together = numbers[at:at + batch]
            found.update(zip(together, detector.detect(torch.stack([prepared[number] for number in together])),
                             strict=True))
    return [found[number] for number in range(len(prepared))]


def kept_first(confidences: Tensor, options: DetectorOptions) -> Tensor:
    """Returns which regions are kept, most confident first: those above the limit, at least and at most so many."""
    order = torch.argsort(confidences, descending=True, stable=True)
    above = int((confidences >= options.min_confidence).sum())
    return order[:min(max(above, options.min_regions), options.max_regions)]


def load_exactly(module: torch.nn.Module, tensors: dict[str, Tensor], file: str, unused: Sequence[str] = ()) -> None:
    """Loads tensors by name; raises WeightsError for a missing, unknown or wrongly shaped one.

    Args:
        unused: beginnings of names that the published file has and the module has no use for.
    """
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not name.endswith("num_batches_tracked")}
    given = {name: tensor for name, tensor in tensors.items()
             if not name.endswith("num_batches_tracked") and not name.startswith(tuple(unused))}
    missing, unknown = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
    if missing or unknown:
        raise WeightsError(f"{file}: not the weights of this model: {len(missing)} tensors missing "
                           f"({', '.join(missing[:2]) or 'none'}), {len(unknown)} unknown "
                           f"({', '.join(unknown[:2]) or 'none'}); name the published checkpoint")
    for name, tensor in wanted.items():
        if tensor.shape != given[name].shape:
            raise WeightsError(f"{file}: {name} is {tuple(given[name].shape)}, this model has {tuple(tensor.shape)}; "
                               f"name the published checkpoint")
    module.load_state_dict(given, strict=False)
