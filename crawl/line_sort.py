"""Lines in order, however many: sorted runs on a local disk, merged a few at a time."""
from __future__ import annotations

import contextlib
import heapq
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence

from crawl import storage

_RUN = 32 << 20                    # bytes of lines in memory
_FAN_IN = 64                       # files open at once


@contextlib.contextmanager
def sorted_lines(lines: Iterable[bytes], run: int = _RUN, fan_in: int = _FAN_IN) -> Iterator[Iterator[bytes]]:
    """Yields the lines, each with its line end, in the order of their bytes (as `LC_ALL=C sort`); equal ones all stay.

    Memory holds `run` bytes of them; what is more goes through files in a folder of its own, which is gone at the end.
    """
    with tempfile.TemporaryDirectory(prefix="imagebert-sort-") as folder, contextlib.ExitStack() as open_files:
        runs, held, size, count = [], [], 0, 0

        def name() -> str:
            nonlocal count
            count += 1
            return os.path.join(folder, f"{count:08d}")

        for line in lines:
            held.append(line)
            size += len(line)
            if size >= run:
                runs.append(_written(name(), sorted(held)))
                held, size = [], 0
        while len(runs) > fan_in:
            first, runs = runs[:fan_in], runs[fan_in:]
            with contextlib.ExitStack() as some:
                runs.append(_written(name(), _merged(first, some)))
            for path in first:
                os.unlink(path)
        held.sort()
        yield heapq.merge(_merged(runs, open_files), held) if runs else iter(held)


def _merged(paths: Sequence[str], stack: contextlib.ExitStack) -> Iterator[bytes]:
    return heapq.merge(*(stack.enter_context(open(path, "rb")) for path in paths))


def _written(path: str, lines: Iterable[bytes]) -> str:
    with storage.disk(path), open(path, "wb") as file:
        file.writelines(lines)
    return path
