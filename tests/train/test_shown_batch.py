"""`imagebert batch`: what is shown is what the model sees, at any step."""
import argparse
import dataclasses
import json

import pytest
import torch

from crawl.errors import UsageError
from shards.manifest import load_shards
from tests.train.made_shards import VOCAB, make_shards, small_config
from train import cli_batch
from train.data import TrainingData
from train.shown_batch import capacities, sequences_of
from train.stream import PackStream, StageStart

CONFIG = small_config()
SMALL = ["--set", "lanes=2", "--set", "pretrain.pairs=6", "--set", "pretrain.samples=96"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture
def data(shards):
    opened = TrainingData({"data": load_shards(shards)}, CONFIG.regions)
    yield opened
    opened.close()


def run(*words):
    parser = argparse.ArgumentParser(prog="imagebert")
    cli_batch.register(parser.add_subparsers(required=True))
    args = parser.parse_args(["batch", *words])
    return args.command(args)


def equal(ours, theirs):
    return all(torch.equal(getattr(ours, field.name), getattr(theirs, field.name))
               if isinstance(getattr(ours, field.name), torch.Tensor)
               else getattr(ours, field.name) == getattr(theirs, field.name) for field in dataclasses.fields(ours))


def test_a_step_alone_is_the_step_of_the_run(data):
    whole = list(PackStream(data, CONFIG, 1, StageStart()))
    for number in (0, 3, 7):
        for lane in (0, 1):
            step, (samples,) = PackStream(data, CONFIG, 1, StageStart(), lane, 2).step(number)
            assert (step.samples_before, step.after) == (whole[number].samples_before, whole[number].after)
            assert step.packs[0][0] == lane and equal(step.packs[0][1], whole[number].packs[lane][1])
            assert len(samples) == 6


def test_shown_words_regions_and_masks_are_those_of_the_samples(data):
    predicted = hidden = negatives = replaced = unknown = 0
    for number in range(8):
        step, (samples,) = PackStream(data, CONFIG, 1, StageStart(), 0, 2).step(number)
        pack, by_key = step.packs[0][1], {sample.key: sample for sample in samples}
        shown = sequences_of(pack, samples, VOCAB)
        assert [one.kind for one in shown] == ["joint"] * 6 + ["image"] * 6 + ["text"] * 6
        assert sum(one.tokens for one in shown) == pack.tokens
        assert sum(bool(word.target) for one in shown for word in one.words) == pack.masked_words
        assert sum(region.predicted for one in shown for region in one.regions) == pack.masked_regions
        for place, one in enumerate(shown):
            assert one.tokens == len(one.words) + len(one.regions)
            if one.kind == "joint":
                assert one.image == samples[place].key and one.contrasted_with == -1
                if one.caption:
                    assert one.matched == (by_key[one.caption].words.tolist() == samples[place].words.tolist())
                assert one.matched is True or not any(word.target for word in one.words)
                unknown += not one.caption
                negatives += not one.matched
            else:
                other = shown[one.contrasted_with]
                assert other.contrasted_with == one.number and one.matched is None
                assert (one.image or one.caption) == samples[place % 6].key and {one.kind, other.kind} == {
                    "image", "text"}
                assert not any(word.target for word in one.words)
            if one.caption and one.matched is not False:
                pieces = [word.target or word.piece for word in one.words if word.target or word.piece[0] != "["]
                assert pieces == [VOCAB[word] for word in by_key[one.caption].words]
            if one.image:
                assert [region.cls for region in one.regions] == by_key[one.image].classes.tolist()
                assert [region.box for region in one.regions] == [
                    pytest.approx(box, abs=1e-4) for box in by_key[one.image].boxes.tolist()]
            assert all(region.predicted for region in one.regions if not region.visible) or one.matched is False
            predicted += sum(region.predicted for region in one.regions)
            hidden += sum(not region.visible for region in one.regions)
            replaced += sum(word.target != "" and word.piece == "[MASK]" for word in one.words)
    assert hidden > 10 and predicted > 5 and negatives > 5 and replaced > 20 and unknown < negatives / 2


def test_capacities_name_every_fixed_size(data):
    step, _ = PackStream(data, CONFIG, 1, StageStart(), 0, 2).step(0)
    room = capacities(step.packs[0][1])
    assert room["sequences"] == (18, 18) and room["contrasts"] == (6, 6) and room["distinct"] == (24, 24)
    assert all(0 <= used <= of for used, of in room.values()) and len(room) == 8


def test_the_command_prints_one_batch(shards, capsys):
    assert run("--shards", shards, "--step", "2", "--lane", "1", "--json", *SMALL) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["step"], found["lane"], found["samples"], found["samples_before"]) == (2, 1, 6, 24)
    assert len(found["sequences"]) == 18 and found["capacities"]["sequences"] == {"used": 18, "of": 18}
    assert run("--shards", shards, "--step", "2", "--lane", "1", "--sequences", "0", *SMALL) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("step 2 of pretrain, lane 1 of 2: 6 samples in 18 sequences, ")
    assert "NEGATIVE: image" in shown and "[MASK]<" in shown and "[4 regions]" in shown and "#17" in shown
    assert shown.count("NEGATIVE") == sum(one["matched"] is False for one in found["sequences"]) > 0
    assert run("--shards", shards, "--step", "0", "--stage", "align") == 0
    assert "0 of 0 with another image's caption" in capsys.readouterr().out


@pytest.mark.parametrize("words, message", [
    (["--step", "8"], "step 8: stage 'pretrain' has the steps 0 to 7"), (["--step", "-1"], "--step -1: give 0"),
    (["--step", "0", "--lane", "2"], "lanes 0 to 1"),
    (["--step", "0", "--run", "lait_base"], "has the stages lait, public"),
    (["--step", "0", "--stage", "align", "--set", "align.samples=0"], "has the stages pretrain; --set NAME.samples"),
    (["--step", "0", "--set", "model.vocab_size=9"], "the shards have")])
def test_bad_usage_is_one_clear_line(shards, words, message):
    with pytest.raises(UsageError, match=message) as raised:
        run("--shards", shards, *words, *([] if "lait_base" in words else SMALL))
    assert "\n" not in str(raised.value)
