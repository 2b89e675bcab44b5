"""The training run, top-down: open, stages, steps, checkpoint.

    train(config, shards, out) -> checkpoint folder
      each rank: for each stage: for each step: for each of its lanes: forward, losses, backward; sum; clip; update
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from typing import Any

import torch

from crawl.config import as_dict, digest
from crawl.errors import UsageError
from crawl.lock import run_lock
from model.bert_weights import UnusableWeights, load_bert
from model.imagebert import ImageBert
from model.losses import LOSSES, losses_of, weighted_sum
from shards.manifest import load_shards
from train.checkpoint import (
    CheckpointWriter,
    RunState,
    Sources,
    check_sources,
    find_checkpoint,
    load_optimizer,
    load_weights,
    read_state,
    state_digest,
)
from train.data import PackStream, StageStart, Step, TrainingData, default_threads
from train.extractor import keep_extractor
from train.metrics import MetricsLog
from train.plan import StageConfig, TrainConfig, check_facts
from train.progress import Progress
from train.randomness import DROPOUT, torch_seed
from train.ranks import FlatGradients, Ranks, is_first, run_ranks, stop_signals
from train.schedule import build_optimizer, learning_rate


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What every rank is told."""

    config: TrainConfig
    shards: str                    # path as load_shards takes it
    out: str
    threads: int                   # reading ahead, a rank
    resume: str                    # checkpoint folder, "" to begin
    shown: bool                    # progress on stderr


def train(config: TrainConfig, shards: str, out: str, ranks: int = 1, threads: int = 0, resume: bool = False,
          shown: bool = False) -> str:
    """Returns the checkpoint folder of a finished run, or of one that a signal stopped (its state says which).

    Writes config.json, metrics.jsonl, checkpoint.json and checkpoints/ to `out`.  Raises UsageError before anything is
    written when model and data do not fit, when `out` holds a run and `resume` is off, or holds another run.
    """
    if ranks < 1 or config.lanes % ranks:
        raise UsageError(f"--ranks {ranks}: a step has {config.lanes} lanes, which {ranks} ranks cannot share evenly; "
                         f"use a divisor, or --set lanes={max(ranks, 1)}")
    data = TrainingData(load_shards(shards), config.regions)
    try:
        check_facts(config, data.facts)
        data.lanes(config, 0)
        sources = sources_of(config, data)
    finally:
        data.close()
    with run_lock(out) if is_first() else contextlib.nullcontext():
        folder = find_checkpoint(out)
        if folder and not resume:
            state = read_state(folder)
            raise UsageError(f"{out} already holds a run (stage {state.stage_name}, step {state.step}); add --resume "
                             f"to go on with it, or give another --out")
        if folder:
            check_sources(folder, read_state(folder), sources, config.model)
            if read_state(folder).finished:
                return folder
        _write_config(out, config)
        keep_extractor(data.shards, out)     # for photographs that are in no shard
        job = Job(config, shards, out, threads or default_threads(), folder or "", shown)
        run_ranks(train_rank, job, ranks)
    written = find_checkpoint(out)
    if written is None:
        raise RuntimeError(f"{out}: the run ended without a checkpoint")
    return written


def sources_of(config: TrainConfig, data: TrainingData) -> Sources:
    """Returns the digests a checkpoint records."""
    return Sources(config=digest(config), manifest=data.shards.digest, tokenizer=data.tokenizer.digest,
                   extractor=data.shards.extractor, extractor_digest=data.shards.extractor_digest)


def train_rank(ranks: Ranks, job: Job) -> None:
    """Runs one rank from the beginning or from a checkpoint to the end of the plan, or to a signal."""
    config = job.config
    if config.compute_threads:
        torch.set_num_threads(config.compute_threads)
    data = TrainingData(load_shards(job.shards), config.regions, config.cache_mib)
    torch.manual_seed(torch_seed(config.seed))           # equal weights on every rank
    model = ImageBert(config.model)
    state = _beginning(config, sources_of(config, data))
    if job.resume:
        load_weights(job.resume, model)
        state = dataclasses.replace(read_state(job.resume), parent=state_digest(job.resume))
    elif config.bert:
        _start_from_bert(model, config.bert, ranks.first)
    model.to(ranks.device())
    writer = CheckpointWriter(job.out, data.shards.path(data.shards.vocab)) if ranks.first else None
    log = MetricsLog(job.out, (state.stage, state.step)) if ranks.first else None
    stopping: list[int] = []
    try:
        with stop_signals(lambda number, frame: stopping.append(number)):
            stopped = False
            while not (state.finished or stopped):      # not `stopping`: the ranks must all see the same
                resume = job.resume if state.step else ""
                state, stopped = _run_stage(ranks, job, data, model, state, resume, writer, log, stopping)
            if writer is not None:
                writer.wait()
    finally:
        if log is not None:
            log.close()
        data.close()


