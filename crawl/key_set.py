"""A set of url_keys in 16 bytes each: what a fetch shard of millions of rows knows to be done."""
from __future__ import annotations

from collections.abc import Iterable

import numpy as np


class KeySet:
    """Keys of 32 hex digits, added many at a time; a set of their texts would take 100 bytes each.

    >>> done = KeySet()
    >>> done.add(["0" * 31 + "1", "f" * 32])
    >>> len(done), "f" * 32 in done, "e" * 32 in done
    (2, True, False)
    """

    def __init__(self) -> None:
        self._sorted: list[np.ndarray] = []        # of 16 bytes; each less than half as long as the one before

    def add(self, keys: Iterable[str]) -> None:
        """Adds keys that are not in the set yet."""
        self._sorted.append(np.sort(np.frombuffer(bytes.fromhex("".join(keys)), dtype="S16")))
        while len(self._sorted) > 1 and len(self._sorted[-2]) <= 2 * len(self._sorted[-1]):
            self._sorted.append(np.sort(np.concatenate([self._sorted.pop(), self._sorted.pop()])))

    def __contains__(self, key: str) -> bool:
        # NumPy drops zero bytes at the end of both sides alike, and all are of one length.
        wanted = np.frombuffer(bytes.fromhex(key), dtype="S16")
        for keys in self._sorted:
            place = int(np.searchsorted(keys, wanted)[0])
            if place < len(keys) and keys[place] == wanted[0]:
                return True
        return False

    def __len__(self) -> int:
        return sum(map(len, self._sorted))
