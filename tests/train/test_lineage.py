"""`imagebert lineage`: the whole chain holds; a changed byte or setting anywhere in it is found."""
import argparse
import dataclasses
import glob
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from crawl.config import override
from crawl.errors import UsageError
from crawl.stages import Stage
from crawl.tables import FileEntry
from shards.lineage import stages_behind
from shards.manifest import load_shards
from tests.shards.made_root import made_root
from tests.train.photographs import make_folder
from train import cli_lineage
from train.data import TrainingData
from train.evaluate_run import EvaluateConfig, evaluate
from train.finetune_run import finetune
from train.loop import train
from train.retrieval import RetrievalConfig
from train.runs import RUNS

KINDS = ["recall", "checkpoint", "stages", "shards", "filter", "images", "judge", "crawl"]
SMALL = ["align.samples=24", "pretrain.samples=24", "align.pairs=4", "pretrain.pairs=4", "model.hidden=16",
         "model.intermediate=16", "model.layers=1", "checkpoint_samples=1", "lanes=1"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a dataset `data`, a run `data/run` and its evaluation, made with relative names from inside it."""
    home, before = tmp_path_factory.mktemp("home"), os.getcwd()
    os.chdir(home)
    try:
        made_root("data", 40)
        data = TrainingData({"data": load_shards("data")}, 1 << 15)
        data.close()
        config = override(RUNS["demo"](data.facts), SMALL)
        train(config, "data", "data/run", threads=1)
        evaluate("data/run", "data", "data/evaluation", EvaluateConfig(
            blind=False, split="train", retrieval=RetrievalConfig(folds=1, fold_size=0, rerank=0, control=False)))
    finally:
        os.chdir(before)
    return home


@pytest.fixture
def home(made, tmp_path):
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


def run(*words):
    parser = argparse.ArgumentParser(prog="imagebert")
    cli_lineage.register(parser.add_subparsers(required=True))
    args = parser.parse_args(["lineage", *(str(word) for word in words)])
    return args.command(args)


def links(capsys, status, *words):
    assert run(*words, "--json") == status
    found = json.loads(capsys.readouterr().out)
    assert found["holds"] == (status == 0)
    return found["links"]


def faults(found):
    return [(link["kind"], check["what"], check["status"]) for link in found for check in link["checks"]
            if check["status"] in ("mismatch", "missing")]


def one(home, pattern):
    return Path(sorted(glob.glob(str(home / pattern)))[-1])


def flip(path):
    """Changes the last byte of a file, not its size."""
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def edit(path, name, value):
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}, indent=1))


def test_the_chain_holds_wherever_it_is_looked_at_from(home, capsys):
    found = links(capsys, 0, home / "data" / "evaluation" / "result.json")
    assert [link["kind"] for link in found] == KINDS and faults(found) == []
    checks = {(link["kind"], check["what"]): check for link in found for check in link["checks"]}
    assert checks["recall", "weights"]["status"] == checks["recall", "images ranked"]["status"] == "ok"
    assert checks["stages", "config"]["status"] == checks["filter", "build config"]["status"] == "ok"
    assert checks["crawl", "input seeds"]["status"] == "recorded"
    assert all(checks[kind, "files"]["status"] == "ok" for kind in KINDS[3:])
    from_run = links(capsys, 0, home / "data" / "run")
    assert [link["kind"] for link in from_run] == KINDS[1:]
    assert [link["kind"] for link in links(capsys, 0, home / "data" / "evaluation", "--quick")] == KINDS
    assert run(home / "data" / "run") == 0
    shown = capsys.readouterr().out
    assert "0 do not match, 0 are missing" in shown and "  ok        build config: " in shown


@pytest.mark.parametrize("pattern, fault", [
    ("data/run/checkpoints/*/model.safetensors", ("recall", "weights", "mismatch")),
    ("data/shards/*/train/lait-jpg-000000.tar", ("shards", "train/lait-jpg-000000.tar", "mismatch")),
    ("data/shards/*/vocab.txt", ("shards", "vocab.txt", "mismatch")),
    ("data/judge/*/*.parquet", ("judge", "judged-00000-of-00001.parquet", "mismatch")),
    ("data/run/checkpoints/*/vocab.txt", ("checkpoint", "vocabulary", "mismatch")),
])
def test_a_changed_byte_is_found(home, capsys, pattern, fault):
    flip(one(home, pattern))
    assert fault in faults(links(capsys, 1, home / "data" / "evaluation"))


@pytest.mark.parametrize("pattern, name, value, fault", [
    ("data/run/config.json", "seed", 2, ("stages", "config", "mismatch")),
    ("data/run/extractor.json", "digest", "ab" * 32, ("checkpoint", "extractor", "mismatch")),
    ("data/filter/*/manifest.json", "config", {"x": 1}, ("filter", "manifest", "mismatch")),
    ("data/evaluation/result.json", "data_digest", "ab" * 32, ("recall", "images ranked", "mismatch")),
])
def test_a_changed_record_is_found(home, capsys, pattern, name, value, fault):
    edit(one(home, pattern), name, value)
    assert fault in faults(links(capsys, 1, home / "data" / "evaluation"))


def test_what_is_gone_is_missing(home, capsys):
    os.unlink(one(home, "data/images/*/*.parquet"))
    shutil.rmtree(home / "data" / "crawl")
    found = faults(links(capsys, 1, home / "data" / "run"))
    assert ("images", "images-00000-of-00001.parquet", "missing") in found and ("crawl", "manifest", "missing") in found
    shutil.move(home / "data" / "run", home / "run")
    found = faults(links(capsys, 1, home / "run"))
    assert found == [("shards", "manifest", "missing")]
    assert len(faults(links(capsys, 1, home / "run", "--data", home / "data"))) == 2


def test_a_build_config_that_is_not_the_folders_and_a_cut_part_are_found(tmp_path):
    def committed(out, config):
        stage = Stage.open(str(out), "crawl", 1, config, {})
        os.makedirs(stage.directory)
        Path(stage.directory, "part.warc.gz").write_bytes(b"pages")
        entry = FileEntry(name="part.warc.gz", bytes=5, sha256=hashlib.sha256(b"pages").hexdigest())
        return stage.commit({"warc": [entry]}, [])

    manifest = committed(tmp_path, Config())
    checks = {check.what: check for link in stages_behind(str(tmp_path), manifest.digest) for check in link.checks}
    assert checks["fetched parts"].detail == "1 of them, 5 bytes, by sha256"
    os.rename(manifest.directory, tmp_path / "crawl" / ("0" * 12))
    (tmp_path / "crawl" / ("0" * 12) / "part.warc.gz").write_bytes(b"page")
    (link,) = stages_behind(str(tmp_path), manifest.digest)
    assert {check.what: check.status for check in link.checks} == {
        "manifest": "ok", "build config": "mismatch", "part.warc.gz": "mismatch"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Any settings."""

    pages: int = 1


def test_a_resumed_run_names_the_checkpoint_it_went_on_from(home, capsys):
    state = one(home, "data/run/checkpoints/*/state.json")
    edit(state, "parent", "ab" * 32)
    parent = [check for link in links(capsys, 0, home / "data" / "run") for check in link["checks"]
              if check["what"] == "parent"]
    assert [check["status"] for check in parent] == ["recorded"]
    other = sorted(state.parent.parent.iterdir())[0] / "state.json"
    edit(state, "parent", hashlib.sha256(other.read_bytes()).hexdigest())
    parent = [check for link in links(capsys, 0, home / "data" / "run") for check in link["checks"]
              if check["what"] == "parent"]
    assert [check["status"] for check in parent] == ["ok"] and str(other.parent) in parent[0]["detail"]


def test_a_tuned_model_leads_to_what_was_tuned(home, capsys, tmp_path):
    finetune(str(home / "data" / "run"), str(home / "data"), str(tmp_path / "tuned"), ["epochs=1"])
    found = links(capsys, 0, tmp_path / "tuned")
    assert [link["kind"] for link in found] == ["checkpoint", "stages", *KINDS[1:]]
    assert [check["status"] for check in found[1]["checks"]] == ["ok", "recorded"]
    shutil.rmtree(home / "data" / "run")
    assert ("checkpoint", "parent", "missing") in faults(links(capsys, 1, tmp_path / "tuned"))


def test_a_model_from_scratch_ends_where_it_began(capsys, tmp_path):
    finetune("", make_folder(tmp_path / "photos"), str(tmp_path / "tuned"), ["epochs=1"], from_scratch=True)
    found = links(capsys, 0, tmp_path / "tuned")
    assert [link["kind"] for link in found[:2]] == ["checkpoint", "stages"]
    assert "shards" not in [link["kind"] for link in found]


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    for words, message in ((["nowhere"], "neither a checkpoint nor a result"), ([tmp_path], "neither a checkpoint"),
                           ([tmp_path / "x.json"], "not the result of `imagebert evaluate`"),
                           ([tmp_path, "--data", tmp_path / "none"], "--data .*none: no such folder")):
        with pytest.raises(UsageError, match=message) as raised:
            run(*words)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("part", ["", "shards/*", "shards/*/manifest.json"])
def test_of_a_dataset_alone_without_torch(home, part, monkeypatch, capsys):
    place = glob.glob(str(home / "data" / part))[0]
    monkeypatch.setattr("train.cli_lineage.need_torch", lambda name: pytest.fail("nothing is trained here"))
    assert run(place) == 0
    said = capsys.readouterr().out
    assert [line.split()[0] for line in said.splitlines() if not line.startswith(" ")][:-1] == KINDS[3:]
    table = next((home / "data" / "filter").glob("*/best-*.parquet"))
    table.write_bytes(table.read_bytes()[:-1] + b"?")
    assert run(place) == 1 and "mismatch" in capsys.readouterr().out


def test_a_dataset_needs_no_data(home):
    with pytest.raises(UsageError, match="is a dataset itself"):
        run(home / "data", "--data", home / "data")
