"""In which number format a step computes, and the loss scale that fp16 needs.

Weights, their gradients' sum and the optimizer stay f32 in every format; losses are f32 (model/losses.py).
"""
from __future__ import annotations

import contextlib
import dataclasses

import torch

AUTO = "auto"
_DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PRECISIONS = (AUTO, *_DTYPES)

_GROWTH_STEPS = 2000     # finite steps after which a scale is doubled, as in torch.amp
_GREATEST = 2.0 ** 24


def dtype_of(precision: str, device: torch.device) -> torch.dtype:
    """Returns the format matrices are multiplied in; `auto` is bf16 on a GPU and f32 on the CPU."""
    if precision == AUTO:
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return _DTYPES[precision]


def autocast(dtype: torch.dtype, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Returns the context of a forward in this format; f32 needs none."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


@dataclasses.dataclass(frozen=True, slots=True)
class LossScale:
    """What an fp16 loss is multiplied with before its backward, so that small gradients do not vanish.

    A value and not torch's GradScaler: it is part of the run's state, and all ranks see the same summed gradient.
    """

    value: float = 2.0 ** 16
    finite_steps: int = 0          # in a row, at this value

    def after(self, finite: bool) -> LossScale:
        """Returns the scale after a step; an overflow halves it (and its step is not taken).

        >>> [LossScale(8.0, steps).after(finite).value for steps, finite in ((3, False), (1999, True), (3, True))]
        [4.0, 16.0, 8.0]
        """
        if not finite:
            return LossScale(self.value / 2, 0)
        if self.finite_steps + 1 >= _GROWTH_STEPS:
            return LossScale(min(self.value * 2, _GREATEST), 0)
        return LossScale(self.value, self.finite_steps + 1)


def first_scale(dtype: torch.dtype) -> LossScale:
    """Returns the scale a stage begins with; 1 for formats with the range of f32."""
    return LossScale() if dtype == torch.float16 else LossScale(1.0)
