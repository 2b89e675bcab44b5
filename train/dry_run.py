"""What a run will do, before it does it: its plan from the indexes, its memory and time from a few real steps.

    plan_of(config, data)              stages with sets, samples, steps and tokens; nothing is read but the indexes
    measure(config, data)              seconds and bytes of real steps on this machine; nothing is written
    differences(config, other)         every setting that differs
"""
from __future__ import annotations

import dataclasses
import itertools
import resource
import statistics
import sys
import time
from typing import Any

import torch

from crawl.config import as_dict
from model.imagebert import ImageBert
from train.checkpoint import own_tensors
from train.data import TrainingData
from train.order import LaneState, tokens_of
from train.plan import StageConfig, TrainConfig, capacity_of, limits_of
from train.randomness import torch_seed
from train.ranks import Ranks
from train.schedule import build_optimizer
from train.step import StepGradient
from train.step_budget import StepBudget
from train.stream import PackStream, StageStart, default_threads

_PLANNED = 500         # steps of a stage that are planned in full; a longer one is reckoned from them
_MEASURED = 3          # steps, after one to warm up
_LONG_S = 60.0         # no further step is measured after so long


@dataclasses.dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage as it will run."""

    name: str
    sets: tuple[tuple[str, int], ...]    # name, samples of an epoch
    samples: int
    steps: int
    tokens: int                    # real ones, of all sequences
    exact: bool                    # steps and tokens are counted, not reckoned from the first steps
    padding: float                 # share of the packs' tokens that nobody uses
    left_out: tuple[tuple[str, int], ...]      # reason, samples of the sets that are not shown


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What steps cost on this machine, on one rank."""

    device: str
    parameters: int
    seconds: tuple[tuple[str, float], ...]     # stage, the whole stage
    bytes: int                     # of the device at its peak; on a CPU of the process, with a checkpoint's copies


def plan_of(config: TrainConfig, data: TrainingData) -> tuple[StagePlan, ...]:
    """Returns the stages of a resolved config (samples, not epochs)."""
    return tuple(_stage_plan(config, data, number, stage) for number, (_, stage) in enumerate(config.stages()))


def _stage_plan(config: TrainConfig, data: TrainingData, number: int, stage: StageConfig) -> StagePlan:
    sets: dict[str, float] = {}
    for piece in data.pieces(stage):
        name = data.set_of(int(piece.numbers[0]))
        sets[name] = sets.get(name, 0) + piece.expected
    lanes, limits = data.lanes(config, number), limits_of(stage, config, data.facts)
    states = [LaneState()] * len(lanes)
    samples = steps = tokens = 0
    while samples < stage.samples and steps < _PLANNED:
        taken = [lane.take(state, limits) for lane, state in zip(lanes, states, strict=True)]
        states = [state for _, state in taken]
        numbers = [one for chosen, _ in taken for one in chosen.tolist()]
        samples, steps = samples + len(numbers), steps + 1
        tokens += sum(tokens_of(int(data.sizes.regions[one]), int(data.sizes.words[one]), limits) for one in numbers
                      if one not in data.skipped)
    exact = samples >= stage.samples
    share = 1.0 if exact else stage.samples / samples
    room = steps * len(lanes) * capacity_of(stage, config, data.facts).tokens
    return StagePlan(stage.name, tuple((name, round(count)) for name, count in sets.items()),
                     samples if exact else stage.samples, round(steps * share), round(tokens * share), exact,
                     round(1 - tokens / max(room, 1), 4), tuple(sorted(data.left_out(stage).items())))


def measure(config: TrainConfig, data: TrainingData, plan: tuple[StagePlan, ...]) -> Cost:
    """Takes a few steps of each stage from its beginning and returns what all of them will cost."""
    ranks = Ranks()
    device = ranks.device()
    torch.manual_seed(torch_seed(config.seed))
    model = ImageBert(config.model)
    model.recompute = config.recompute
    model.to(device).train()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    for number, planned in enumerate(plan):
        stage = config.stages()[number][1]
        optimizer = build_optimizer(model, stage.optimizer)
        gradient = StepGradient(model, stage.weights, (config.seed, number), config.precision, config.compile)
        stream = PackStream(data, config, number, StageStart(), threads=default_threads())
        each: list[float] = []
        budget, begun = StepBudget(device), time.monotonic()
        for step in itertools.islice(stream, 1 + _MEASURED):
            gradient.run(step, ranks, 1.0, 0, budget)
            gradient.finish(stage.optimizer.clip, 1.0)
            optimizer.step()               # at a rate of 0: moments are made, weights stay
            if device.type == "cuda":
                torch.cuda.synchronize()
            now = time.monotonic()
            each.append(now - begun - sum(each))
            if now - begun > _LONG_S:
                break
        typical = statistics.median(each[1:] or each)
        seconds.append((planned.name, round(typical * planned.steps, 3)))
    weights = [tensor.numel() * tensor.element_size() for tensor in own_tensors(model).values()]
    # A checkpoint is copied to host memory before it is written: weights, both moments, the average.
    copies = sum(weights) * (3 + 2 * bool(config.ema_samples))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = (torch.cuda.max_memory_allocated() if device.type == "cuda"
            else copies + unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return Cost(str(device), sum(map(torch.numel, own_tensors(model).values())), tuple(seconds), int(peak))


def differences(config: TrainConfig, other: TrainConfig) -> tuple[tuple[str, Any, Any], ...]:
    """Returns (setting, value, the other's value) of all that differ, sorted; None where one has no such stage."""
    ours, theirs = _flat(as_dict(config)), _flat(as_dict(other))
    return tuple((name, ours.get(name), theirs.get(name)) for name in sorted(ours.keys() | theirs.keys())
                 if name != "name" and ours.get(name) != theirs.get(name))


def _flat(value: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in value.items():
        if before == "" and name == "plan":
            for stage in one:
                found |= _flat(stage, f"{stage['name']}.")
        elif isinstance(one, dict):
            found |= _flat(one, f"{before}{name}.")
        else:
            found[before + name] = one
    return found


def print_dry_run(plan: tuple[StagePlan, ...], cost: Cost, changed: tuple[tuple[str, Any, Any], ...],
                  other: str) -> None:
    """Prints what a person decides by, then the settings that differ from the run `other`."""
    for stage, (_, seconds) in zip(plan, cost.seconds, strict=True):
        about = "" if stage.exact else "about "
        sets = ", ".join(f"{name} {count:,}" for name, count in stage.sets)
        print(f"{stage.name:>10}  {stage.samples:,} samples ({sets} an epoch), {about}{stage.steps:,} steps, "
              f"{about}{stage.tokens:,} tokens, {stage.padding:.1%} padding, about {_duration(seconds)}")
        if stage.left_out:
            print(f"{'':>10}  left out: " + ", ".join(f"{count:,} {reason}" for reason, count in stage.left_out))
    total = sum(seconds for _, seconds in cost.seconds)
    print(f"{cost.parameters:,} parameters; on this {cost.device}, one rank: {cost.bytes / 2**30:.2f} GiB at the peak, "
          f"about {_duration(total)} in all, without evaluation and checkpoints")
    if other:
        print(f"{len(changed)} settings differ from {other}:")
        for name, ours, theirs in changed:
            print(f"  {name} = {ours} ({other}: {theirs})")


def _duration(seconds: float) -> str:
    """Returns seconds as a person says them.

    >>> _duration(5.24), _duration(4000), _duration(400_000)
    ('5.2 s', '1.1 h', '4.6 days')
    """
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 1.05 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"
