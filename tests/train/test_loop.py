import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from crawl.config import as_dict
from crawl.errors import UsageError
from crawl.lock import run_lock
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from train.checkpoint import find_checkpoint, read_state
from train.loop import train
from train.metrics import read_metrics

CONFIG = small_config(checkpoint_samples=24)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def whole(shards, tmp_path_factory):
    """A run from beginning to end: what every interrupted one must equal."""
    out = str(tmp_path_factory.mktemp("whole"))
    train(CONFIG, shards, out)
    return out


def curve(out):
    """Returns the metrics log without the clock."""
    return [{name: value for name, value in row.items() if name != "time"} for row in read_metrics(out)]


def weights(out):
    return load_file(os.path.join(find_checkpoint(out), "model.safetensors"))


def assert_same(out, whole):
    assert curve(out) == curve(whole)
    ours, theirs = weights(out), weights(whole)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_ends_and_says_so(whole):
    state = read_state(find_checkpoint(whole))
    assert state.finished and (state.stage_name, state.samples) == ("pretrain", 96)
    rows = read_metrics(whole)
    assert [(row["stage"], row["step"]) for row in rows] == [
        ("align", 2), ("align", 3), ("pretrain", 2), ("pretrain", 5), ("pretrain", 7)]
    assert "mlm" not in rows[0] and rows[-1]["itm"] > 0
    assert json.loads(Path(whole, "config.json").read_text()) == as_dict(CONFIG)
    assert sorted(os.listdir(os.path.join(whole, "checkpoints"))) == ["1-pretrain-00000006", "1-pretrain-00000008"]


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 9, 11])
def test_checkpoint_kill_resume_goes_on_exactly(shards, whole, tmp_path, steps):
    """Stopped after any number of steps, also on the way from one stage to the next: the same bits at the end."""
    out = str(tmp_path)
    with dying_after(steps):
        train(CONFIG, shards, out)
    train(CONFIG, shards, out, resume=True, threads=3)
    assert_same(out, whole)


SCRIPT = """
import sys
from tests.train.made_shards import small_config
from train.loop import train
if __name__ == "__main__":
    config = small_config(pretrain=6000, checkpoint_samples=60)
    train(config, sys.argv[1], sys.argv[2], ranks=int(sys.argv[3]), resume=True)
"""


def started(shards, out, ranks):
    """Starts a long run in a process of its own and returns it once it has written a checkpoint of `pretrain`."""
    script = Path(out).parent / "run.py"
    script.write_text(SCRIPT)
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen([sys.executable, str(script), shards, out, str(ranks)], cwd=root,
                               env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        folder = find_checkpoint(out) if os.path.isdir(out) else None
        if folder and "1-pretrain" in folder and read_state(folder).step > 5:
            return process
        time.sleep(0.05)
    process.kill()
    raise AssertionError(f"no checkpoint; exit status {process.wait()}")


def test_sigterm_saves_the_step_it_is_at_and_sigkill_loses_nothing_committed(shards, tmp_path):
    out = str(tmp_path / "out")
    process = started(shards, out, ranks=2)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    state = read_state(find_checkpoint(out))
    assert not state.finished and state.stage_name == "pretrain" and state.step > 5

    process = started(shards, out, ranks=1)      # the same run on another number of ranks
    process.kill()
    process.wait()
    later = read_state(find_checkpoint(out))
    assert later.step >= state.step
    short = small_config(pretrain=6000, checkpoint_samples=60)
    assert (later.parent != "") == (later.step > state.step)
    with pytest.raises(UsageError, match="another config"):
        train(dataclasses.replace(short, checkpoint_samples=72), shards, out, resume=True)
    # Both lives lie on one curve: every logged step stands there once.
    steps = [row["step"] for row in read_metrics(out) if row["stage"] == "pretrain"]
    assert steps == list(range(2, steps[-1] + 1, 3))


def test_two_ranks_learn_what_one_learns(shards, whole, tmp_path):
    out = str(tmp_path / "two")
    train(CONFIG, shards, out, ranks=2)
    for ours, theirs in zip(curve(out), curve(whole), strict=True):
        assert ours.pop("stage") == theirs.pop("stage")
        assert ours == pytest.approx(theirs, rel=1e-4)


KILLED = """
import multiprocessing, os, signal, sys
from tests.train.made_shards import small_config
from train import loop, step
calls, real = 0, step.add_gradients
def counted(*arguments):
    global calls
    calls += 1
    if calls > int(sys.argv[4]) and multiprocessing.current_process().name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*arguments)
step.add_gradients = counted      # the ranks import this file, too
if __name__ == "__main__":
    loop.train(small_config(checkpoint_samples=24), sys.argv[1], sys.argv[2], ranks=2, resume=True)
"""


def test_two_ranks_killed_and_resumed_go_on_exactly(shards, tmp_path):
    """One rank dies in the first stage, the other one in the second: the bits of a run of two ranks left alone."""
    whole, out = str(tmp_path / "whole"), str(tmp_path / "out")
    train(CONFIG, shards, whole, ranks=2)
    script, root = tmp_path / "killed.py", str(Path(__file__).parents[2])
    script.write_text(KILLED)
    found = []
    for rank, steps in (("rank-1", 3), ("rank-0", 5)):
        ended = subprocess.run([sys.executable, str(script), shards, out, rank, str(steps)], cwd=root, timeout=240,
                               env=os.environ | {"PYTHONPATH": root}, capture_output=True, text=True)
        assert ended.returncode == 1 and "ranks ended with exit codes" in ended.stderr and "-9" in ended.stderr
        state = read_state(find_checkpoint(out))
        assert not state.finished
        found.append((state.stage_name, state.step))
    assert found[0] == ("align", 2) and found[1] in (("pretrain", 0), ("pretrain", 2)), found
    train(CONFIG, shards, out, ranks=2, threads=2, resume=True)
    assert read_state(find_checkpoint(out)).finished
    assert_same(out, whole)


@pytest.mark.slow
def test_torchrun_starts_the_ranks(shards, tmp_path):
    """What two ranks of ours learn, to the bit; a number that does not divide the lanes is refused."""
    root, script = str(Path(__file__).parents[2]), tmp_path / "run.py"
    script.write_text("import sys\nfrom tests.train.made_shards import small_config\nfrom train.loop import train\n"
                      "train(small_config(checkpoint_samples=24), sys.argv[1], sys.argv[2], resume=True)\n")

    def started(ranks, out):
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
                 str(script), shards, out]
        return subprocess.run(words, cwd=root, env=os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
                              capture_output=True, text=True, timeout=240)

    ours, theirs = str(tmp_path / "ours"), str(tmp_path / "theirs")
    ended = started(2, theirs)
    assert ended.returncode == 0, ended.stderr
    train(CONFIG, shards, ours, ranks=2)
    assert_same(theirs, ours)
    ended = started(3, str(tmp_path / "three"))
    assert ended.returncode and "under torchrun: a step has 2 lanes, which 3 ranks cannot share evenly; use 1 or 2" in (
        ended.stderr)


