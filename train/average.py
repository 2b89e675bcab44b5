"""An exponential moving average of the weights, kept beside the ones that are trained."""
from __future__ import annotations

import math

import torch
from torch import Tensor

from model.imagebert import ImageBert


class WeightAverage:
    """The mean of past weights, each step's with a weight that falls by e within `samples` samples.

    It counts samples and not steps, so that it does not change with the size of a step.
    """

    def __init__(self, model: ImageBert, samples: int) -> None:
        self._samples = samples
        self._named = dict(model.named_parameters())
        self.tensors: dict[str, Tensor] = {name: tensor.detach().clone() for name, tensor in self._named.items()}

    def update(self, samples: int) -> None:
        """Moves the average towards the weights after a step over so many samples."""
        torch._foreach_lerp_(list(self.tensors.values()), [tensor.detach() for tensor in self._named.values()],
                             1 - math.exp(-samples / self._samples))
