"""The training run, top-down: open, stages, steps, checkpoint.

    train(config, shards, out) -> checkpoint folder
      each rank: for each stage: for each step: for each of its lanes: forward, losses, backward; sum; clip; update
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from crawl.config import as_dict, digest
from crawl.errors import UsageError
from crawl.lock import run_lock
from model.bert_weights import UnusableWeights, load_bert
from model.imagebert import ImageBert
from model.losses import LOSSES
from train.average import WeightAverage
from train.boards import check_boards
from train.checkpoint import (
    CheckpointWriter,
    RunState,
    Sources,
    check_sources,
    find_checkpoint,
    folder_name,
    load_average,
    load_optimizer,
    load_weights,
    read_state,
    state_digest,
)
from train.data import REMOVED, TrainingData
from train.extractor import keep_extractor
from train.mixture import digest_of, open_sets
from train.plan import TrainConfig, check_facts
from train.precision import LossScale, dtype_of, first_scale
from train.probe import Probe
from train.progress import Progress
from train.randomness import torch_seed
from train.ranks import Ranks, is_first, run_ranks, stop_signals, under_torchrun, world_of
from train.run_log import RunLog
from train.schedule import build_optimizer, learning_rate
from train.step import StepGradient, StepResult, not_finite
from train.step_budget import StepBudget
from train.step_report import StepReport
from train.stream import PackStream, StageStart, Step, default_threads
from train.sync import Copier, fetch_newer, push

_LEAST_SCALE = 2.0 ** -14      # of fp16's losses: below it, overflows are no accident


@dataclasses.dataclass(frozen=True, slots=True)
class Job:
    """What every rank is told."""

    config: TrainConfig
    shards: tuple[str, ...]        # ROOT or NAME=ROOT, as open_sets takes them
    out: str
    threads: int                   # reading ahead, a rank
    resume: str                    # checkpoint folder, "" to begin
    shown: bool                    # progress on stderr
    boards: tuple[str, ...] = ()   # tensorboard, wandb=PROJECT
    sync: str = ""                 # where checkpoints are copied to, on an object store


def train(config: TrainConfig, shards: str | Sequence[str], out: str, ranks: int = 1, threads: int = 0,
          resume: bool = False, shown: bool = False, accept_removal: bool = False, boards: Sequence[str] = (),
          sync: str = "") -> str:
    """Trains on one set of shards, or on several with names (ROOT, or NAME=ROOT each).

    Returns the checkpoint folder of a finished run, or of one that a signal stopped (its state says which).  `boards`
    draw its log (train/boards.py); checkpoints are copied to `sync`, and one that is further on is fetched from there.

    Writes config.json, metrics.jsonl, checkpoint.json and checkpoints/ to `out`.  Raises UsageError before anything is
    written when model and data do not fit, when `out` holds a run and `resume` is off, or holds another run.
    """
    world = world_of(ranks)
    if world < 1 or config.lanes % world:
        told = "under torchrun" if under_torchrun() else f"--ranks {ranks}"
        shares = [str(count) for count in range(1, config.lanes + 1) if config.lanes % count == 0]
        raise UsageError(f"{told}: a step has {config.lanes} lanes, which {world} ranks cannot share evenly; use "
                         f"{' or '.join(shares)} ranks, or --set lanes={max(world, 1)}")
    check_boards(boards)
    given = (shards,) if isinstance(shards, str) else tuple(shards)
    data = TrainingData(open_sets(given), config.regions, captions=config.captions)
    try:
        check_facts(config, data.facts)
        config = data.resolved(config)
        for stage in range(len(config.stages())):
            data.lanes(config, stage)
        sources = sources_of(config, data)
        if is_first():
            for note in (*data.notes, *_left_out(config, data)):
                print(note, file=sys.stderr)
    finally:
        data.close()
    with run_lock(out) if is_first() else contextlib.nullcontext():
        if sync:
            fetch_newer(sync, out, resume, is_first())
        folder = find_checkpoint(out)
        if folder and not resume:
            state = read_state(folder)
            raise UsageError(f"{out} already holds a run (stage {state.stage_name}, step {state.step}); add --resume "
                             f"to go on with it, or give another --out")
        if folder:
            check_sources(folder, read_state(folder), sources, config.model, accept_removal)
            if read_state(folder).finished:
                if sync and is_first():
                    push(sync, out)            # where the last life could not
                return folder
        if is_first():
            _write_config(out, config)
            keep_extractor(next(iter(data.sets.values())), out)     # for photographs that are in no shard
        job = Job(config, given, out, threads or default_threads(), folder or "", shown, tuple(boards), sync)
        run_ranks(train_rank, job, ranks)
    written = find_checkpoint(out)
    if written is None:
        raise RuntimeError(f"{out}: the run ended without a checkpoint")
    return written


def _left_out(config: TrainConfig, data: TrainingData) -> Iterator[str]:
    for name, stage in config.stages():
        if found := data.left_out(stage):
            yield f"stage {name} leaves out " + ", ".join(f"{count:,} {reason}" for reason, count in found.items())


def sources_of(config: TrainConfig, data: TrainingData) -> Sources:
    """Returns the digests a checkpoint records."""
    first = next(iter(data.sets.values()))
    built = {name: shards.built_digest for name, shards in data.sets.items()}
    return Sources(config=digest(config), manifest=digest_of(data.sets), tokenizer=data.tokenizer.digest,
                   extractor=first.extractor, extractor_digest=first.extractor_digest, built=digest(built))


def train_rank(ranks: Ranks, job: Job) -> None:
    """Runs one rank from the beginning or from a checkpoint to the end of the plan, or to a signal."""
    config = job.config
    if config.compute_threads:
        torch.set_num_threads(config.compute_threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    data = TrainingData(open_sets(job.shards), config.regions, config.cache_mib, config.window_cache_mib,
                        config.captions)
    torch.manual_seed(torch_seed(config.seed))           # equal weights on every rank
    model = ImageBert(config.model)
    model.recompute = config.recompute
    state = _beginning(config, sources_of(config, data))
    if job.resume:
        load_weights(job.resume, model)
        state = dataclasses.replace(read_state(job.resume), parent=state_digest(job.resume))
        data.skipped.update({number: why for number, why in state.skipped if number not in data.skipped})
    elif config.bert:
        _start_from_bert(model, config.bert, ranks.first)
    model.to(ranks.device())
    average = WeightAverage(model, config.ema_samples) if config.ema_samples else None
    if average is not None and job.resume:
        load_average(job.resume, average)
    copier = Copier(job.sync, job.out) if ranks.first and job.sync else None
    writer = CheckpointWriter(job.out, data.vocab_path, copier.copy if copier else None) if ranks.first else None
    log = RunLog(job.out, (state.stage, state.step), config, job.boards) if ranks.first else None
    stopping: list[int] = []
    try:
        with stop_signals(lambda number, frame: stopping.append(number)):
            stopped = False
            while not (state.finished or stopped):      # not `stopping`: the ranks must all see the same
                run = StageRun(ranks, job, data, model, average, state, job.resume if state.step else "", writer, log)
                state, stopped = run.to_the_end(stopping)
            if writer is not None:
                writer.wait()
    finally:
        if writer is not None:
            writer.close()       # also when something is raised: what was saved last is said to be there
        if copier is not None:
            copier.close()
        if log is not None:
            log.close()
        data.close()


class StageRun:
    """What is left of one stage, on one rank."""

    def __init__(self, ranks: Ranks, job: Job, data: TrainingData, model: ImageBert, average: WeightAverage | None,
                 state: RunState, resume: str, writer: CheckpointWriter | None, log: RunLog | None) -> None:
        self._ranks, self._config, self._model, self._average = ranks, job.config, model, average
        self._state, self._writer, self._log = state, writer, log
        self._name, self._stage = job.config.stages()[state.stage]
        self._optimizer = build_optimizer(model, self._stage.optimizer)
        if resume:
            load_optimizer(resume, model, self._optimizer)
        self._gradient = StepGradient(model, self._stage.weights, (self._config.seed, state.stage),
                                      self._config.precision, self._config.compile)
        start = StageStart(state.step, state.samples, state.lanes)
        self._stream = PackStream(data, self._config, state.stage, start, ranks.rank, ranks.world, job.threads)
        self._budget = StepBudget(ranks.device())
        self._report = StepReport(self._config, self._stage, state, ranks.world)
        self._probe = Probe(data, self._stage, self._config, ranks) if self._config.probe_samples else None
        self._last_saved, self._out = resume, job.out
        self._skipped: list[tuple[int, str]] = []
        self._progress = Progress(self._name, self._stage.samples, state.samples, job.shown and ranks.first)

    def to_the_end(self, stopping: list[int]) -> tuple[RunState, bool]:
        """Returns the state after the stage, and whether a signal stops the run there."""
        self._model.train()
        with self._progress:
            for step in self._waited():
                result = self._update(step, len(stopping))
                ended = step.samples_after >= self._stage.samples
                if self._crosses(step, self._config.log_samples) or ended:
                    self._log_line(step)
                if self._probe is not None and (self._crosses(step, self._config.probe_samples) or ended):
                    self._measure(self._probe, step)
                self._progress.advance(step.samples)
                pending, count = self._report.pending
                self._state = dataclasses.replace(self._state, step=step.number + 1, samples=step.samples_after,
                                                  lanes=step.after, pending=pending, pending_steps=count)
                self._skipped += step.skipped
                stopped = result.stopping > 0      # some rank got a signal; all of them know after the same step
                if ended:
                    self._state = _after_stage(self._config, self._state)
                if ended or stopped or self._crosses(step, self._config.checkpoint_samples):
                    self._gather_skipped()
                    self._save()
                if stopped or ended:
                    return self._state, stopped
        return self._state, False

    def _update(self, step: Step, stopping: int) -> StepResult:
        """Takes one step; raises UsageError where a loss or the gradient is not finite."""
        scale = LossScale(self._state.loss_scale, self._state.finite_steps)
        self._gradient.run(step, self._ranks, scale.value, stopping, self._budget, self._state.gate.open)
        result = self._gradient.finish(self._stage.optimizer.clip, scale.value)
        overflowed = scale.value != 1.0 and not result.finite and all(map(math.isfinite, result.means))
        if not (result.finite or overflowed) or scale.value < _LEAST_SCALE:
            raise not_finite(self._gradient, step, self._ranks, f"stage {self._name}, step {step.number}",
                             self._last_saved)
        if not overflowed:
            middle = step.samples_before + step.samples // 2
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate(self._stage.optimizer, middle, self._stage.samples)
            with self._budget.span("update"):
                self._optimizer.step()
                if self._average is not None:
                    self._average.update(step.samples)
        if scale.value != 1.0:
            scale = scale.after(result.finite)
            self._state = dataclasses.replace(self._state, loss_scale=scale.value, finite_steps=scale.finite_steps)
        if self._stage.hard:
            gate = self._state.gate.after(result.itm_accuracy, step.samples, self._stage.hard_after)
            self._state = dataclasses.replace(self._state, gate=gate)
        self._report.add(step, result)
        return result

    def _waited(self) -> Iterator[Step]:
        steps = iter(self._stream)
        while True:
            with self._budget.span("wait"):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def _crosses(self, step: Step, samples: int) -> bool:
        return step.samples_after // samples > step.samples_before // samples

    def _log_line(self, step: Step) -> None:
        line = self._report.take(step, self._budget)
        if self._log is not None:
            hard = {"hard_negatives": self._state.gate.open} if self._stage.hard else {}
            self._log.line({"stage": self._name, "stage_number": self._state.stage, **hard, **line})
        self._progress.losses({name: line[name] for name in LOSSES if name in line})

    def _measure(self, probe: Probe, step: Step) -> None:
        """Measures on held-out pairs; every rank takes part."""
        with self._budget.span("probe"):
            found = probe.measure(self._model)
        if self._log is not None:
            self._log.probe({"stage": self._name, "stage_number": self._state.stage, "step": step.number,
                             "samples": step.samples_after, **found})

    def _gather_skipped(self) -> None:
        """Puts what any rank left out since the last checkpoint into the state, so that a resume leaves it out, too."""
        new = {number: why for number, why in self._ranks.gather(self._skipped) if why != REMOVED}
        everything = dict(self._state.skipped) | new
        self._state = dataclasses.replace(self._state, skipped=tuple(sorted(everything.items())))
        self._skipped = []

    def _save(self) -> None:
        if self._writer is not None:
            with self._budget.span("save"):
                self._writer.save(self._model, self._optimizer, self._state, self._average)
        self._last_saved = os.path.join(self._out, folder_name(self._state))


def _beginning(config: TrainConfig, sources: Sources) -> RunState:
    return RunState(stage=0, stage_name=config.stages()[0][0], step=0, samples=0, lanes=(), pending=(),
                    pending_steps=0, finished=False, parent="", sources=sources,
                    model=as_dict(config.model), loss_scale=_first_scale(config))


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
    done = (*state.stages_done, state.lanes)
    if state.stage + 1 == len(config.stages()):
        return dataclasses.replace(state, finished=True, stages_done=done)
    return dataclasses.replace(state, stages_done=done, stage=state.stage + 1,
                               stage_name=config.stages()[state.stage + 1][0], step=0, samples=0, lanes=(), pending=(),
                               pending_steps=0, loss_scale=_first_scale(config), finite_steps=0)


def _first_scale(config: TrainConfig) -> float:
    return first_scale(dtype_of(config.precision, torch.device("cuda" if torch.cuda.is_available() else "cpu"))).value


def _write_config(out: str, config: Any) -> None:
    with open(os.path.join(out, "config.json"), "w") as file:
        json.dump(as_dict(config), file, indent=1, sort_keys=True)
