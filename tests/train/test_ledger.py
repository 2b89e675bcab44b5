import argparse
import collections
import dataclasses
import json
import os

import pytest

from crawl.config import parsed
from crawl.errors import UsageError
from shards.index import load_index
from shards.manifest import TOMBSTONES
from tests.train.dying import dying_after
from tests.train.made_shards import REGIONS, make_shards, small_config
from train import cli_trained_on
from train.checkpoint import find_checkpoint, read_state
from train.data import TrainingData
from train.ledger import uses
from train.loop import train
from train.mixture import open_sets
from train.plan import TrainConfig
from train.stream import PackStream, StageStart


def ran(shards, out, **changes):
    """Trains, and returns the data, the config as it was resolved, and the state at the end."""
    train(small_config(pretrain=300, **changes), shards, out)
    with open(os.path.join(out, "config.json")) as file:
        config = parsed(TrainConfig, json.load(file), "config.json")
    return TrainingData(open_sets((shards,)), REGIONS), config, read_state(find_checkpoint(out))


def walked(data, config):
    """Returns how often each stage shows each sample, by going through all its packs."""
    counts = {}
    for place, (name, _) in enumerate(config.stages()):
        counts[name] = collections.Counter(key for step in PackStream(data, config, place, StageStart())
                                           for keys in step.keys.values() for key in keys)
    return counts


def test_the_ledger_is_what_the_packs_held(tmp_path):
    shards = str(make_shards(tmp_path / "shards"))
    data, config, state = ran(shards, str(tmp_path / "out"))
    counts = walked(data, config)
    total = 0
    for number in range(len(data.sizes.row)):
        told = {use.stage: use.shown for use in uses(data, config, state, number)}
        assert told == {name: counts[name][data.key(number)] for name in counts}
        total += sum(told.values())
    assert total == 300 + 48       # every planned sample is one that was shown
    data.close()


def test_a_damaged_sample_stops_or_leaves_an_empty_place_that_a_resume_repeats(tmp_path):
    shards = make_shards(tmp_path / "shards")
    name = "train/lait-jpg-000001"
    entry = load_index(str(shards / f"{name}.idx.npy"))[5]
    tar = shards / f"{name}.regions.tar"
    whole = tar.read_bytes()
    offset = int(entry["regions_offset"]) + int(entry["regions_size"]) - 3
    tar.write_bytes(whole[:offset] + bytes([whole[offset] ^ 255]) + whole[offset + 1:])
    with pytest.raises(UsageError, match="another checksum .*--set damaged=skip"):
        train(small_config(pretrain=300), str(shards), str(tmp_path / "stopped"))

    out = str(tmp_path / "out")

    config = small_config(pretrain=300, damaged="skip", checkpoint_samples=24)
    with dying_after(40):
        train(config, str(shards), out)
    kept = read_state(find_checkpoint(out))
    (number, why), = kept.skipped
    assert entry["key"].decode() in why and "checksum" in why
    tar.write_bytes(whole)                     # the disk is well again; what was left out stays out
    train(config, str(shards), out, resume=True)
    state = read_state(find_checkpoint(out))
    assert state.skipped == kept.skipped
    data = TrainingData(open_sets((str(shards),)), REGIONS)
    told = uses(data, config, state, number)
    assert [use.shown for use in told] == [0, 0] and sum(use.skipped for use in told) >= 3
    everything = [use for other in range(len(data.sizes.row)) for use in uses(data, config, state, other)]
    assert sum(use.shown + use.skipped for use in everything) == 348
    data.close()


def test_a_removal_moves_no_other_sample_and_a_resume_asks(tmp_path):
    shards = make_shards(tmp_path / "shards")
    before = TrainingData(open_sets((str(shards),)), REGIONS)
    config = small_config(pretrain=300, checkpoint_samples=24)
    order = [keys for step in PackStream(before, config, 1, StageStart()) for keys in step.keys.values()]
    key, out = before.key(30), str(tmp_path / "out")
    before.close()

    with dying_after(20):
        train(config, str(shards), out)
    (shards / TOMBSTONES).write_text(json.dumps({"keys": {"train/lait-jpg-000001.tar": [key]}}))
    after = TrainingData(open_sets((str(shards),)), REGIONS)
    without = [keys for step in PackStream(after, config, 1, StageStart()) for keys in step.keys.values()]
    assert without == [tuple(one for one in keys if one != key) for keys in order] != order
    with pytest.raises(UsageError, match="other samples removed from them; go on with --accept-removal"):
        train(config, str(shards), out, resume=True)
    train(config, str(shards), out, resume=True, accept_removal=True)
    state = read_state(find_checkpoint(out))
    assert state.finished and not state.skipped
    assert {use.why for use in uses(after, config, state, 30)} == {"removed from the set"}
    after.close()


def test_a_pack_of_removed_samples_alone_is_an_empty_pack(tmp_path):
    shards = make_shards(tmp_path / "shards", shards=2, samples=6)
    keys = load_index(str(shards / "train/lait-jpg-000000.idx.npy"))["key"].tolist()
    gone = [key.decode() for key in keys]
    (shards / TOMBSTONES).write_text(json.dumps({"keys": {"train/lait-jpg-000000.tar": gone}}))
    config = dataclasses.replace(small_config(pretrain=48), lanes=2)
    folder = train(config, str(shards), str(tmp_path / "out"))
    assert read_state(folder).finished


def test_trained_on_answers_by_key_and_exit_status(tmp_path, capsys):
    shards = str(make_shards(tmp_path / "shards"))
    out = str(tmp_path / "out")
    data, config, state = ran(shards, out)
    key = data.key(3)
    data.close()

    def ask(*words):
        parser = argparse.ArgumentParser()
        cli_trained_on.register(parser.add_subparsers())
        args = parser.parse_args(["trained-on", *words])
        return args.command(args), capsys.readouterr().out

    code, said = ask(key, out, "--shards", shards)
    assert code == 0 and key in said and "pretrain" in said and "shown" in said
    code, said = ask("0" * 32, out, "--shards", shards, "--json")
    assert code == 1 and json.loads(said) == {"asked": "0" * 32, "trained_on": False, "samples": []}
    with pytest.raises(UsageError, match="no checkpoint here"):
        ask(key, str(tmp_path), "--shards", shards)
    with pytest.raises(UsageError, match="has no table of addresses; ask by the sample's key"):
        ask("https://a.test/b.jpg", out, "--shards", shards)
    other = str(make_shards(tmp_path / "other", samples=25))
    with pytest.raises(UsageError, match="--shards is not what this checkpoint was trained with"):
        ask(key, out, "--shards", other)
