"""A run that copies its checkpoints to a bucket which fails now and then, and goes on from there on another machine."""
from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from crawl import storage
from tests.shards.bytes_of import files_with
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from train.checkpoint import find_checkpoint, read_state
from train.loop import train

pytestmark = pytest.mark.store
CONFIG = small_config(checkpoint_samples=24, probe_samples=48, probe_images=4, probe_captions=8)


def weights(out):
    return load_file(os.path.join(find_checkpoint(out), "model.safetensors"))


def test_another_machine_goes_on_from_the_bucket(store, tmp_path):
    shards, url = str(make_shards(tmp_path / "shards")), f"{store.root}/{tmp_path.name}"
    whole, first, second = (str(tmp_path / name) for name in ("whole", "first", "second"))
    train(CONFIG, shards, whole)
    with dying_after(13):
        train(CONFIG, shards, first, sync=url)
    # One where training was quicker than the copies, a third where the store failed at removing it.
    assert 1 <= len(storage.folders_in(f"{url}/checkpoints")) <= 3
    train(CONFIG, shards, second, resume=True, sync=url)
    assert read_state(find_checkpoint(second)).finished and read_state(find_checkpoint(second)).parent
    ours, theirs = weights(second), weights(whole)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert not files_with(tmp_path, store.secrets)
