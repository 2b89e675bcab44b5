"""A fine-tuning run in a folder: killed and resumed it gives the same bits; what it cannot go on with is refused."""
import hashlib
import os
import signal
import subprocess
import sys
import time

import pytest

from crawl.errors import UsageError
from tests.train import made_shards
from train.finetune_run import finetune
from train.loop import train
from train.tuning_progress import NAME

SETTINGS = ["epochs=6", "batch=16", "draw=hard", "pool=12", "negatives=4", "dropout=0.1", "validation_images=8"]
LONG_S = 120


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    root = tmp_path_factory.mktemp("tune")
    shards = str(made_shards.make_shards(root / "shards", shards=2, samples=16))
    train(made_shards.small_config(align=12, pretrain=12), shards, str(root / "run"))
    return str(root / "run"), shards


def _weights(folder):
    with open(os.path.join(folder, "model.safetensors"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def test_a_run_killed_in_the_middle_gives_the_same_bits(home, tmp_path):
    run, shards = home
    whole = finetune(run, shards, str(tmp_path / "whole"), SETTINGS)
    out = tmp_path / "killed"
    program = ("import sys, time\nfrom train import finetune, finetune_run\nplain = finetune._run_epoch\n"
               "def slow(*words):\n    time.sleep(0.3)\n    return plain(*words)\n"
               "finetune._run_epoch = slow\nfinetune_run.finetune(*sys.argv[1:4], sys.argv[4:])")
    process = subprocess.Popen([sys.executable, "-c", program, run, shards, str(out), *SETTINGS])
    try:
        begun = time.monotonic()
        while not (out / NAME).exists() and process.poll() is None and time.monotonic() - begun < LONG_S:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(LONG_S)
    assert (out / NAME).exists() and not (out / "checkpoint.json").exists()
    with pytest.raises(UsageError, match="not finished; add --resume"):
        finetune(run, shards, str(out), SETTINGS)
    with pytest.raises(UsageError, match="another config"):
        finetune(run, shards, str(out), [*SETTINGS, "seed=2"], resume=True)
    resumed = finetune(run, shards, str(out), SETTINGS, resume=True)
    assert _weights(resumed.checkpoint) == _weights(whole.checkpoint) and resumed.epochs == whole.epochs
    assert not (out / NAME).exists()
    assert finetune(run, shards, str(out), SETTINGS, resume=True) == resumed      # finished: nothing is done again
    with pytest.raises(UsageError, match="already holds a run"):
        finetune(run, shards, str(out), SETTINGS)


def test_the_preset_is_overridden_by_settings(home, tmp_path):
    run, shards = home
    tuned = finetune(run, shards, str(tmp_path / "out"), ["epochs=1", "negatives=2", "pool=9"], preset="uniter")
    assert {name: tuned.config[name] for name in ("draw", "pool", "negatives", "loss")} == {
        "draw": "hard", "pool": 9, "negatives": 2, "loss": "triplet"}
