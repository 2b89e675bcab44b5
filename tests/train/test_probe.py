"""The probe on held-out pairs: exact, the same for all ranks, repeated by a resume, and nothing to the training."""
import dataclasses

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.manifest import load_shards
from tests.train.dying import dying_after
from tests.train.made_shards import REGIONS, make_shards, small_config
from train.data import TrainingData
from train.loop import train
from train.metrics import PROBES, read_metrics
from train.probe import Probe
from train.ranks import Ranks
from train.recall import ranks_of
from train.scoring import CrossScorer

CONFIG = small_config(checkpoint_samples=24, probe_samples=30, probe_images=8, probe_captions=20)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    out = str(tmp_path_factory.mktemp("whole"))
    train(CONFIG, shards, out)
    return out


def rows(out, name):
    return [{key: value for key, value in row.items() if key not in ("time", "seconds")}
            for row in read_metrics(out, name)]


def test_a_line_every_so_many_samples_and_at_the_end_of_a_stage(whole):
    found = rows(whole, PROBES)
    assert [(row["stage"], row["samples"]) for row in found] == [
        ("align", 36), ("align", 48), ("pretrain", 36), ("pretrain", 60), ("pretrain", 96)]
    assert found[0]["ranked_by"] == "contrastive" and "itm" not in found[0] and found[0]["contrastive"] > 0
    last = found[-1]
    assert last["ranked_by"] == "itm" and {"mlm", "moc", "mrfr", "itm", "itm_accuracy", "contrastive"} <= last.keys()
    assert 0 <= last["image_to_text/recall@1"] <= last["image_to_text/recall@10"] <= 1
    assert last["pairs"] == 8 * 20


def test_it_changes_nothing_of_the_training(shards, whole, tmp_path):
    plain = dataclasses.replace(CONFIG, probe_samples=0)
    train(plain, shards, str(tmp_path))
    assert rows(str(tmp_path), "metrics.jsonl") == rows(whole, "metrics.jsonl")
    assert read_metrics(str(tmp_path), PROBES) == []


@pytest.mark.parametrize("lanes", [5, 9, 14])
def test_a_resume_repeats_it(shards, whole, tmp_path, lanes):
    with dying_after(lanes):
        train(CONFIG, shards, str(tmp_path))
    train(CONFIG, shards, str(tmp_path), resume=True)
    assert rows(str(tmp_path), PROBES) == rows(whole, PROBES)
    assert rows(str(tmp_path), "metrics.jsonl") == rows(whole, "metrics.jsonl")


def test_two_ranks_measure_what_one_does(shards, whole, tmp_path):
    train(CONFIG, shards, str(tmp_path), ranks=2)
    for ours, theirs in zip(rows(str(tmp_path), PROBES), rows(whole, PROBES), strict=True):
        for name, value in theirs.items():
            assert ours[name] == (value if isinstance(value, str) else pytest.approx(value, rel=2e-3, abs=2e-3)), name


def test_recalls_are_those_of_the_whole_matrix(shards, monkeypatch):
    data = TrainingData({"data": load_shards(shards)}, REGIONS)
    stage = CONFIG.stage("pretrain")
    probe = Probe(data, stage, CONFIG, Ranks())
    drawn = np.random.default_rng(3).random((8, len(probe._held))).round(1).astype(np.float32)      # with ties
    monkeypatch.setattr(CrossScorer, "rows", lambda self, first, last: drawn[first:last])
    from model.imagebert import ImageBert
    found = probe._recalls(ImageBert(CONFIG.model))
    padded = np.vstack([drawn, np.full((len(probe._held) - 8, len(probe._held)), -1, np.float32)])
    expected = ranks_of(padded, np.arange(len(probe._held))).image_to_text_I[:8]
    among = ranks_of(drawn[:, :8], np.arange(8)).text_to_image_C
    for k in (1, 5, 10):
        assert found[f"image_to_text/recall@{k}"] == round(float((expected < k).mean()), 6)
        assert found[f"text_to_image/recall@{k}"] == round(float((among < k).mean()), 6)
    data.close()


def test_without_held_out_pairs_it_is_refused(shards):
    found = load_shards(shards)
    data = TrainingData({"data": dataclasses.replace(found, shards=found.of_split("train"))}, REGIONS)
    with pytest.raises(UsageError, match="probe_samples=30: .* no held-out samples .*--set probe_samples=0"):
        Probe(data, CONFIG.stage("pretrain"), CONFIG, Ranks())
    data.close()
    with pytest.raises(ValueError, match="probe_images is 9; it must be 1 to probe_captions"):
        dataclasses.replace(CONFIG, probe_images=9, probe_captions=8)