def test_the_small_model_learns(shards, tmp_path):
    """A longer run on 96 pairs: every loss falls."""
    config = small_config(align=1200, pretrain=2400, log_samples=300)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, dropout=0.0))
    train(config, shards, str(tmp_path))
    rows = [row for row in read_metrics(str(tmp_path)) if row["stage"] == "pretrain"]
    assert all(rows[-1][name] < 0.9 * rows[0][name] for name in ("mlm", "moc", "mrfr")), (rows[0], rows[-1])


def test_bad_input_is_one_clear_line(shards, whole, tmp_path):
    with pytest.raises(UsageError, match="already holds a run .stage pretrain, step 8.; add --resume"):
        train(CONFIG, shards, whole)
    assert train(CONFIG, shards, whole, resume=True) == find_checkpoint(whole)      # finished: nothing to do
    wide = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, hidden=32))
    with pytest.raises(UsageError, match="checkpoint of another model: its hidden is 16, this run's is 32"):
        train(wide, shards, whole, resume=True)
    with pytest.raises(UsageError, match="another config"):
        train(dataclasses.replace(CONFIG, seed=2), shards, whole, resume=True)
    other = str(make_shards(tmp_path / "other", samples=25))
    with pytest.raises(UsageError, match="another dataset"):
        train(CONFIG, other, whole, resume=True)
    new = str(tmp_path / "new")
    with pytest.raises(UsageError, match="--ranks 3: a step has 2 lanes"):
        train(CONFIG, shards, new, ranks=3)
    with pytest.raises(UsageError, match="96 training samples for 99 lanes"):
        train(dataclasses.replace(CONFIG, lanes=99), shards, new)
    with pytest.raises(UsageError, match="model.feature_dim=9, the shards have 12"):
        train(dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, feature_dim=9)), shards, new)
    assert not os.path.exists(new)
    with run_lock(new), pytest.raises(UsageError, match="in use by another run"):
        train(CONFIG, shards, new)


def test_a_run_starts_from_a_bert(shards, tmp_path, capsys):
    width = CONFIG.model.hidden
    weights = {"bert.encoder.layer.0.attention.output.dense.weight": torch.full((width, width), 0.25),
               "bert.unknown.weight": torch.zeros(1)}
    path = str(tmp_path / "bert.safetensors")
    save_file(weights, path)
    config = dataclasses.replace(small_config(align=12, pretrain=0), bert=path)
    folder = train(config, shards, str(tmp_path / "out"))
    learned = load_file(os.path.join(folder, "model.safetensors"))["layers.0.attention_out.weight"]
    assert (learned - 0.25).abs().max() < 0.02      # one step away
    said = capsys.readouterr().err
    assert "1 tensors loaded" in said and "unexpected: unknown.weight" in said and "pooler.dense.bias" in said
    with pytest.raises(UsageError, match="no such file"):
        train(dataclasses.replace(config, bert=str(tmp_path / "none.bin")), shards, str(tmp_path / "out2"))
