"""Recall against brute force, ties, chance, intervals and folds."""
import numpy as np
import pytest

from train import recall


def _brute_force(scores, owner, k):
    """Sorts every query's list with wrong answers first among equals and looks into the first k."""
    images, captions = scores.shape
    hits = [any(owner[c] == i for _, _, c in sorted((-scores[i, c], owner[c] == i, c) for c in range(captions))[:k])
            for i in range(images) if i in owner]
    back = [any(owner[c] == i for _, _, i in sorted((-scores[i, c], owner[c] == i, i) for i in range(images))[:k])
            for c in range(captions)]
    return np.mean(hits), np.mean(back)


@pytest.mark.parametrize("seed", range(8))
def test_equals_brute_force_with_ties_and_several_captions(seed):
    generator = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(12), generator.integers(0, 12, size=20)])
    scores = generator.integers(0, 6, size=(13, len(owner))).astype(np.float32)   # image 12 has no caption
    found = recall.recall_at_k(scores, owner)
    for k in recall.KS:
        to_text, to_image = _brute_force(scores, owner, k)
        assert found[f"image_to_text/recall@{k}"] == pytest.approx(to_text)
        assert found[f"text_to_image/recall@{k}"] == pytest.approx(to_image)


def test_a_constant_scorer_is_never_above_chance():
    owner = np.repeat(np.arange(40), 2)
    found = recall.recall_at_k(np.zeros((40, 80)), owner)
    for k in recall.KS:
        for direction, value in recall.chance(owner, 40, k).items():
            assert found[f"{direction}/recall@{k}"] <= value


def test_a_random_scorer_gives_chance():
    owner = np.repeat(np.arange(100), 3)
    generator = np.random.default_rng(0)
    folds = [recall.ranks_of(generator.normal(size=(100, 300)), owner) for _ in range(30)]
    for row in recall.summarise(folds, seed=1):
        assert abs(row.value - row.chance) < 4 * np.sqrt(row.chance / row.queries)
        assert row.low <= row.value <= row.high and row.high - row.low < 0.03


def test_chance_counts_any_of_several_captions():
    owner = np.repeat(np.arange(100), 5)
    assert recall.chance(owner, 100, 1) == {"image_to_text": pytest.approx(0.01), "text_to_image": 0.01}
    assert 0.045 < recall.chance(owner, 100, 5)["image_to_text"] < 0.05
    assert recall.chance(owner, 100, 1000) == {"image_to_text": 1.0, "text_to_image": 1.0}


def test_a_right_scorer_gives_one_and_a_tie_costs_it():
    owner = np.arange(20)
    scores = np.eye(20)
    assert set(recall.recall_at_k(scores, owner).values()) == {1.0}
    scores[3, 4] = 1.0                                     # as good as the right ones: a tie in row 3 and in column 4
    found = recall.recall_at_k(scores, owner, ks=(1, 5))
    assert found["image_to_text/recall@1"] == found["text_to_image/recall@1"] == 0.95
    assert found["image_to_text/recall@5"] == 1.0


@pytest.mark.parametrize("scores, owner", [(np.zeros((2, 3)), [0, 1]), (np.zeros((2, 2)), [0, 2]),
                                           (np.array([[np.nan, 1.0]]), [0, 0])])
def test_refuses_what_cannot_be_ranked(scores, owner):
    with pytest.raises(ValueError):
        recall.ranks_of(scores, owner)


def test_the_interval_is_repeatable_and_wider_for_captions_of_one_image():
    alone = recall.bootstrap_interval(np.tile([0, 1], 50), np.ones(100, dtype=np.int64))
    assert alone == recall.bootstrap_interval(np.tile([0, 1], 50), np.ones(100, dtype=np.int64))
    assert 0.38 < alone[0] < 0.43 and 0.57 < alone[1] < 0.62
    together = recall.bootstrap_interval(np.tile([0, 5], 10), np.full(20, 5))     # as many queries, 20 images
    assert together[1] - together[0] > 1.5 * (alone[1] - alone[0])


def test_folds_mean_and_spread():
    perfect, useless = np.eye(30), -np.eye(30)
    rows = recall.summarise([recall.ranks_of(perfect, np.arange(30)), recall.ranks_of(useless, np.arange(30))])
    assert {(row.fold_mean, row.folds) for row in rows} == {(0.5, 2)}
    assert rows[0].fold_spread == pytest.approx(0.707107)
    assert rows[0].name == "image_to_text/recall@1"


def test_folds_are_disjoint_and_keep_equal_captions_apart():
    keys = [f"key{n}" for n in range(50)]
    texts = [[f"caption {n % 25}"] for n in range(50)]     # each caption twice
    folds = recall.disjoint_folds(keys, texts, size=20, count=2)
    assert [len(fold) for fold in folds] == [20, 20]
    assert not set(folds[0]) & set(folds[1])
    for fold in folds:
        assert len({texts[index][0] for index in fold}) == 20
    assert folds == recall.disjoint_folds(keys, texts, size=20, count=2)


def test_too_few_images_make_one_fold():
    assert sorted(recall.disjoint_folds(["a", "b"], [["x"], ["x"]], size=5, count=3)[0]) == [0, 1]
    assert recall.disjoint_folds([], [], size=5, count=3) == []
