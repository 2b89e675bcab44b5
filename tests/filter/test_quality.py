"""The caption-quality classifier: its command, its rule, its manifest entry, and files that are no model."""
from __future__ import annotations

import argparse
import dataclasses

import numpy
import pytest

from crawl.errors import UsageError
from filter.cli_quality import register
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.language import load_model
from filter.quality import as_read, caption_quality, model_digest
from filter.quality_training import distinct
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, texts

THINGS = ("heron", "barn", "boat", "dog", "tower", "child", "bridge", "fox", "garden", "horse", "market", "train")
PLACES = ("on the shore of a lake", "behind an old wooden fence", "in the evening light", "near the harbour",
          "under a blue sky", "beside the road")
CAPTIONS = [f"A {adjective} {thing} {place}" for adjective in ("small", "red") for thing in THINGS for place in PLACES]
NOISE = [f"{verb} our {what} {end}" for verb in ("Subscribe to", "Download", "Compare", "Rate", "Follow")
         for what in ("newsletter", "app", "plans", "products", "channel", "offers") for end in
         ("to stay informed", "for members only", "and get the latest updates", "with your account")]
FURNITURE = "Follow our newsletter and get the latest products with your account"


def run(*words):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    args = parser.parse_args(words)
    return args.command(args)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quality")
    (folder / "good.txt").write_text("\n".join(CAPTIONS), encoding="utf-8")
    (folder / "bad.txt").write_text("\n".join(NOISE), encoding="utf-8")
    return folder


def trained(files, name):
    model = files / name
    run("quality", "train", "--positive", str(files / "good.txt"), "--negative", str(files / "bad.txt"),
        "--model", str(model))
    return model


@pytest.fixture(scope="module")
def model(files):
    return trained(files, "model.bin")


def test_it_tells_captions_from_furniture_it_never_saw_and_is_the_same_twice(model, files, capsys):
    assert caption_quality("A grey heron stands in the water near the bridge", str(model)) > 0.7
    assert caption_quality(FURNITURE, str(model)) < 0.3
    assert caption_quality("", str(model)) * 4096 == int(caption_quality("", str(model)) * 4096)
    assert trained(files, "again.bin").read_bytes() == model.read_bytes()
    said = capsys.readouterr().out
    assert f"{len(CAPTIONS)} captions and {len(NOISE)} texts of noise" in said
    assert float(said.rpartition("curve ")[2]) > 0.95


def test_training_does_not_depend_on_what_the_allocator_hands_out(model, files):
    large = numpy.full(7 << 20, numpy.nan, numpy.float32)      # freed, it makes glibc reuse blocks of up to its size
    del large
    used = [numpy.full(1 << 20, numpy.nan, numpy.float32) for _ in range(10)]
    del used[::2]                                              # holes full of NaN
    assert trained(files, "dirty.bin").read_bytes() == model.read_bytes()


def test_the_rule_rejects_in_judge_and_without_a_model_the_manifest_says_it_is_off(model, tmp_path):
    rows = [candidate("https://a.example/h.jpg"), candidate("https://a.example/n.jpg", texts=texts(alt=FURNITURE))]
    out = str(tmp_path)
    tiny_web.commit_crawl(out, rows)
    off = judge(out, JudgeConfig(buckets=1), tiny_web.run)
    assert dict(off.funnel[2].outcomes) == {"passed": 2}
    assert [note for note in off.notes if note.startswith("caption quality: off")]
    config = JudgeConfig(buckets=1, quality_path=str(model))
    on = judge(out, config, tiny_web.run)
    assert dict(on.funnel[2].outcomes) == {"low_quality": 1, "passed": 1} and not on.notes
    assert dict(on.funnel[0].outcomes) == {"fetch": 1, "not_fetched_low_quality": 1}
    assert on.inputs["quality"] == model_digest(str(model))
    lax = judge(out, dataclasses.replace(config, min_quality=0.0), tiny_web.run)
    assert dict(lax.funnel[2].outcomes) == {"passed": 2}


@pytest.mark.parametrize("spoil, says", [
    (lambda data: data[:-100], "cut off"), (lambda data: data[:4000] + b"x" + data[4001:], "changed since"),
    (lambda data: b"", "cut off"), (lambda data: b"PK\x03\x04 something else", "not a model")])
def test_a_file_that_is_no_model_is_one_line(model, tmp_path, spoil, says):
    path = tmp_path / "model.bin"
    path.write_bytes(spoil(model.read_bytes()))
    with pytest.raises(UsageError, match=says) as raised:
        caption_quality("a heron", str(path))
    assert "\n" not in str(raised.value)


def test_missing_models_and_lists_and_too_few_texts_are_one_line(files, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        model_digest(str(tmp_path / "none.bin"))
    with pytest.raises(UsageError, match="cannot be read as lines"):
        run("quality", "train", "--positive", str(tmp_path / "none.txt"), "--model", "x")
    with pytest.raises(UsageError, match="0 different texts of noise"):
        run("quality", "train", "--positive", str(files / "good.txt"), "--model", "x")
    wrong = tmp_path / "lid.ftz"
    wrong.write_bytes(b"no model at all")
    with pytest.raises(UsageError, match="not one of fastText's"):
        load_model(str(wrong))


def test_texts_are_cleaned_and_what_both_lists_have_is_in_neither():
    found = distinct(["A heron &amp; a fox", "a HERON & a fox", "Read this"], ["Read this!", "Buy", "[Illustration]"])
    assert (found.captions, found.noise) == (("A heron & a fox",), ("Buy", "Illustration"))
    assert as_read("A\n2nd __label__noise") == "a 0nd label noise"


def test_a_dataset_of_ones_own_gives_both_kinds(tmp_path):
    from tests.filter.test_stages import _build, _candidates
    out = str(tmp_path)
    menus = [candidate(f"https://a.example/m{n}.jpg", f"https://a.example/m{n}", texts=texts(
        alt=f"Home | {thing} | Contact | Login")) for n, thing in enumerate(THINGS)]
    _build(out, _candidates() + menus)
    from filter.quality_training import texts_of_dataset
    kept, noise = texts_of_dataset(out)
    assert "A grey heron stands in the shallow water of the lake" in kept and len(noise) == len(THINGS)
