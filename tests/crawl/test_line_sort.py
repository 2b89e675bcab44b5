"""Lines come out in the order of their bytes, whatever fits into memory."""
from __future__ import annotations

import pathlib
import random
import tempfile
import tracemalloc
from collections.abc import Iterator

import pytest

from crawl.line_sort import sorted_lines


@pytest.mark.parametrize(("count", "run", "fan_in"), [(0, 10, 2), (5, 1 << 20, 2), (500, 1 << 20, 64), (500, 40, 2),
                                                      (500, 40, 3), (500, 1, 64)])
def test_runs_and_merges_give_what_sorting_gives(count: int, run: int, fan_in: int, tmp_path: pathlib.Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    rng = random.Random(count)
    lines = [b"%d)/\xff \n" % rng.randrange(200) for _ in range(count)]
    with sorted_lines(iter(lines), run, fan_in) as found:
        assert list(found) == sorted(lines)
    assert not list(tmp_path.iterdir())


def test_memory_holds_one_run() -> None:
    def lines() -> Iterator[bytes]:
        rng = random.Random(1)
        for _ in range(60_000):
            yield b"%0200d\n" % rng.randrange(10**9)
    tracemalloc.start()
    try:
        with sorted_lines(lines(), 1 << 20, 8) as found:
            assert sum(1 for _ in found) == 60_000
        assert tracemalloc.get_traced_memory()[1] < 4 << 20          # the lines are 12 MB
    finally:
        tracemalloc.stop()
