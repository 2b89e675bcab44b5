"""Published heads over CLIP's image embeddings: a linear layer, layers with ReLU between, or two texts to choose from.

Read without running code: PyTorch files as weights only, safetensors, NumPy arrays without pickle.  A TensorFlow
SavedModel is refused with what to do.
"""
from __future__ import annotations

import io
import re

import numpy as np
import torch
from torch import Tensor

from model.checkpoint_tensors import tensors_in
from model.detection import WeightsError

_TEMPERATURE = 100.0               # of CLIP's own logits, by which two texts are weighed
_NUMBER = re.compile(r"(\d+)\.(weight|bias)$")


class Head:
    """Layers over a unit embedding; one output through a logistic function, two through a softmax."""

    def __init__(self, layers: list[tuple[Tensor, Tensor]], scale: float = 1.0) -> None:
        self._layers, self._scale = layers, scale
        self.dim = int(layers[0][0].shape[1])

    @torch.inference_mode()
    def probabilities(self, embeddings: Tensor) -> Tensor:
        """Returns P(unsafe) of each embedding [n, dim]: the only output's, or the second of two."""
        value = embeddings.float()
        for number, (weight, bias) in enumerate(self._layers):
            value = value @ weight.T + bias
            if number < len(self._layers) - 1:
                value = value.relu()
        value = value * self._scale
        return value[:, 0].sigmoid() if value.shape[1] == 1 else value.softmax(dim=1)[:, 1]


def open_head(data: bytes, file: str) -> Head:
    """Returns the head in a file; raises WeightsError for what is none.

    `.npy`: [2, dim], the embeddings of a safe and an unsafe text.  `.safetensors`, `.pt`, `.pth`: `weight` [1 or 2,
    dim] and `bias`, or such pairs named by number (`0.weight`, `layers.2.bias`), in that order, with ReLU between.
    """
    if data[:4] == b"PK\x03\x04" and file.endswith(".zip"):
        raise WeightsError(f"{file}: a TensorFlow SavedModel, which is code; store its layers as 0.weight, 0.bias, "
                           f"1.weight, ... in a safetensors file")
    layers = [_two_texts(data, file)] if file.endswith(".npy") else _layers(tensors_in(data, file), file)
    for number, (weight, bias) in enumerate(layers):
        before = layers[number - 1][0].shape[0] if number else weight.shape[-1]
        if weight.ndim != 2 or bias.shape != weight.shape[:1] or weight.shape[1] != before:
            raise WeightsError(f"{file}: layer {number} is {tuple(weight.shape)} with a bias of {tuple(bias.shape)}, "
                               f"behind {before} values: no head")
        if not bool(weight.isfinite().all() and bias.isfinite().all()):
            raise WeightsError(f"{file}: layer {number} holds what is no number; copy the file again")
    if layers[-1][0].shape[0] not in (1, 2):
        raise WeightsError(f"{file}: {layers[-1][0].shape[0]} outputs; a head says one probability, or safe and unsafe")
    return Head(layers, _TEMPERATURE if file.endswith(".npy") else 1.0)


def _two_texts(data: bytes, file: str) -> tuple[Tensor, Tensor]:
    try:
        value = np.load(io.BytesIO(data), allow_pickle=False)
        rows = torch.from_numpy(np.ascontiguousarray(value, dtype=np.float32))
    except (ValueError, EOFError, OSError, TypeError) as error:
        raise WeightsError(f"{file}: cannot be read as an array ({str(error).splitlines()[0][:120]})") from error
    if rows.ndim != 2 or len(rows) != 2:
        raise WeightsError(f"{file}: {list(rows.shape)}; two rows are needed, a safe and an unsafe text's embedding")
    return rows, torch.zeros(2)


def _layers(tensors: dict[str, Tensor], file: str) -> list[tuple[Tensor, Tensor]]:
    if tensors.keys() == {"weight", "bias"}:
        return [(tensors["weight"], tensors["bias"])]
    numbered: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found = _NUMBER.search(name)
        if found is None:
            raise WeightsError(f"{file}: {name!r} is neither weight nor bias, nor a numbered layer's: no head")
        numbered.setdefault(int(found[1]), {})[found[2]] = tensor
    if any(pair.keys() != {"weight", "bias"} for pair in numbered.values()):
        raise WeightsError(f"{file}: a layer lacks its weight or its bias")
    return [(pair["weight"], pair["bias"]) for _, pair in sorted(numbered.items())]
