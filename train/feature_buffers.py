"""Memory for the features of packs, used again: touching fresh pages costs more than reading into them."""
from __future__ import annotations

import threading
import weakref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class FeatureBuffers:
    """Tensors [rows, F] of one type; one that nobody holds any more is handed out again.  Safe between threads."""

    def __init__(self, rows: int, width: int, dtype: torch.dtype) -> None:
        self._shape, self._dtype = (rows, width), dtype
        self._free: list[_Buffer] = []
        self._lock = threading.Lock()

    def take(self) -> FeatureRows:
        """Returns rows to write to; what stands there is anything."""
        with self._lock:
            buffer = self._free.pop() if self._free else None
        return FeatureRows(buffer or _Buffer(self._shape, self._dtype), self._free)


class _Buffer:
    """The memory itself: pinned where a GPU will copy from it."""

    def __init__(self, shape: tuple[int, int], dtype: torch.dtype) -> None:
        self.tensor = torch.zeros(shape, dtype=dtype, pin_memory=torch.cuda.is_available())
        self.dirty = 0                     # rows, from the first, that may hold something


class FeatureRows:
    """A buffer being filled."""

    def __init__(self, buffer: _Buffer, free: list[_Buffer]) -> None:
        self._buffer = buffer
        # The array stands between the memory and all that looks at it: when it goes, the memory is free.
        self.array: NDArray[np.generic] = buffer.tensor.numpy().view(_Lent)
        weakref.finalize(self.array, free.append, buffer).atexit = False

    def finished(self, rows: int) -> Tensor:
        """Returns the tensor, all rows after the first `rows` zero."""
        self.array[rows:self._buffer.dirty] = 0
        self._buffer.dirty = rows
        return torch.from_numpy(self.array)


class _Lent(np.ndarray):
    """An array of its own type: views of it hold it, where those of a plain view hold the memory below."""
