"""Checkpoints without pickle: tensors as safetensors, the rest as JSON, the pointer last.

    OUT/checkpoint.json                           {"current": "checkpoints/1-pretrain-00002000", "sha256": ...}
    OUT/checkpoints/1-pretrain-00002000/model.safetensors
                                        optimizer.safetensors
                                        average.safetensors     mean of past weights, where the run keeps one
                                        state.json       where the run is, and digests of what it was made from
                                        vocab.txt        the tokenizer, so that the checkpoint can be used alone

A kill at any moment leaves the last pointer valid: what it names was complete and on disk before.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from crawl.config import as_dict
from crawl.errors import UsageError
from model.config import ModelConfig
from model.imagebert import ImageBert
from train.average import WeightAverage
from train.hard_gate import HardGate
from train.order import LaneState

POINTER = "checkpoint.json"
AVERAGE = "average.safetensors"
FORMAT = 2
_KEPT = 2      # the current one, and the one before it for a person who wants to go back


@dataclasses.dataclass(frozen=True, slots=True)
class Sources:
    """Digests of what a run is made from; a resume with other ones is refused."""

    config: str                    # of the resolved TrainConfig
    manifest: str                  # of the shards
    tokenizer: str
    extractor: str
    extractor_digest: str
    built: str = ""                # digest of the shards as they were before anything was removed from them


@dataclasses.dataclass(frozen=True, slots=True)
class RunState:
    """Where a run is: everything that is not a tensor."""

    stage: int
    stage_name: str
    step: int                      # next step of the stage
    samples: int                   # seen in the stage
    lanes: tuple[LaneState, ...]
    pending: tuple[float, ...]     # sums of losses not yet in the metrics log, so that its lines go on exactly
    pending_steps: int
    finished: bool                 # the whole plan is done
    parent: str                    # sha256 of the state.json this run resumed from, "" for none
    sources: Sources
    model: dict[str, Any]          # ModelConfig
    loss_scale: float = 1.0        # of fp16's losses; 1 in other formats
    finite_steps: int = 0          # in a row at this scale
    gate: HardGate = HardGate()    # whether hard negatives are mixed in, and what decides it
    skipped: tuple[tuple[int, str], ...] = ()              # damaged samples left out, by number, and why
    stages_done: tuple[tuple[LaneState, ...], ...] = ()    # where the lanes of each finished stage ended
    format: int = FORMAT


class CheckpointWriter:
    """Takes a snapshot in memory and writes it from a thread; one at a time."""

    def __init__(self, out: str, vocab_path: str, copied: Callable[[], None] | None = None) -> None:
        """`copied` is called after every checkpoint in the thread that wrote it."""
        self._out, self._vocab_path, self._copied = out, vocab_path, copied
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(self, model: ImageBert, optimizer: torch.optim.Optimizer, state: RunState,
             average: WeightAverage | None = None) -> None:
        """Copies weights, their average and the optimizer, then returns while a thread writes them."""
        self.wait()
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in own_tensors(model).items()}
        moments = {name: tensor.detach().to("cpu", copy=True)
                   for name, tensor in optimizer_tensors(model, optimizer).items()}
        averages = {name: tensor.to("cpu", copy=True) for name, tensor in average.tensors.items()} if average else {}
        self._thread = threading.Thread(target=self._write, args=(weights, moments, averages, state),
                                        name="checkpoint")
        self._thread.start()

    def close(self) -> None:
        """Returns when nothing is being written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Returns when nothing is being written; raises what the writing raised."""
        self.close()
        if self._failure is not None:
            raise self._failure

    def _write(self, weights: dict[str, Tensor], moments: dict[str, Tensor], averages: dict[str, Tensor],
               state: RunState) -> None:
        try:
            write_checkpoint(self._out, self._vocab_path, weights, moments, state, averages)
            if self._copied is not None:
                self._copied()
        except Exception as failure:      # shown by the next wait(), in the thread that can stop the run
            self._failure = failure


def write_checkpoint(out: str, vocab_path: str, weights: dict[str, Tensor], moments: dict[str, Tensor],
                     state: RunState, averages: dict[str, Tensor] | None = None) -> str:
    """Commits one checkpoint and then the pointer to it; returns its folder."""
    name = folder_name(state)
    folder = os.path.join(out, name)
    temporary = folder + ".tmp"
    for stale in (temporary, folder):     # of a killed life: the pointer names neither
        if _current(out) != name or stale == temporary:
            shutil.rmtree(stale, ignore_errors=True)
    if not os.path.isdir(folder):
        os.makedirs(temporary)
        save_file(weights, os.path.join(temporary, "model.safetensors"))
        save_file(moments, os.path.join(temporary, "optimizer.safetensors"))
        if averages:
            save_file(averages, os.path.join(temporary, AVERAGE))
        shutil.copyfile(vocab_path, os.path.join(temporary, "vocab.txt"))
        _write_json(os.path.join(temporary, "state.json"), dataclasses.asdict(state))
        for file in os.listdir(temporary):
            _sync(os.path.join(temporary, file))
        os.replace(temporary, folder)
        _sync(os.path.dirname(folder))
    elif dataclasses.asdict(read_state(folder)) != dataclasses.asdict(state):
        _write_json(os.path.join(folder, "state.json"), dataclasses.asdict(state))    # the last step was also the end
    _write_json(os.path.join(out, POINTER), {"current": name})
    kept = sorted(os.listdir(os.path.dirname(folder)))[:-_KEPT]
    for old in kept:
        if old != os.path.basename(folder):
            shutil.rmtree(os.path.join(out, "checkpoints", old), ignore_errors=True)
    return folder


def folder_name(state: RunState) -> str:
    """Returns a checkpoint's folder below its run's."""
    return f"checkpoints/{state.stage}-{state.stage_name}-{state.step:08d}"


def find_checkpoint(path: str) -> str | None:
    """Returns the folder of the current checkpoint of a run folder, or `path` itself if it is one; None for none."""
    if os.path.isfile(os.path.join(path, "state.json")):
        return path
    current = _current(path)
    return os.path.join(path, current) if current else None


def read_state(folder: str) -> RunState:
    """Returns the state in a checkpoint folder; raises UsageError when it is none of ours."""
    path = os.path.join(folder, "state.json")
    value = _read_json(path)
    if value.get("format") != FORMAT:
        raise UsageError(f"{path}: checkpoint format {value.get('format')!r}, this version reads {FORMAT}")
    try:
        lanes = tuple(LaneState(**lane) for lane in value["lanes"])
        done = tuple(tuple(LaneState(**lane) for lane in stage) for stage in value["stages_done"])
        plain = {"lanes": lanes, "pending": tuple(value["pending"]), "sources": Sources(**value["sources"]),
                 "gate": HardGate(**value.get("gate", {})),
                 "skipped": tuple((int(number), str(why)) for number, why in value["skipped"]), "stages_done": done}
        return RunState(**(value | plain))
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not the state of a checkpoint ({error}); take another checkpoint") from error


def check_sources(folder: str, state: RunState, sources: Sources, model: ModelConfig,
                  accept_removal: bool = False) -> None:
    """Raises UsageError when a checkpoint was made from another model, config, dataset, vocabulary or extractor.

    Shards that differ by removed samples alone pass with `accept_removal`: the order of all others is the same.
    """
    wanted = as_dict(model)
    for name in sorted(wanted.keys() | state.model.keys()):
        if wanted.get(name) != state.model.get(name):
            theirs, ours = (textwrap.shorten(str(found.get(name)), 80) for found in (state.model, wanted))
            raise UsageError(f"{folder} is a checkpoint of another model: its {name} is {theirs}, this run's is "
                             f"{ours}; use another --out, or the settings it was made with")
    meaning = {"config": "config (see config.json beside it)", "manifest": "dataset", "tokenizer": "vocabulary",
               "extractor": "region extractor", "extractor_digest": "region extractor's weights or codebook"}
    for name, words in meaning.items():
        theirs, ours = getattr(state.sources, name), getattr(sources, name)
        if name == "manifest" and theirs != ours and sources.built and state.sources.built == sources.built:
            if accept_removal:
                continue
            raise UsageError(f"{folder} was made from these shards with other samples removed from them; go on with "
                             f"--accept-removal, and what is removed leaves empty places in the same order")
        if theirs != ours:
            raise UsageError(f"{folder} was made with another {words}: {theirs[:12]}, this run has {ours[:12]}; use "
                             f"another --out, or the one it was made with")


def load_weights(folder: str, model: ImageBert) -> None:
    """Loads a checkpoint's weights into a model; raises UsageError when names or shapes differ."""
    _load_into(os.path.join(folder, "model.safetensors"), own_tensors(model))


