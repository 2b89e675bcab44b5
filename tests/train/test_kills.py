"""Twenty seeded SIGKILLs of runs of 1, 2 and 4 ranks: killed and resumed they are the run that was never killed.

On the same number of ranks to the bit: curve and weights.  On another one the sequence of samples is the same, losses
agree within 1e-4 and weights within 1e-3: sums over ranks are taken in another order, and Adam amplifies it.
"""
import glob
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.train.made_shards import make_shards
from train.checkpoint import find_checkpoint, read_state
from train.metrics import read_metrics

ROOT = str(Path(__file__).parents[2])


def run(shards, out, ranks, rank="", kind="never", moment=0):
    """Returns the exit status of one life."""
    words = [sys.executable, "-m", "tests.train.killed_run", shards, out, str(ranks), rank, kind, str(moment)]
    return subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True,
                          timeout=300).returncode


def consumed(out):
    """Returns the keys of each (stage, step, lane); every life that came there had the same."""
    found = {}
    for path in glob.glob(f"{out}.rank-*.jsonl"):
        for line in Path(path).read_text().splitlines():
            stage, number, lane, keys = json.loads(line)
            assert found.setdefault((stage, number, lane), keys) == keys
    return found


def finished(out):
    folder = find_checkpoint(out) if os.path.isdir(out) else None
    return folder is not None and read_state(folder).finished


def curve(out):
    return [{name: value for name, value in row.items() if name not in ("time", "stage")} for row in read_metrics(out)]


def weights(out):
    return load_file(os.path.join(find_checkpoint(out), "model.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(("worlds", "kills", "seed"), [((2,), 7, 11), ((4,), 6, 12), ((4, 2, 1), 7, 13)])
def test_killed_and_resumed_is_the_run_that_was_never_killed(tmp_path, worlds, kills, seed):
    shards = str(make_shards(tmp_path / "shards"))
    whole = str(tmp_path / "whole")
    assert run(shards, whole, worlds[0]) == 0
    expected = consumed(whole)
    assert len(expected) == 4 * 24
    draw, told, ended = random.Random(seed), [], []
    while len(told) < kills or not finished(ended[-1]):
        if not ended or finished(ended[-1]):
            ended.append(str(tmp_path / f"run{len(ended)}"))
        ranks = worlds[(len(told) + len(ended)) % len(worlds)]
        kind = draw.choice(("gradient", "gradient", "save"))
        rank, moment = (f"rank-{draw.randrange(ranks)}" if kind == "gradient" else "rank-0"), draw.randint(2, 30)
        dies = len(told) < kills
        status = run(shards, ended[-1], ranks, *((rank, kind, moment) if dies else ()))
        if status:
            assert dies and status in (1, -signal.SIGKILL), (told, status)
            told.append((os.path.basename(ended[-1]), ranks, rank, kind, moment))
    print(f"seed {seed}: {told}")
    for out in ended:
        assert consumed(out) == expected, told
        ours, theirs = curve(out), curve(whole)
        assert [row["step"] for row in ours] == [row["step"] for row in theirs]
        if len(worlds) == 1:
            assert ours == theirs, told
            assert all(torch.equal(one, weights(whole)[name]) for name, one in weights(out).items()), told
            continue
        for row, other in zip(ours, theirs, strict=True):
            assert row == pytest.approx(other, rel=1e-4), told
        for name, one in weights(out).items():
            torch.testing.assert_close(one, weights(whole)[name], rtol=1e-3, atol=1e-3)
