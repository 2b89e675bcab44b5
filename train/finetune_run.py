"""A fine-tuning run: a checkpoint and a dataset or captioned folder in, a tuned checkpoint out.

    OUT/checkpoint.json, checkpoints/<n>-finetune-<steps>/    the weights of the best validated epoch
    OUT/finetune.json              every epoch's loss and validation recall, the config, where it began
    OUT/progress.safetensors       after every epoch, until the run is finished: what --resume goes on from
    OUT/scratch/                   the untrained checkpoint it began with, when none was given
"""
from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import torch

from crawl import storage
from crawl.config import as_dict, digest, override, parsed
from crawl.errors import UsageError
from crawl.lock import run_lock
from model.imagebert import ImageBert
from train.captioned import captions_file
from train.checkpoint import find_checkpoint, own_tensors, state_digest, write_checkpoint
from train.evaluate_run import photograph_notes
from train.extractor import copy_extractor
from train.finetune import finetune_model
from train.finetune_config import FinetuneConfig, config_for
from train.items import Collection
from train.opening import Checkpoint, open_checkpoint, open_data
from train.progress_bar import Bar
from train.randomness import torch_seed
from train.scratch import scratch_checkpoint
from train.tuning_progress import NAME, Epoch, ProgressFile

LOG = "finetune.json"


@dataclasses.dataclass(frozen=True, slots=True)
class Tuned:
    """What fine-tuning gave."""

    checkpoint: str                # folder
    began_with: str                # checkpoint folder
    from_scratch: bool
    data: str
    images: int
    captions: int
    epochs: tuple[Epoch, ...]
    best_epoch: int
    notes: tuple[str, ...]
    config: dict[str, Any]


def finetune(checkpoint: str, data: str, out: str, assignments: list[str], *, from_scratch: bool = False,
             threads: int = 1, shown: bool = False, preset: str = "", resume: bool = False) -> Tuned:
    """Tunes a checkpoint for retrieval and commits the best epoch's weights to `out`.

    Args:
        checkpoint: run folder or checkpoint; "" makes an untrained one from a captioned folder (`from_scratch` only).
        assignments: `name=value` settings over those of `config_for`.
        preset: "uniter" takes hard negatives as UNITER does; assignments come after it.
        resume: go on after the last whole epoch of the run in `out`; with a finished one, return what it gave.
        from_scratch: take sizes, vocabulary and extractor of the checkpoint, but not its weights.

    Raises UsageError when data and checkpoint do not fit, or `out` already holds a run.
    """
    if not checkpoint and (not from_scratch or not captions_file(data)):
        raise UsageError("no --checkpoint: give the folder of a pre-trained run, or --from-scratch with a folder of "
                         "photographs and captions")
    opened = open_checkpoint(checkpoint) if checkpoint else None
    with run_lock(out):
        unfinished = os.path.exists(os.path.join(out, NAME))
        if unfinished and not resume:
            raise UsageError(f"{out} holds a run that is not finished; add --resume to go on, or give another --out")
        if find_checkpoint(out) and not unfinished:
            if resume and os.path.exists(os.path.join(out, LOG)):
                with open(os.path.join(out, LOG), encoding="utf-8") as file:
                    return parsed(Tuned, json.load(file), os.path.join(out, LOG))
            raise UsageError(f"{out} already holds a run; give another --out")
        if opened is None:
            scratch = os.path.join(out, "scratch")
            opened = open_checkpoint(scratch if find_checkpoint(scratch) else scratch_checkpoint(data, scratch))
        config = override(config_for(opened.model.config, preset), assignments)
        return _finetune(opened, data, out, config, from_scratch, threads, shown)


def _finetune(opened: Checkpoint, data: str, out: str, config: FinetuneConfig, from_scratch: bool, threads: int,
              shown: bool) -> Tuned:
    if opened.model.itm.weight.device.type == "cpu":
        torch.set_num_threads(threads)
    with Bar("reading", 0, shown) as bar:
        found = open_data(data, opened, ("train", "val"), config.regions, on_image=lambda: bar.advance(1))
    train, validation = found["train"], found["val"]
    if len(train) < 2:
        raise UsageError(f"{train.name}: {len(train)} image to learn from; at least 2 are needed for a negative")
    model = _untrained(opened, config) if from_scratch else opened.model
    if config.align_epochs and model.contrast is None:
        raise UsageError(f"align_epochs is {config.align_epochs}, but {opened.folder} has no contrastive projections; "
                         f"leave it 0 or use a model with contrastive_dim")
    kept = ProgressFile(out, {"config": digest(config), "training data": train.digest(),
                              "validation data": validation.digest(),
                              "checkpoint": "" if from_scratch else opened.weights_digest})
    with Bar("tuning", config.epochs, shown) as bar:
        epochs = finetune_model(model, train, validation, opened.special, config, lambda epoch: bar.advance(
            1, f"loss {epoch.loss:.3f}" + (f"  recall sum {epoch.recall_sum:.3f}" if epoch.recall_sum >= 0 else "")),
            kept)
    folder = _commit(opened, model, train, config, epochs, out)
    notes = photograph_notes(len(train)) if captions_file(data) else []
    notes += [f"{count} images left out: {reason}" for reason, count in train.skipped]
    tuned = Tuned(checkpoint=folder, began_with=opened.folder, from_scratch=from_scratch, data=data, images=len(train),
                  captions=train.num_captions, epochs=epochs, config=as_dict(config), notes=tuple(notes),
                  best_epoch=max((epoch.number for epoch in epochs if epoch.best), default=0))
    storage.replace_bytes(os.path.join(out, LOG),
                          (json.dumps(as_dict(tuned), indent=1, sort_keys=True) + "\n").encode())
    kept.remove()
    return tuned


def _untrained(opened: Checkpoint, config: FinetuneConfig) -> ImageBert:
    torch.manual_seed(torch_seed(config.seed))
    return ImageBert(opened.model.config).to(opened.model.itm.weight.device)


def _commit(opened: Checkpoint, model: ImageBert, train: Collection, config: FinetuneConfig,
            epochs: tuple[Epoch, ...], out: str) -> str:
    copy_extractor(opened.folder, out)
    steps = len(epochs) * -(-len(train) // config.batch)
    sources = dataclasses.replace(opened.state.sources, config=digest(config), manifest=train.digest())
    state = dataclasses.replace(
        opened.state, stage=opened.state.stage + 1, stage_name="finetune", step=steps, lanes=(), pending=(),
        pending_steps=0, samples=len(epochs) * len(train), finished=True, parent=state_digest(opened.folder),
        sources=sources)
    weights = {name: tensor.detach().cpu() for name, tensor in own_tensors(model).items()}
    return write_checkpoint(out, os.path.join(opened.folder, "vocab.txt"), weights, {}, state)