def _run_stage(ranks: Ranks, job: Job, data: TrainingData, model: ImageBert, state: RunState, resume: str,
               writer: CheckpointWriter | None, log: MetricsLog | None,
               stopping: list[int]) -> tuple[RunState, bool]:
    """Runs what is left of a stage; returns the state after it, and whether a signal stops the run there."""
    config = job.config
    name, stage = config.stages()[state.stage]
    optimizer = build_optimizer(model, stage.optimizer)
    if resume:
        load_optimizer(resume, model, optimizer)
    gradients = FlatGradients(model, extra=len(LOSSES) + 2)
    start = StageStart(state.step, state.samples, state.lanes)
    stream = PackStream(data, config, state.stage, start, ranks.rank, ranks.world, job.threads)
    pending, count = torch.tensor(state.pending or [0.0] * len(LOSSES), dtype=torch.float64), state.pending_steps
    model.train()
    begun = time.monotonic()
    with Progress(name, stage.samples, state.samples, job.shown and ranks.first) as progress:
        for step in stream:
            rate = learning_rate(stage.optimizer, step.samples_before + step.samples // 2, stage.samples)
            gradients.clear()
            _add_gradients(model, step, gradients, state.stage, config, stage)
            gradients.extra[-1] = len(stopping)
            gradients.add_up(ranks)
            norm = gradients.clip(stage.optimizer.clip)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()

            extra = gradients.extra.tolist()
            pending += torch.tensor(extra[:len(LOSSES)], dtype=torch.float64)
            count += 1
            seen = step.samples_before + step.samples
            ended = seen >= stage.samples
            if (step.number + 1) % config.log_steps == 0 or ended:
                means = {loss: value for loss, value in zip(LOSSES, (pending / count).tolist(), strict=True)
                         if getattr(stage.weights, loss)}
                if log is not None:
                    log.write({"stage": name, "stage_number": state.stage, "step": step.number, "samples": seen,
                               **means, "learning_rate": rate, "gradient_norm": float(norm),
                               "stayed_positive": int(extra[-2]), "seconds": round(time.monotonic() - begun, 3)})
                progress.losses(means)
                pending, count = torch.zeros(len(LOSSES), dtype=torch.float64), 0
            progress.advance(step.samples)

            state = dataclasses.replace(state, step=step.number + 1, samples=seen, lanes=step.after,
                                        pending=tuple(pending.tolist()), pending_steps=count)
            stopped = extra[-1] > 0          # some rank got a signal; all of them know after the same step
            if ended:
                state = _after_stage(config, state)
            if writer is not None and (ended or stopped or state.step % config.checkpoint_steps == 0):
                writer.save(model, optimizer, state)
            if stopped or ended:
                return state, stopped
    return state, False


def _add_gradients(model: ImageBert, step: Step, gradients: FlatGradients, stage_number: int, config: TrainConfig,
                   stage: StageConfig) -> None:
    """Adds this rank's lanes' share of the step's mean gradient, and of its mean losses, to `gradients`."""
    device = gradients.extra.device
    for lane, pack in step.packs:
        # Dropout depends on step and lane alone, not on which rank runs the lane.
        torch.manual_seed(torch_seed(config.seed, stage_number, step.number, lane, DROPOUT))
        ready = pack.to(device) if device.type == "cuda" else pack.cropped()
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            losses = losses_of(model(ready), ready)
        (weighted_sum(losses, stage.weights) / config.lanes).backward()
        gradients.extra[:len(LOSSES)] += torch.stack([losses[name].detach() for name in LOSSES]) / config.lanes
    gradients.extra[-2] = step.stayed_positive


def _beginning(config: TrainConfig, sources: Sources) -> RunState:
    return RunState(stage=0, stage_name=config.stages()[0][0], step=0, samples=0, lanes=(), pending=(),
                    pending_steps=0, finished=False, parent="", sources=sources, model=as_dict(config.model))


def _start_from_bert(model: ImageBert, path: str, spoken: bool) -> None:
    try:
        report = load_bert(model, path)
    except UnusableWeights as error:
        raise UsageError(str(error)) from error
    if spoken:
        print(f"{path}: {len(report.loaded)} tensors loaded; missing: {', '.join(report.missing) or 'none'}; "
              f"unexpected: {', '.join(report.unexpected) or 'none'}", file=sys.stderr)


def _after_stage(config: TrainConfig, state: RunState) -> RunState:
    """Returns the beginning of the next stage, or the end of the plan."""
    if state.stage + 1 == len(config.stages()):
        return dataclasses.replace(state, finished=True)
    return dataclasses.replace(state, stage=state.stage + 1, stage_name=config.stages()[state.stage + 1][0], step=0,
                               samples=0, lanes=(), pending=(), pending_steps=0)


def _write_config(out: str, config: Any) -> None:
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(as_dict(config), file, indent=1, sort_keys=True)
