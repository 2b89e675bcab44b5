"""Checkpoints on an object store: a machine that is lost loses nothing that was copied."""
import json
import os
import shutil
import threading

import pytest
import torch
from safetensors.torch import load_file

from crawl import storage
from crawl.errors import UsageError
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from train import sync
from train.checkpoint import find_checkpoint, read_state
from train.loop import train
from train.metrics import read_metrics

CONFIG = small_config(checkpoint_samples=24)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture
def url(request):
    found = f"memory://sync-{request.node.name}/run"
    yield found
    storage.remove_below(found)


def curve(out):
    return [{name: value for name, value in row.items() if name != "time"} for row in read_metrics(out)]


def weights(out):
    return load_file(os.path.join(find_checkpoint(out), "model.safetensors"))


def test_another_machine_goes_on_where_the_first_was_lost(shards, tmp_path, url):
    whole, first, second = (str(tmp_path / name) for name in ("whole", "first", "second"))
    train(CONFIG, shards, whole)
    with dying_after(13):
        train(CONFIG, shards, first, sync=url)
    kept = read_state(find_checkpoint(first))
    shutil.rmtree(first)
    train(CONFIG, shards, second, resume=True, sync=url)
    state = read_state(find_checkpoint(second))
    assert state.finished and kept.step > 0
    assert curve(second) == curve(whole)
    ours, theirs = weights(second), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    # the pointer is the finished run's, and the last two are all that stays
    pointer = json.loads(storage.read_bytes(f"{url}/checkpoint.json"))
    assert pointer["current"].startswith("checkpoints/1-pretrain-00000008-")
    assert {f"checkpoints/{name}" for name in storage.folders_in(f"{url}/checkpoints")} == {
        pointer["current"], pointer["before"]}
    assert {"model.safetensors", "optimizer.safetensors", "state.json", "vocab.txt", "run/metrics.jsonl",
            "run/config.json", "run/extractor.json"} <= pointer["files"].keys()
    third = str(tmp_path / "third")
    train(CONFIG, shards, third, resume=True, sync=url)      # a finished one is fetched as well
    assert curve(third) == curve(whole) and read_state(find_checkpoint(third)).finished


def test_the_one_that_is_further_on_counts(shards, tmp_path, url):
    out = str(tmp_path)
    with dying_after(9):
        train(CONFIG, shards, out, sync=url)
    early = storage.read_bytes(f"{url}/checkpoint.json")
    with dying_after(6):
        train(CONFIG, shards, out, resume=True)              # this life is not copied
    ahead = find_checkpoint(out)
    sync.fetch_newer(url, out, True)
    assert find_checkpoint(out) == ahead and storage.read_bytes(f"{url}/checkpoint.json") == early
    train(CONFIG, shards, out, resume=True)
    assert train(CONFIG, shards, out, resume=True, sync=url) == find_checkpoint(out)     # finished: copied now
    pointer = json.loads(storage.read_bytes(f"{url}/checkpoint.json"))
    assert pointer["current"].startswith("checkpoints/1-pretrain-00000008")


def test_a_store_out_of_reach_stops_nothing(shards, tmp_path, url, monkeypatch, capsys):
    real, count = storage.upload, [0]

    def failing(local, path):
        count[0] += 1
        if count[0] < 6:
            raise storage.StoreUsageError(f"{path}: no answer")
        real(local, path)

    monkeypatch.setattr(storage, "upload", failing)
    train(CONFIG, shards, str(tmp_path), sync=url)
    assert "not copied" in capsys.readouterr().err
    assert json.loads(storage.read_bytes(f"{url}/checkpoint.json"))["step"] == 8


def test_nothing_waits_for_a_slow_store(shards, tmp_path, url, monkeypatch):
    """While the first checkpoint is on its way, all others are written; then the newest is copied, and no other."""
    real, begun, go_on = sync.push, [], threading.Event()

    def slow(to, out):
        begun.append(find_checkpoint(out))
        if len(begun) == 1:
            go_on.wait(60)
        real(to, out)

    monkeypatch.setattr(sync, "push", slow)
    written = []
    monkeypatch.setattr(sync.Copier, "close", lambda self, end=sync.Copier.close: (
        written.append(find_checkpoint(self._out)), go_on.set(), end(self)))
    train(CONFIG, shards, str(tmp_path), sync=url)
    assert len(begun) == 2 and begun[1] == written[0] == find_checkpoint(str(tmp_path)) != begun[0]
    assert json.loads(storage.read_bytes(f"{url}/checkpoint.json"))["step"] == 8


def test_what_goes_wrong_with_a_copy_stops_the_run_at_the_next(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sync, "push", lambda url, out: (_ for _ in ()).throw(UsageError("another run is here")))
    copier = sync.Copier("memory://nowhere", str(tmp_path))
    copier.copy()
    copier.close()
    assert "not copied to memory://nowhere: another run is here" in capsys.readouterr().err
    with pytest.raises(UsageError, match="another run is here"):
        copier.copy()


def test_what_is_wrong_is_one_line(shards, tmp_path, url):
    out = str(tmp_path / "out")
    with pytest.raises(UsageError, match="give a folder on an object store"):
        train(CONFIG, shards, out, sync=str(tmp_path))
    train(CONFIG, shards, out, sync=url)
    with pytest.raises(UsageError, match="already holds a run; add --resume"):
        train(CONFIG, shards, str(tmp_path / "other"), sync=url)
    pointer = json.loads(storage.read_bytes(f"{url}/checkpoint.json"))
    storage.replace_bytes(f"{url}/{pointer['current']}/vocab.txt", b"other")
    with pytest.raises(UsageError, match=r"vocab.txt: its sha256 is .*, checkpoint.json says"):
        train(CONFIG, shards, str(tmp_path / "third"), resume=True, sync=url)
    assert find_checkpoint(str(tmp_path / "third")) is None
    storage.replace_bytes(f"{url}/checkpoint.json", b"[]")
    with pytest.raises(UsageError, match="not the pointer to a checkpoint"):
        train(CONFIG, shards, str(tmp_path / "third"), resume=True, sync=url)
