"""--dry-run: its plan is what a run does, its costs are of that size, and it says every difference from the paper's."""
import argparse
import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from model import config as sizes
from shards.index import load_index
from shards.manifest import TOMBSTONES
from tests.train.made_shards import make_shards, small_config
from train import cli, dry_run
from train.data import TrainingData
from train.dry_run import differences, measure, plan_of
from train.loop import train
from train.mixture import open_sets
from train.plan import DataFacts
from train.runs import lait_base, lait_base_fast
from train.step_report import StepReport
from train.stream import PackStream, StageStart

FACTS = DataFacts(30522, 2048, 1600, 100, 41)


@pytest.fixture
def data(tmp_path):
    opened = TrainingData(open_sets([str(make_shards(tmp_path / "shards"))]), 4)
    yield opened
    opened.close()


def _done(config, data, stage):
    steps = list(PackStream(data, config, stage, StageStart()))
    return (steps[-1].samples_after, len(steps), sum(pack.tokens for step in steps for _, pack in step.packs))


def test_the_plan_is_what_a_run_does(data, monkeypatch):
    config = small_config(align=48, pretrain=100)
    plan = plan_of(config, data)
    for number, stage in enumerate(plan):
        assert (stage.samples, stage.steps, stage.tokens) == _done(config, data, number) and stage.exact
        assert stage.sets == (("data", 96),)
    monkeypatch.setattr(dry_run, "_PLANNED", 3)
    for reckoned, counted in zip(plan_of(config, data), plan, strict=True):
        assert not reckoned.exact
        assert reckoned.tokens == pytest.approx(counted.tokens, rel=0.15)
        assert reckoned.steps == pytest.approx(counted.steps, abs=1)


def with_scores(root):
    """Gives each training shard a table whose score says the sample's place in it, 0 to 1."""
    path = root / "manifest.json"
    value = json.loads(path.read_text())
    for shard in value["extra"]["shards"]:
        if shard["split"] == "train":
            keys = [key.decode() for key in load_index(str(root / shard["index"]))["key"]]
            shard["table"] = shard["name"].replace(".tar", ".parquet")
            pq.write_table(pa.table({"key": keys, "score": [place / len(keys) for place in range(len(keys))]}),
                           root / shard["table"])
    path.write_text(json.dumps(value))


@pytest.mark.parametrize("changes", [{}, {"itm": "triple"}, {"tokens": 80, "pairs": 8}])
def test_a_real_run_does_what_was_said(tmp_path, monkeypatch, capsys, changes):
    """Steps, samples, tokens, padding and what is left out, of a run with a predicate and two removed samples."""
    root = make_shards(tmp_path / "shards")
    with_scores(root)
    removed = [key.decode() for key in load_index(str(root / "train/lait-jpg-000001.idx.npy"))["key"][[0, 20]]]
    (root / TOMBSTONES).write_text(json.dumps({"keys": {"train/lait-jpg-000001.tar": removed}}))
    config = small_config(align=0)
    config = config.with_stage(dataclasses.replace(config.stage("pretrain"), samples=0, epochs=1.0,
                                                   where=("score >= 0.25",), **changes))
    data = TrainingData(open_sets([str(root)]), 4)
    said, = plan_of(data.resolved(config), data)
    data.close()
    steps = []
    real = StepReport.add
    monkeypatch.setattr(StepReport, "add", lambda self, step, result: (steps.append(step), real(self, step, result)))
    train(config, str(root), str(tmp_path / "out"))
    assert capsys.readouterr().err == "stage pretrain leaves out 24 where, 1 removed\n"
    packs = [pack for step in steps for _, pack in step.packs]
    tokens, room = sum(pack.tokens for pack in packs), sum(len(pack.token_source) for pack in packs)
    assert said.exact and (said.steps, said.samples) == (len(steps), steps[-1].samples_after)
    assert (said.tokens, said.padding) == (tokens, round(1 - tokens / room, 4))
    left_out = dict(said.left_out)
    assert left_out == {"where": 4 * 6, "removed": 1}               # the other removed one has too low a score
    assert sum(len(step.skipped) for step in steps) == left_out["removed"]
    shown = {key for step in steps for keys in step.keys.values() for key in keys}
    # The last step goes on into the next epoch: every sample is shown, none that is left out.
    assert len(shown) == 96 - sum(left_out.values()) and not shown & set(removed)


def test_costs_grow_with_the_steps(data):
    config = small_config(align=12, pretrain=96)
    plan = plan_of(config, data)
    cost = measure(config, data, plan)
    assert [name for name, _ in cost.seconds] == ["align", "pretrain"]
    assert all(0 < seconds < 600 for _, seconds in cost.seconds) and cost.bytes > 10 << 20
    assert cost.parameters > 1000


def test_every_difference_of_the_fast_run_is_told():
    found = {name: (ours, theirs) for name, ours, theirs in differences(lait_base_fast(FACTS), lait_base(FACTS))}
    assert found["model.attention_dropout"] == (0.0, 0.1) and found["lait.tokens"] == (131_072, 0)
    assert found["public.optimizer.learning_rate"] == (5e-4, 1e-4) and found["compile"] == (True, False)
    assert {name.rpartition(".")[2] for name in found} == {"attention_dropout", "tokens", "pairs", "learning_rate",
                                                           "beta2", "compile", "checkpoint_samples", "log_samples"}
    assert not differences(lait_base(FACTS), lait_base(FACTS))


def test_as_a_person_types_it(tmp_path, capsys, monkeypatch):
    shards = make_shards(tmp_path / "shards")
    monkeypatch.setattr(sizes, "base", lambda: sizes.ModelConfig(
        vocab_size=21, feature_dim=12, num_classes=32, hidden=16, layers=1, heads=2, intermediate=16))
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers(required=True))
    words = ["pretrain", "--run", "lait_base_fast", "--shards", f"lait={shards}", "--set", "public.epochs=0", "--set",
             "lait.epochs=2", "--set", "lait.tokens=0", "--set", "lait.pairs=6", "--set", "compile=false", "--out",
             str(tmp_path / "out"), "--dry-run"]
    args = parser.parse_args(words)
    assert args.command(args) == 0
    shown = capsys.readouterr().out
    assert "192 samples (lait 96 an epoch), 8 steps" in shown and "GiB at the peak" in shown
    assert "model.attention_dropout = 0.0 (lait_base: 0.1)" in shown and "lait.epochs = 2" in shown
    args = parser.parse_args([*words, "--json"])
    assert args.command(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["plan"][0]["steps"] == 8 and not (tmp_path / "out").exists()
