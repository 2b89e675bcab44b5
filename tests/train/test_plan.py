import dataclasses

import pytest

from crawl.config import as_dict, override
from crawl.errors import UsageError
from tests.train.made_shards import small_config
from train.plan import DataFacts, StageConfig, capacity_of, check_facts, limits_of
from train.runs import RUNS, demo, lait_base

FACTS = DataFacts(vocab_size=100, feature_dim=192, num_classes=64, max_regions=16, max_words=41)


def test_named_runs_are_whole():
    small = demo(FACTS)
    check_facts(small, FACTS)
    assert [name for name, _ in small.stages()] == ["align", "pretrain"]
    align, pretrain = small.stage("align"), small.stage("pretrain")
    assert not align.joint and align.singles and pretrain.joint and pretrain.singles
    paper = lait_base(DataFacts(30522, 2048, 1600, 100, 41))
    check_facts(paper, DataFacts(30522, 2048, 1600, 100, 41))
    assert [(name, stage.epochs) for name, stage in paper.stages()] == [("lait", 17), ("public", 17)]
    assert paper.lanes * paper.stage("public").pairs == 48 and paper.stage("lait").itm == "triple"
    assert set(RUNS) == {"demo", "lait_base", "lait_base_fast"} and as_dict(paper)["model"]["hidden"] == 768


@pytest.mark.parametrize("change, words", [
    ({"vocab_size": 99}, "model.vocab_size=100, the shards have 99"),
    ({"feature_dim": 7}, "--set model.feature_dim=7"),
    ({"max_regions": 60}, "model.max_tokens is 80; --set model.max_tokens=104 or --set regions=36"),
])
def test_model_and_data_must_fit(change, words):
    with pytest.raises(UsageError, match=words):
        check_facts(demo(FACTS), dataclasses.replace(FACTS, **change))


def test_settings_are_overridden_by_name():
    config = override(demo(FACTS), ["pretrain.samples=50", "model.hidden=32", "pretrain.weights.mrfr=0.5"])
    stage = config.stage("pretrain")
    assert (stage.samples, config.model.hidden, stage.weights.mrfr) == (50, 32, 0.5)
    for wrong in (["align.samples=0", "pretrain.samples=0"], ["model.contrastive_dim=0"], ["lanes=0"]):
        with pytest.raises(UsageError, match="--set"):
            override(demo(FACTS), wrong)


def test_a_pack_that_is_full_fits_its_capacity():
    config = small_config()
    for stage in (config.stage("align"), config.stage("pretrain"), StageConfig("short", samples=1, pairs=6, tokens=90)):
        limits, capacity = limits_of(stage, config, FACTS), capacity_of(stage, config, FACTS)
        assert limits.tokens <= capacity.tokens and capacity.words <= capacity.tokens
        # even one sample of the greatest size
        assert capacity.tokens >= (FACTS.max_regions + FACTS.max_words + 3) * stage.joint
