"""The commands of filter/: what they print, and their exit status."""
from __future__ import annotations

import argparse
import json

import pytest

from crawl.errors import UsageError
from filter.cli import register
from filter.explain import explain
from tests.filter.test_stages import SITE, _build, _candidates


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("out"))
    _build(folder, _candidates())
    return folder


def run(*words):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(words)
    return args.command(args)


def test_explain_follows_an_image_from_its_url_to_its_sample(out, capsys):
    assert run("explain", f"{SITE}/heron.jpg", "--out", out, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["table"] for row in rows] == ["judge/judged", "images/images", "features/features",
                                              "filter/image_outcomes", "filter/pairs", "filter/best"]
    assert run("explain", f"{SITE}/tiny.jpg", "--out", out) == 0
    assert "too_small" in capsys.readouterr().out


def test_explain_says_when_nothing_speaks_of_it(out, capsys):
    assert run("explain", "https://b.example/", "--out", out) == 1
    assert "https://b.example/" in capsys.readouterr().err
    assert list(explain(out, "")) == []


def test_scorer_train_writes_a_model(out, tmp_path, capsys):
    labels, model = tmp_path / "labels.csv", tmp_path / "weak.txt"
    labels.write_text("image_url,caption,label\n"
                      f"{SITE}/heron.jpg,A grey heron stands in the shallow water of the lake,1\n"
                      f"{SITE}/barn.jpg,The same barn seen from the road in winter,0\n", encoding="utf-8")
    assert run("scorer", "train", "--out", out, "--labels", str(labels), "--model", str(model)) == 0
    assert "2 pairs, 1 of them right" in capsys.readouterr().out
    assert model.read_text().startswith("imagebert weak scorer, version 1\n")
    with pytest.raises(UsageError, match="nowhere.csv"):
        run("scorer", "train", "--out", out, "--labels", "nowhere.csv", "--model", str(model))
