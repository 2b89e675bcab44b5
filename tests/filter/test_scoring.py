"""Scorers: order, grid, and that equal labels give an equal model."""
from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from crawl.errors import UsageError
from crawl.records import Image
from filter.cases import NO_SCORE, Claims, open_case
from filter.drift import DriftRules
from filter.images import ImageRules
from filter.judging import JudgeConfig, judge_candidate
from filter.labelled_pairs import LabelledPairs, joined, read_labels
from filter.pair_features import FEATURES, pair_features
from filter.records import SCORE_GRID, Caption
from filter.scorer_training import report_scorer, train
from filter.scoring import WeakScorer, scorer, scorer_digest, scorer_facts, weak_text
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


def some_pairs(count=400):
    values = np.random.default_rng(1).random((count, len(FEATURES)))
    targets = (values[:, FEATURES.index("length_fit")] > 0.5).astype(np.int64)
    return LabelledPairs(values, targets, tuple(f"site{row % 3}" for row in range(count)), 0)


def test_training_is_deterministic_calibrated_and_learns(tmp_path):
    first, second = train(some_pairs()), train(some_pairs())
    assert first == second and first.area > 0.99 and first.log_loss < 0.15 and "length_fit" in first.features
    path = tmp_path / "weak.txt"
    path.write_text(first.model, encoding="utf-8")
    scores = WeakScorer(str(path)).score(PHOTOGRAPH, [(ROW, caption("a heron stands in the water of the lake"))])
    assert 0 <= scores[0] <= 1 and WeakScorer(str(path)).score(PHOTOGRAPH, []) == []


def test_the_report_takes_groups_away_and_judges_what_is_asked():
    told = report_scorer(some_pairs(), ["site0", "site1"])
    areas = {name: figure["area"] for name, figure in told["figures"].items()}
    assert areas["text alone"] > 0.99 > 0.7 > areas["without text"] and areas["constant"] == 0.5
    assert set(told["each_source_left_out"]) == {"site0", "site1"} and told["with_cosine"].startswith("not run")


@pytest.mark.parametrize(("change", "said"), [
    (lambda text: text[:-3], "cut off"), (lambda text: text.replace("version 1", "version 0"), "version 0"),
    (lambda text: "tree", "not a model"), (lambda text: "", "not a model")])
def test_a_model_that_is_none_is_said(change, said, tmp_path):
    path = tmp_path / "weak.txt"
    path.write_text(change(weak_text("tree\nversion=v4\n", 1.0, 0.0)), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        WeakScorer(str(path))


def test_a_score_that_is_no_number_is_a_counted_rejection():
    class Broken:
        def score(self, facts, texts):
            return [math.nan for _ in texts]

    image = Image(url_key="u", url="", outcome="ok", http_status=200, final_url="", fetched_at="", signals=(),
                  permission="allow", format="jpg", width=400, height=400, num_bytes=1, sha256="s", part="p", offset=0,
                  length=1)
    row = dataclasses.replace(ROW, captions=(caption("A grey heron stands in the water"),))
    case = open_case(PHOTOGRAPH, Claims(1, ((row, image),)), ImageRules(), DriftRules(), 0.4, Broken())
    assert [(text.outcome, text.score) for text in case.texts] == [(NO_SCORE, 0.0)] and case.alive() == []


def test_bad_labels_and_unknown_scorers_are_said(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("image_url,caption,label\nhttps://a.example/x.jpg,a heron,yes\n", encoding="utf-8")
    with pytest.raises(UsageError, match="'yes'"):
        read_labels(str(path))
    path.write_text("url,caption,label\nhttps://a.example/x.jpg,a heron,1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="no columns"):
        read_labels(str(path))
    with pytest.raises(UsageError, match="is not known"):
        scorer("guess")
    with pytest.raises(UsageError, match="all of one kind"):
        joined([LabelledPairs(np.zeros((3, len(FEATURES))), np.ones(3, dtype=np.int64), ("a",) * 3, 0)])


def test_the_manifest_tells_what_scored():
    told = scorer_facts("prior")
    assert told["digest"] == scorer_digest("prior") and told["weights"]["source_alt"] > 0
