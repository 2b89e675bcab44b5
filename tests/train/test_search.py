"""`imagebert search`: over shards and over a folder, with a contrastive head and without."""
import argparse
import dataclasses
import json
import os
import re

import numpy as np
import pytest
import torch

from crawl.config import override
from crawl.errors import UsageError
from shards.manifest import load_shards
from tests.shards.made_root import made_root
from tests.train import made_shards
from tests.train.photographs import make_folder
from train import cli_search, embeddings
from train.data import TrainingData
from train.gallery import open_gallery
from train.loop import train
from train.opening import open_checkpoint
from train.packing import Rows, build_pack, capacity_for
from train.runs import RUNS
from train.scratch import scratch_checkpoint
from train.search import SearchConfig, index_folder, search

QUERY = "a red cat left of the blue dog"


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(made_shards.make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    """A run with a contrastive head."""
    out = str(tmp_path_factory.mktemp("run"))
    train(made_shards.small_config(), shards, out)
    return out


@pytest.fixture(scope="module")
def plain_run(shards, tmp_path_factory):
    """A run without one."""
    out = str(tmp_path_factory.mktemp("plain"))
    config = made_shards.small_config(align=0)
    weights = dataclasses.replace(config.stage("pretrain").weights, contrastive=0)
    config = config.with_stage(dataclasses.replace(config.stage("pretrain"), weights=weights))
    train(dataclasses.replace(config, model=dataclasses.replace(config.model, contrastive_dim=0)), shards, out)
    return out


def _run(*words):
    parser = argparse.ArgumentParser(prog="imagebert")
    cli_search.register(parser.add_subparsers(required=True))
    args = parser.parse_args(["search", *(str(word) for word in words)])
    return args.command(args)


def _asked(capsys, *words):
    assert _run(*words, "--json") == 0
    return json.loads(capsys.readouterr().out)


def _brute_force(checkpoint, gallery):
    """Returns ITM logits and cosines of all images by the model's own forward, one image at a time."""
    words = np.array(checkpoint.tokenizer.encode(QUERY)[0])
    logits, cosines = [], []
    for number in range(len(gallery)):
        sample = dataclasses.replace(gallery.sample(number), words=words)
        for rows, found in ((Rows.pairs([0], [0]), logits), (Rows.singles(1), cosines)):
            special = checkpoint.special
            pack = build_pack([sample], rows, special, capacity_for([sample], rows, special)).cropped()
            with torch.inference_mode():
                if found is logits:
                    found.append(float(checkpoint.model.match(pack)[0]))
                elif checkpoint.model.contrast is not None:
                    image, text = checkpoint.model.contrast_vectors(pack)
                    found.append(float((image * text).sum()))
    return np.array(logits), np.array(cosines)


def test_the_best_by_cosine_are_ordered_by_the_matching_head(shards, run, tmp_path):
    checkpoint = open_checkpoint(run)
    gallery = open_gallery(shards, checkpoint)
    found = search(QUERY, checkpoint, gallery, SearchConfig(top=5, rerank=20), str(tmp_path))
    logits, cosines = _brute_force(checkpoint, gallery)
    nearest = np.argsort(-cosines, kind="stable")[:20]
    best = sorted(nearest, key=lambda number: -logits[number])[:5]
    assert len(gallery) == 120 and (found.images, found.matched) == (120, 20)
    assert [hit.match_logit for hit in found.hits] == pytest.approx(logits[best], abs=1e-4)
    assert [hit.cosine for hit in found.hits] == pytest.approx(cosines[[hit.number for hit in found.hits]], abs=1e-5)
    assert {hit.number for hit in found.hits} <= set(nearest) and [hit.rank for hit in found.hits] == [1, 2, 3, 4, 5]
    first = found.hits[0]
    assert first.key and first.caption == gallery.caption(first.number) and 0 < first.match < 1


def test_without_a_contrastive_head_every_image_is_scored_after_an_estimate(shards, plain_run, tmp_path):
    checkpoint = open_checkpoint(plain_run)
    gallery = open_gallery(shards, checkpoint)
    said = []
    found = search(QUERY, checkpoint, gallery, SearchConfig(top=4), str(tmp_path), said.append)
    logits, _ = _brute_force(checkpoint, gallery)
    assert [hit.match_logit for hit in found.hits] == pytest.approx(sorted(logits)[::-1][:4], abs=1e-4)
    assert [hit.cosine for hit in found.hits] == [None] * 4 and (found.images, found.matched) == (120, 120)
    assert len(said) == 1 and re.search(r"every one of 120 images .* about \d+ s .--limit N", said[0])
    assert not os.listdir(tmp_path)


def test_full_scoring_agrees_with_reranking_all(shards, run, tmp_path, capsys):
    common = (QUERY, "--data", shards, "--checkpoint", run, "--out", tmp_path)
    all_reranked = _asked(capsys, *common, "--rerank", 1000)
    full = _asked(capsys, *common, "--full")
    assert [hit["key"] for hit in all_reranked["hits"]] == [hit["key"] for hit in full["hits"]]
    assert all_reranked["matched"] == full["matched"] == 120 and full["index"] == ""


def test_the_index_is_reused_and_never_for_other_images_or_weights(shards, run, tmp_path, capsys, monkeypatch):
    common = (QUERY, "--data", shards, "--checkpoint", run)
    one = _asked(capsys, *common)
    assert one["index"].startswith(os.path.join(run, "search", "embeddings-")) and os.path.isfile(one["index"])
    assert index_folder(open_checkpoint(run), "") == os.path.join(run, "search")
    split = _asked(capsys, *common, "--split", "test")
    limited = _asked(capsys, *common, "--limit", 7)
    assert len({one["index"], split["index"], limited["index"]}) == 3
    assert (split["images"], limited["images"]) == (24, 7) and len(limited["hits"]) == 7

    def never(*arguments):
        raise AssertionError("the index was made again")
    monkeypatch.setattr(embeddings, "_keep", never)
    again = _asked(capsys, *common)
    assert {**again, "seconds": 0} == {**one, "seconds": 0}
    other = str(tmp_path / "other")
    train(made_shards.small_config(pretrain=48), shards, other)
    with pytest.raises(AssertionError, match="made again"):
        _run(QUERY, "--data", shards, "--checkpoint", other, "--out", os.path.join(run, "search"))
    with open(one["index"], "wb") as file:
        file.write(b"cut")
    with pytest.raises(UsageError, match="remove it, and it is made again"):
        _run(*common)


def test_a_folder_of_images_goes_through_the_checkpoints_extractor(tmp_path, capsys):
    folder, scratch = make_folder(tmp_path / "photos"), tmp_path / "scratch"
    scratch_checkpoint(folder, str(scratch))
    (tmp_path / "photos" / "images" / "broken.jpg").write_bytes(b"GIF no more")
    images = os.path.join(folder, "images")
    found = _asked(capsys, "a red circle on grey", "--data", images, "--checkpoint", scratch, "--top", 3)
    assert found["images"] == 40 and "1 images left out: unsupported_format" in found["notes"]
    assert found["hits"][0]["place"].startswith("photo") and found["hits"][0]["caption"] == ""
    captioned = _asked(capsys, "a red circle on grey", "--data", folder, "--checkpoint", scratch, "--split", "val")
    assert captioned["images"] == 8 and captioned["hits"][0]["caption"].startswith("a ")
    page = tmp_path / "found.html"
    assert _run("a red <b>circle</b>\u202e", "--data", images, "--checkpoint", scratch, "--html", page) == 0
    shown = capsys.readouterr().out
    assert f"page: {page}" in shown and "ordered by the matching head" in shown
    html = page.read_text()
    assert "a red &lt;b&gt;circle&lt;/b&gt;" in html and "⟨U+202E⟩" in html and "\u202e" not in html
    assert html.count('src="data:image/webp;base64,') == 10 and "<script" not in html and "default-src 'none'" in html
    assert not re.search(r'(?:src|href)="(?!data:)', html)


def test_captions_of_the_web_are_escaped_on_the_page(tmp_path, capsys, monkeypatch):
    root = str(tmp_path / "root")
    made_root(root, 30)
    data = TrainingData({"data": load_shards(root)}, 1 << 15)
    data.close()
    small = ["align.samples=8", "pretrain.samples=8", "align.pairs=4", "pretrain.pairs=4", "model.hidden=16",
             "model.intermediate=16", "model.layers=1", "lanes=1"]
    train(override(RUNS["demo"](data.facts), small), root, str(tmp_path / "run"), threads=1)
    monkeypatch.chdir(tmp_path)
    assert _run("a cat", "--data", root, "--checkpoint", "run", "--top", 30, "--html", "found.html") == 0
    assert "\u202e" not in (shown := capsys.readouterr().out) and "⟨U+202E⟩gpj.exe" in shown
    html = (tmp_path / "found.html").read_text()
    assert html.count('src="data:image/webp;base64,') == 30 and "no picture" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html and "<script" not in html and "\u202e" not in html
    assert 'onmouseover=alert(1)' in html and '"onmouseover' not in html
    first = html
    assert _run("a cat", "--data", root, "--checkpoint", "run", "--top", 30, "--html", "found.html") == 0
    assert (tmp_path / "found.html").read_text() == first


@pytest.mark.parametrize("words, message", [
    (["   "], "has no words"), ([QUERY, "--split", "dev"], "no split 'dev'; it has test, train"),
    ([QUERY, "--top", "0"], "--top 0"), ([QUERY, "--limit", "-1"], "--limit -1"),
    ([QUERY, "--html", "{none}/x.html"], "no such folder"), ([QUERY, "--html", "{empty}"], "a folder; give the name"),
    ([QUERY, "--data", "{none}"], "no such folder"), ([QUERY, "--data", "{empty}"], "no image here"),
    ([QUERY, "--data", "{photos}/images"], "regions of 'made'"),
    ([QUERY, "--data", "{photos}/images", "--split", "test"], "has no splits"),
    ([QUERY, "--checkpoint", "{empty}"], "no checkpoint here")])
def test_bad_usage_is_one_clear_line(tmp_path, shards, run, words, message):
    (tmp_path / "empty").mkdir()
    places = {"none": tmp_path / "none", "empty": tmp_path / "empty", "photos": make_folder(tmp_path / "photos")}
    with pytest.raises(UsageError, match=message) as raised:
        _run("--data", shards, "--checkpoint", run, "--out", tmp_path / "index",
             *[word.format(**places) for word in words])
    assert "\n" not in str(raised.value)
