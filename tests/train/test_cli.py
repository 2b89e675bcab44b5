import argparse
import json

import pytest

from crawl.errors import UsageError
from tests.train.made_shards import make_shards
from train.cli import register

SMALL = ["--set", "align.samples=48", "--set", "pretrain.samples=48", "--set", "model.hidden=16", "--set",
         "model.layers=1", "--set", "model.intermediate=16"]


def run(*arguments):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(["pretrain", *arguments])
    return args.command(args)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


def test_pretrain_prints_where_the_checkpoint_is(shards, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert run("--shards", shards, "--out", out, "--json", *SMALL) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["finished"] and printed["checkpoint"].startswith(out) and set(printed["losses"]["pretrain"]) == {
        "mlm", "moc", "mrfr", "itm", "contrastive"}
    assert run("--shards", shards, "--out", out, "--resume", *SMALL) == 0
    assert "checkpoint: " in capsys.readouterr().out
    with pytest.raises(UsageError, match="add --resume"):
        run("--shards", shards, "--out", out, *SMALL)


def test_config_is_shown_without_a_run(shards, tmp_path, capsys):
    assert run("--shards", shards, "--out", str(tmp_path / "x"), "--show-config", "--set", "seed=9") == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 9 and not (tmp_path / "x").exists()
    with pytest.raises(UsageError, match="no such folder"):
        run("--shards", str(tmp_path / "y"), "--out", str(tmp_path / "x"))
    with pytest.raises(UsageError, match="the shards have"):
        run("--shards", shards, "--out", str(tmp_path / "x"), "--run", "lait_base")
