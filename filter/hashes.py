"""Two 64-bit picture hashes in integers only: equal bits on every machine, close bits for a picture re-encoded."""
from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_SIDE = 32
# The DCT-II basis of the 8 lowest frequencies over 32 samples, in 1/2^14.
_BASIS = np.array([[round(16384 * math.cos(math.pi * (2 * n + 1) * k / (2 * _SIDE))) for n in range(_SIDE)]
                   for k in range(8)], dtype=np.int64)


def perceptual_hash(grey: Image.Image) -> str:
    """Returns 16 hex digits: which of the 64 low frequencies of a grey image lie above their median (pHash)."""
    small = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), dtype=np.int64)
    low = (_BASIS @ small @ _BASIS.T).ravel()
    middle = np.sort(low[1:])[31]                # the constant term is brightness alone
    return _hex(low > middle)


def difference_hash(grey: Image.Image) -> str:
    """Returns 16 hex digits: whether brightness rises from each of 8 x 8 cells to its right neighbour (dHash)."""
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int64)
    return _hex((small[:, 1:] > small[:, :-1]).ravel())


def _hex(bits: NDArray[np.bool_]) -> str:
    return np.packbits(bits).tobytes().hex()


def distance(first: str, second: str) -> int:
    """Returns the number of differing bits of two hashes."""
    return (int(first, 16) ^ int(second, 16)).bit_count()
