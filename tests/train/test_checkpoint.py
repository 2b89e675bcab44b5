import dataclasses
import json
import os
from pathlib import Path

import pytest
import torch

from crawl.config import as_dict
from crawl.errors import UsageError
from tests.train.synthetic import model
from train.checkpoint import (
    CheckpointWriter,
    RunState,
    Sources,
    find_checkpoint,
    load_model,
    load_optimizer,
    load_weights,
    read_state,
    write_checkpoint,
)
from train.order import LaneState
from train.schedule import OptimizerConfig, build_optimizer


def state_of(built, step=3):
    return RunState(stage=0, stage_name="pretrain", step=step, samples=72,
                    lanes=(LaneState(0, 1, 2), LaneState(1, 0, 5)), pending=(0.1, 1 / 3), pending_steps=1,
                    finished=False, parent="", sources=Sources("c", "m", "t", "patches", "e"),
                    model=as_dict(built.config))


@pytest.fixture
def trained(tmp_path):
    """A model with an optimizer that has made one step, and their checkpoint."""
    built = model()
    optimizer = build_optimizer(built, OptimizerConfig())
    for parameter in built.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    vocab = tmp_path / "vocab.txt"
    vocab.write_text("[PAD]\n")
    out = str(tmp_path / "run")
    writer = CheckpointWriter(out, str(vocab))
    writer.save(built, optimizer, state_of(built))
    writer.wait()
    return built, optimizer, out, str(vocab)


def test_everything_comes_back_to_the_bit(trained):
    built, optimizer, out, _ = trained
    folder = find_checkpoint(out)
    assert read_state(folder) == state_of(built)
    again, state, found = load_model(out)
    assert found == folder == find_checkpoint(folder) and state.step == 3
    for ours, theirs in zip(again.parameters(), built.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    fresh = build_optimizer(again, OptimizerConfig())
    load_optimizer(folder, again, fresh)
    for ours, theirs in zip(again.parameters(), built.parameters(), strict=True):
        for name, value in optimizer.state[theirs].items():
            assert torch.equal(fresh.state[ours][name], value), name
    assert sorted(os.listdir(folder)) == ["model.safetensors", "optimizer.safetensors", "state.json", "vocab.txt"]


def test_a_kill_while_writing_leaves_the_last_one(trained, monkeypatch):
    built, _, out, vocab = trained
    before = find_checkpoint(out)

    def killed(*arguments):
        raise KeyboardInterrupt
    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(out, vocab, {"a": torch.zeros(1)}, {}, state_of(built, step=9))
    monkeypatch.undo()
    assert find_checkpoint(out) == before
    folder = write_checkpoint(out, vocab, dict(built.named_parameters()), {}, state_of(built, step=9))
    assert find_checkpoint(out) == folder and not [name for name in os.listdir(f"{out}/checkpoints") if "tmp" in name]


def test_only_the_last_two_are_kept(trained):
    built, _, out, vocab = trained
    for step in (4, 5, 6):
        write_checkpoint(out, vocab, dict(built.named_parameters()), {}, state_of(built, step))
    assert sorted(os.listdir(f"{out}/checkpoints")) == ["0-pretrain-00000005", "0-pretrain-00000006"]


def test_what_is_no_checkpoint_of_ours_is_refused(trained, tmp_path):
    _, _, out, _ = trained
    with pytest.raises(UsageError, match="no checkpoint here"):
        load_model(str(tmp_path / "nothing"))
    folder = find_checkpoint(out)
    other = model(layers=1)
    with pytest.raises(UsageError, match="tensors of another model"):
        load_weights(folder, other)
    wide = type(other)(dataclasses.replace(model().config, vocab_size=61))
    with pytest.raises(UsageError, match=r"embeddings.words.weight is \[60, 32\], the model has \[61, 32\]"):
        load_weights(folder, wide)
    path = Path(folder, "state.json")
    whole = path.read_text()
    path.write_text(json.dumps(json.loads(whole) | {"format": 99}))
    with pytest.raises(UsageError, match="checkpoint format 99"):
        load_model(out)
    path.write_text(whole[:40])
    with pytest.raises(UsageError, match="cannot be read"):
        load_model(out)
    path.write_text(whole)
    weights = Path(folder, "model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(UsageError, match="model.safetensors: cannot be read"):
        load_model(out)


def test_a_failed_write_is_raised_to_the_run(trained, tmp_path):
    built, optimizer, out, _ = trained
    writer = CheckpointWriter(out, str(tmp_path / "no-vocab.txt"))
    writer.save(built, optimizer, state_of(built, step=8))
    with pytest.raises(FileNotFoundError):
        writer.wait()