def load_average(folder: str, average: WeightAverage) -> None:
    """Loads a checkpoint's averaged weights."""
    _load_into(os.path.join(folder, AVERAGE), average.tensors)


def load_optimizer(folder: str, model: ImageBert, optimizer: torch.optim.Optimizer) -> None:
    """Loads a checkpoint's moments into a fresh optimizer."""
    path = os.path.join(folder, "optimizer.safetensors")
    if not _stored(path):      # saved before the first step was taken: an fp16 run begins with overflows
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {"step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                                          "exp_avg": torch.zeros_like(parameter),
                                          "exp_avg_sq": torch.zeros_like(parameter)}
    _load_into(path, optimizer_tensors(model, optimizer))


def load_model(path: str, averaged: bool = False) -> tuple[ImageBert, RunState, str]:
    """Returns the model of a run folder or checkpoint, its state, and its folder (vocab.txt lies in it).

    `averaged` takes the mean of past weights instead of the last ones.  Raises UsageError when there is none.
    """
    folder = find_checkpoint(path)
    if folder is None:
        raise UsageError(f"{path}: no checkpoint here; give the --out folder of `imagebert pretrain`")
    state = read_state(folder)
    try:
        config = ModelConfig(**state.model)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{folder}: a model this version does not know ({error})") from error
    model = ImageBert(config)
    if averaged and not os.path.exists(os.path.join(folder, AVERAGE)):
        raise UsageError(f"{folder}: no averaged weights; train with --set ema_samples=N, or use the last weights")
    _load_into(os.path.join(folder, AVERAGE if averaged else "model.safetensors"), own_tensors(model))
    return model, state, folder


