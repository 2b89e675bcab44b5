"""Blocks of scores: committed, skipped when there, the same with any number of workers."""
import glob
import threading

import numpy as np
import pytest

from train.blocks import score_in_blocks


class FakeScorer:
    """Knows all scores and remembers which rows it was asked for."""

    def __init__(self, images=23, captions=7, fail_at=-1):
        self.scores_IC = np.random.default_rng(1).normal(size=(images, captions)).astype(np.float32)
        self.asked = []
        self.fail_at = fail_at
        self._lock = threading.Lock()

    def rows(self, first, last):
        with self._lock:
            self.asked += range(first, last)
        if first <= self.fail_at < last:
            raise RuntimeError("killed")
        return self.scores_IC[first:last]


@pytest.mark.parametrize("workers, rows", [(1, 5), (2, 5), (3, 1), (1, 100)])
def test_gives_every_score_once(tmp_path, workers, rows):
    scorer, counted = FakeScorer(), []
    found = score_in_blocks(scorer.rows, 23, 7, str(tmp_path), "a", rows=rows, workers=workers,
                            on_block=counted.append)
    assert np.array_equal(found, scorer.scores_IC)
    assert sorted(scorer.asked) == list(range(23)) and sum(counted) == 23 * 7


def test_goes_on_after_an_interruption_without_scoring_anything_again(tmp_path):
    broken = FakeScorer(fail_at=12)
    with pytest.raises(RuntimeError, match="killed"):
        score_in_blocks(broken.rows, 23, 7, str(tmp_path), "a", rows=5)
    scorer = FakeScorer()
    found = score_in_blocks(scorer.rows, 23, 7, str(tmp_path), "a", rows=5)
    assert np.array_equal(found, scorer.scores_IC)
    assert set(range(10, 15)) <= set(scorer.asked) <= set(range(10, 23))      # rows 0 to 9 were committed


def test_other_weights_are_other_blocks(tmp_path):
    score_in_blocks(FakeScorer().rows, 23, 7, str(tmp_path), {"checkpoint": "a"}, rows=5)
    scorer = FakeScorer()
    score_in_blocks(scorer.rows, 23, 7, str(tmp_path), {"checkpoint": "b"}, rows=5)
    assert len(scorer.asked) == 23


def test_keeps_nothing_without_a_folder(tmp_path):
    score_in_blocks(FakeScorer().rows, 23, 7, "", "a")
    assert not glob.glob(str(tmp_path / "*"))


def test_a_block_of_another_shape_is_named(tmp_path):
    score_in_blocks(FakeScorer().rows, 23, 7, str(tmp_path), "a", rows=23)
    [path] = glob.glob(str(tmp_path / "*" / "*.npy"))
    np.save(path, np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="rows-000000-000023.npy"):
        score_in_blocks(FakeScorer().rows, 23, 7, str(tmp_path), "a", rows=23)
