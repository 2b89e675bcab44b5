"""A score matrix computed in blocks of rows, each committed to a file: an interrupted evaluation goes on."""
from __future__ import annotations

import concurrent.futures
import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from crawl import storage
from crawl.config import digest

ScoreRows = Callable[[int, int], NDArray[np.float32]]     # first, last -> [last - first, C]


def score_in_blocks(score_rows: ScoreRows, num_images: int, num_captions: int, folder: str, identity: object, *,
                    rows: int = 20, workers: int = 1, on_block: Callable[[int], None] | None = None,
                    ) -> NDArray[np.float32]:
    """Returns scores_IC; finished blocks of the same identity are read, the others scored and committed.

    Args:
        folder: where block files go, under a name made from `identity` and the shape; "" keeps nothing.
        identity: plain JSON of everything the scores depend on (checkpoint, images, captions).
        workers: threads, each on blocks of its own; the numbers do not depend on how many.
        on_block: called with the number of pairs of a block that is there.
    """
    name = digest({"identity": identity, "shape": [num_images, num_captions], "rows": rows})[:16]
    scores_IC = np.empty((num_images, num_captions), np.float32)

    def fill(first: int) -> int:
        last = min(first + rows, num_images)
        path = storage.join(folder, name, f"rows-{first:06d}-{last:06d}.npy") if folder else ""
        block = _read(path, (last - first, num_captions)) if path else None
        if block is None:
            block = score_rows(first, last).astype(np.float32, copy=False)
            if path:
                storage.commit_bytes(path, _npy(block))
        scores_IC[first:last] = block
        return block.size

    with concurrent.futures.ThreadPoolExecutor(workers, thread_name_prefix="score") as pool:
        for pairs in pool.map(fill, range(0, num_images, rows)):
            if on_block is not None:
                on_block(pairs)
    return scores_IC


def _npy(block: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(block), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _read(path: str, shape: tuple[int, int]) -> NDArray[np.float32] | None:
    if not storage.exists(path):
        return None
    block = np.load(io.BytesIO(storage.read_bytes(path)), allow_pickle=False)
    if block.shape != shape or block.dtype != np.float32:
        raise ValueError(f"{path}: a block of {block.dtype} {block.shape}, not float32 {shape}; remove it")
    return block