def own_tensors(model: ImageBert) -> dict[str, Tensor]:
    """Returns the model's tensors by name, a shared one once."""
    return dict(model.named_parameters())


def optimizer_tensors(model: ImageBert, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns the optimizer's tensors as `parameter name/moment`; empty before its first step."""
    return {f"{name}/{moment}": tensor for name, parameter in model.named_parameters()
            for moment, tensor in sorted(optimizer.state.get(parameter, {}).items())}


def state_digest(folder: str) -> str:
    """Returns the sha256 of a checkpoint's state.json."""
    with open(os.path.join(folder, "state.json"), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def _load_into(path: str, targets: dict[str, Tensor]) -> None:
    stored = _stored(path)
    if stored.keys() != targets.keys():
        odd = sorted(stored.keys() ^ targets.keys())
        raise UsageError(f"{path}: tensors of another model ({len(odd)} names differ, first {odd[0]}); use another "
                         f"--out, or the settings it was made with")
    with torch.no_grad():
        for name, target in targets.items():
            if stored[name].shape != target.shape:
                raise UsageError(f"{path}: {name} is {list(stored[name].shape)}, the model has {list(target.shape)}; "
                                 f"use another --out, or the settings it was made with")
            target.copy_(stored[name])


def _stored(path: str) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); take another checkpoint") from error


def _current(out: str) -> str | None:
    path = os.path.join(out, POINTER)
    if not os.path.isfile(path):
        return None
    current = _read_json(path).get("current")
    if not isinstance(current, str):
        raise UsageError(f"{path}: it names no current checkpoint; take another checkpoint")
    return current


def _read_json(path: str) -> dict[str, Any]:
    try:
        with open(path) as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); take another checkpoint") from error


def _write_json(path: str, value: Any) -> None:
    temporary = path + ".tmp"
    with open(temporary, "w") as file:
        json.dump(value, file, indent=1, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync(os.path.dirname(path))


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
