"""From a trained checkpoint and shards to result.json; what does not fit is refused in one line."""
import json
import shutil

import pytest

from crawl.errors import UsageError
from tests.train import made_shards
from train.evaluate_run import EvaluateConfig, evaluate, print_result
from train.loop import train
from train.opening import open_checkpoint, open_data
from train.retrieval import RetrievalConfig

CONFIG = EvaluateConfig(retrieval=RetrievalConfig(folds=2, fold_size=12, rerank=10, rows_per_block=5))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("evaluate")
    shards = str(made_shards.make_shards(root / "shards", samples=30))
    train(made_shards.small_config(), shards, str(root / "run"))
    return root, shards, str(root / "run")


def test_writes_every_row_with_chance_interval_and_baselines(run, capsys):
    root, shards, checkpoint = run
    result = evaluate(checkpoint, shards, str(root / "first"), CONFIG)
    written = json.loads((root / "first" / "result.json").read_text())
    assert [row["name"] for row in written["rows"]] == ["itm", "itm_shuffled", "contrastive", "reranked"]
    assert [row["task"] for row in written["blind"]] == ["mlm", "moc", "mrfr", "itm"]
    first = written["rows"][0]["recalls"][0]
    assert first["chance"] == pytest.approx(1 / 12, abs=1e-5) and first["low"] <= first["value"] <= first["high"]
    assert (written["weights_digest"], written["stage"]) == (result.weights_digest, "pretrain")
    assert written["config"]["retrieval"]["fold_size"] == 12 and "seconds" not in written
    print_result(result)
    shown = capsys.readouterr().out
    assert "chance" in shown and "95 %" in shown and "itm_shuffled" in shown and str(root / "first") in shown


def test_a_second_evaluation_writes_the_same_bytes(run):
    root, shards, checkpoint = run
    for name in ("one", "two"):
        evaluate(checkpoint, shards, str(root / name), CONFIG)
    assert (root / "one" / "result.json").read_bytes() == (root / "two" / "result.json").read_bytes()


def _changed(run, tmp_path, **extra):
    shutil.copytree(run[1], tmp_path / "shards")
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    manifest["extra"] |= extra
    (tmp_path / "shards" / "manifest.json").write_text(json.dumps(manifest))
    return str(tmp_path / "shards")


@pytest.mark.parametrize("extra, message", [
    ({"feature_dim": 13}, "its feature width is 12"), ({"num_classes": 9}, "its number of region classes is 32"),
    ({"tokenizer_digest": "ab" * 32}, "vocabulary"), ({"extractor_digest": "ab" * 32}, "region extractor"),
    ({"shards": []}, "no sample to use in split 'test'")])
def test_refuses_data_of_another_kind(run, tmp_path, extra, message):
    with pytest.raises(UsageError, match=message) as raised:
        evaluate(run[2], _changed(run, tmp_path, **extra), str(tmp_path / "out"), CONFIG)
    assert "\n" not in str(raised.value) and not (tmp_path / "out" / "result.json").exists()


def test_refuses_a_folder_without_a_checkpoint(run, tmp_path):
    with pytest.raises(UsageError, match="no checkpoint here"):
        evaluate(str(tmp_path), run[1], str(tmp_path / "out"), CONFIG)


def test_a_tenth_of_the_training_images_is_validation(run):
    opened = open_checkpoint(run[2])
    both = open_data(run[1], opened, ("train", "val"))
    whole = open_data(run[1], opened, ("train",))["train"]
    assert (len(whole), len(both["train"]), len(both["val"])) == (120, 108, 12)
    assert set(both["train"].keys) | set(both["val"].keys) == set(whole.keys)
    assert both["val"].keys == open_data(run[1], opened, ("train", "val"))["val"].keys


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"blind_pairs": 0}, {"regions": -1}])
def test_refuses_an_impossible_config(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        EvaluateConfig(**wrong)
