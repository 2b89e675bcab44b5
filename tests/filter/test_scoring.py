"""Scorers: order, grid, and that equal labels give an equal model."""
from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from crawl.errors import UsageError
from filter.judging import JudgeConfig, judge_candidate
from filter.pair_features import FEATURES, pair_features
from filter.records import SCORE_GRID, Caption
from filter.scorer_training import read_labels, train
from filter.scoring import WeakScorer, scorer, scorer_digest, scorer_facts
from tests.filter.test_images import PHOTOGRAPH
from tests.filter.tiny_web import candidate

ROW = judge_candidate(candidate("https://a.example/grey-heron.jpg"), JudgeConfig())


def caption(text, source="alt"):
    return Caption(source, text, text, "")


def score(*captions, facts=PHOTOGRAPH):
    return scorer("prior").score(facts, [(ROW, one) for one in captions])


def test_prior_prefers_sentences_of_the_image_over_labels_near_it():
    sentence, label, heading = score(caption("A grey heron stands in the shallow water of the lake"),
                                     caption("Heron Lake House"),
                                     caption("Birds of the lake", "page_title"))
    assert sentence > label > heading and sentence > 0.5 > heading
    assert all((value * SCORE_GRID).is_integer() for value in (sentence, label, heading))


def test_a_colour_that_is_not_in_the_picture_costs():
    blue = dataclasses.replace(PHOTOGRAPH, colours=(0.0,) * 8 + (1.0, 0.0, 0.0))
    there, missing = score(caption("a blue house stands on the hill"), caption("a red house stands on the hill"),
                           facts=blue)
    assert there > missing


def test_features_have_names_and_lie_on_the_grid():
    values = pair_features(PHOTOGRAPH, ROW, caption("A grey heron stands in the water"))
    assert len(values) == len(FEATURES) == len(set(FEATURES))
    assert values[FEATURES.index("file_name_overlap")] > 0.3
    assert all((value * SCORE_GRID).is_integer() for value in values)


def test_training_is_deterministic_and_learns(tmp_path):
    random = np.random.default_rng(1)
    values = random.random((400, len(FEATURES)))
    targets = (values[:, FEATURES.index("length_fit")] > 0.5).astype(np.int64)
    first, second = train(values, targets), train(values.copy(), targets.copy())
    assert first == second and first.log_loss < 0.1
    path = tmp_path / "weak.txt"
    path.write_text(first.model, encoding="utf-8")
    scores = WeakScorer(str(path)).score(PHOTOGRAPH, [(ROW, caption("a heron stands in the water of the lake"))])
    assert 0 <= scores[0] <= 1 and WeakScorer(str(path)).score(PHOTOGRAPH, []) == []


def test_bad_labels_and_unknown_scorers_are_said(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image_url,caption,label\nhttps://a.example/x.jpg,a heron,yes\n", encoding="utf-8")
    with pytest.raises(UsageError, match="'yes'"):
        read_labels(str(path))
    with pytest.raises(UsageError, match="'clip' is not known"):
        scorer("clip")
    with pytest.raises(UsageError, match="all of one kind"):
        train(np.zeros((3, len(FEATURES))), np.ones(3, dtype=np.int64))


def test_the_manifest_tells_what_scored():
    told = scorer_facts("prior")
    assert told["digest"] == scorer_digest("prior") and told["weights"]["source_alt"] > 0
