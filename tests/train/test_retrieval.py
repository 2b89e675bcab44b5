"""Folds, rows of the result, re-ranking, the control, and resuming."""
import numpy as np
import pytest

from tests.train import synthetic
from train import retrieval
from train.recall import ranks_of
from train.retrieval import RetrievalConfig, measure, pairs_to_score, rerank


@pytest.fixture(scope="module")
def model():
    return synthetic.model()


def test_measures_every_row_and_scores_each_pair_once(model, tmp_path):
    collection, config, pairs = synthetic.collection(50), RetrievalConfig(folds=3, fold_size=12, rerank=10), []
    rows = {row.name: row for row in measure(model, collection, synthetic.SPECIAL, config, folder=str(tmp_path),
                                             on_pairs=pairs.append)}
    assert list(rows) == ["itm", "itm_shuffled", "contrastive", "reranked"]
    assert sum(pairs) == pairs_to_score(collection, config) == 4 * 12 * 12
    assert (rows["itm"].images, rows["itm"].captions, rows["itm"].recalls[0].folds) == (36, 36, 3)
    assert rows["itm_shuffled"].images == 12
    assert rows["itm"].recall("text_to_image", 5).chance == pytest.approx(5 / 12, abs=1e-5)
    assert [name for name, _ in rows["reranked"].facts] == ["prerank/image_to_text/recall@10",
                                                            "prerank/text_to_image/recall@10"]


def test_going_on_gives_the_same_rows_without_scoring(model, tmp_path, monkeypatch):
    collection, config = synthetic.collection(30), RetrievalConfig(folds=2, fold_size=12, rerank=0)
    first = measure(model, collection, synthetic.SPECIAL, config, folder=str(tmp_path), weights_digest="a")
    monkeypatch.setattr(retrieval.CrossScorer, "rows", lambda *_: pytest.fail("scored again"))
    assert measure(model, collection, synthetic.SPECIAL, config, folder=str(tmp_path), weights_digest="a") == first


def test_the_number_of_workers_changes_nothing(model):
    collection = synthetic.collection(24, captions=2)
    one, two = (measure(model, collection, synthetic.SPECIAL,
                        RetrievalConfig(fold_size=0, folds=1, rows_per_block=5, workers=workers)) for workers in (1, 2))
    assert one == two


def test_a_model_without_projections_has_two_rows():
    rows = measure(synthetic.model(contrastive_dim=0), synthetic.collection(), synthetic.SPECIAL, RetrievalConfig())
    assert [row.name for row in rows] == ["itm", "itm_shuffled"]


def test_reranking_all_candidates_is_the_full_product():
    generator = np.random.default_rng(0)
    owner = np.repeat(np.arange(20), 2)
    cosines, itm = generator.normal(size=(2, 20, 40)).astype(np.float32)
    full, again = ranks_of(itm, owner), rerank(cosines, itm, owner, 40)
    assert np.array_equal(full.image_to_text_I, again.image_to_text_I)
    assert np.array_equal(full.text_to_image_C, again.text_to_image_C)


def test_reranking_cannot_find_what_the_pre_ranker_missed():
    generator = np.random.default_rng(0)
    owner = np.arange(40)
    cosines = generator.normal(size=(40, 40)).astype(np.float32)
    found = rerank(cosines, np.eye(40, dtype=np.float32), owner, 10)
    missed = ranks_of(cosines, owner)
    assert np.array_equal(found.image_to_text_I == 0, missed.image_to_text_I < 10)
    assert np.array_equal(found.text_to_image_C == 0, missed.text_to_image_C < 10)
    assert np.array_equal(found.image_to_text_I[missed.image_to_text_I >= 10],
                          missed.image_to_text_I[missed.image_to_text_I >= 10])


@pytest.mark.parametrize("wrong", [{"folds": 0}, {"fold_size": 1}, {"rerank": 5}, {"workers": 0}])
def test_refuses_an_impossible_config(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RetrievalConfig(**wrong)
