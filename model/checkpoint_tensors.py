"""Published checkpoints as name -> tensor: safetensors, PyTorch files, and pickles of NumPy arrays; no code is run."""
from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model.detection import WeightsError

# What a pickle of arrays is made of; anything else in it is refused.
_ALLOWED = {("numpy", "ndarray"), ("numpy", "dtype"), ("collections", "OrderedDict"), ("_codecs", "encode"),
            ("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar")}
_WRAPPERS = ("model", "state_dict", "model_state_dict")


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, and only arrays are read")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def tensors_in(data: bytes, file: str) -> dict[str, Tensor]:
    """Returns the tensors of a checkpoint, f32 where they are floats.

    Args:
        file: its name: .safetensors, .pkl (a pickled dict of arrays), else what torch.save wrote.

    Unwraps {"model": ...} and {"state_dict": ...}, and drops a leading "module.".  Raises WeightsError for a file that
    is none of these or holds anything but arrays.
    """
    try:
        value = _value(data, file)
    # Whatever unpickling broken or foreign bytes raises.
    except Exception as error:
        line = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise WeightsError(f"{file}: cannot be read as weights ({line}); name a checkpoint as it was published") \
            from error
    for wrapper in _WRAPPERS:
        if isinstance(value, dict) and isinstance(value.get(wrapper), dict):
            value = value[wrapper]
    if not isinstance(value, dict):
        raise WeightsError(f"{file}: a {type(value).__name__}, not names and tensors")
    found = {str(name).removeprefix("module."): torch.as_tensor(array) for name, array in value.items()
             if isinstance(array, Tensor | np.ndarray)}
    if not found:
        raise WeightsError(f"{file}: no tensor in it; name a checkpoint as it was published")
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in found.items()}


def _value(data: bytes, file: str) -> Any:
    if file.endswith(".safetensors"):
        from safetensors.torch import load
        return load(data)
    if file.endswith(".pkl"):
        return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
