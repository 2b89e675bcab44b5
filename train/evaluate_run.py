"""An evaluation: a checkpoint and held-out data in, `result.json` and a table out.

    OUT/result.json                recalls against chance, blind baselines, digests, config
    OUT/blocks/<hash>/*.npy        scores, so that an interrupted evaluation goes on
"""
from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import time
from typing import Any

from crawl import storage
from crawl.config import as_dict
from crawl.errors import UsageError
from crawl.lock import run_lock
from train import recall
from train.blind import BlindRow, habits_of, measure_blind
from train.captioned import captions_file, dataset_name, read_photographs
from train.items import Collection
from train.opening import Checkpoint, open_checkpoint, open_data
from train.progress_bar import Bar
from train.protocols import protocol_of
from train.retrieval import FILE, RetrievalConfig, Row, folds_of, measure, pairs_to_score

RESULT = "result.json"
# Below this many pairs seen, nobody should read a low recall on photographs as a broken model.
_PHOTOGRAPHS_TO_LEARN_FROM = 10_000


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluateConfig:
    """What is measured."""

    split: str = "test"
    protocol: str = ""             # how the paper ranks a test set (train/protocols.py); settles split and folds
    retrieval: RetrievalConfig = RetrievalConfig()
    regions: int = 0               # the most confident ones of an image; 0: as many as the model takes
    blind: bool = True             # measure the losses against their blind baselines, too
    blind_pairs: int = 1000        # held-out pairs for that, at most
    habit_images: int = 20_000     # training images whose class frequencies and mean feature are the baselines, at most
    threads: int = 1               # of torch in each scoring thread; more gave nothing for the demo's model
    averaged: bool = False         # the mean of past weights instead of the last ones (ema_samples of the run)

    def __post_init__(self) -> None:
        if self.protocol:
            protocol_of(self.protocol)
        if self.split not in ("train", "val", "test"):
            raise ValueError(f"split is {self.split!r}; choose train, val or test")
        if self.regions < 0 or min(self.blind_pairs, self.habit_images, self.threads) < 1:
            raise ValueError(f"regions {self.regions} must be 0 or more, blind_pairs, habit_images and threads at "
                             f"least 1")


    def resolved(self) -> EvaluateConfig:
        """Returns the config with what its protocol settles."""
        if not self.protocol:
            return self
        protocol = protocol_of(self.protocol)
        return dataclasses.replace(self, split="test", retrieval=dataclasses.replace(
            self.retrieval, folds=protocol.folds, fold_size=protocol.fold_size, fold_order=FILE,
            captions=protocol.captions))


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What was measured, on what, with what."""

    checkpoint: str                # folder
    weights_digest: str
    stage: str                     # of the checkpoint: align, pretrain, finetune
    data: str
    data_digest: str               # of the images and captions ranked
    rows: tuple[Row, ...]
    blind: tuple[BlindRow, ...]
    notes: tuple[str, ...]
    config: dict[str, Any]
    pairs: int                     # scored by the ITM head
    seconds: float                 # the whole evaluation, of this run; not part of result.json
    path: str                      # of result.json, "" when none is written; not part of it

    def row(self, name: str) -> Row | None:
        """Returns a row by name (itm, itm_shuffled, contrastive, reranked), None when it was not measured."""
        return next((row for row in self.rows if row.name == name), None)

    def as_json(self) -> dict[str, Any]:
        """Returns the plain values of result.json; the same for the same inputs, whenever it runs."""
        plain = as_dict(dataclasses.replace(self, seconds=0.0, path=""))
        del plain["seconds"], plain["path"]
        for line, blind in zip(plain["blind"], self.blind, strict=True):
            line["beats"] = blind.beats
        return plain


def evaluate(checkpoint: str, data: str, out: str, config: EvaluateConfig, shown: bool = False) -> Result:
    """Measures a checkpoint on a dataset (root or shards folder) or a captioned folder, and writes OUT/result.json.

    Raises UsageError when there is no checkpoint, when it does not fit the data, or when the split is empty.
    """
    begun, config = time.monotonic(), config.resolved()
    if config.protocol:
        _check_dataset(data, config.protocol)
    opened = open_checkpoint(checkpoint, config.averaged)
    if opened.model.itm.weight.device.type == "cpu":
        import torch
        torch.set_num_threads(config.threads)
    splits = [config.split, *(["train"] if config.blind and config.split != "train" else [])]
    with Bar("reading", 0, shown) as bar:
        found = open_data(data, opened, splits, config.regions, config.habit_images, lambda: bar.advance(1))
    ranked, habits_from = found[config.split], found[splits[-1]]
    with run_lock(out) if out else contextlib.nullcontext():
        rows, pairs = _ranked(opened, ranked, out, config, shown)
    blind = _blind(opened, ranked, habits_from, config) if config.blind else ()
    path = os.path.join(out, RESULT) if out else ""
    result = Result(checkpoint=opened.folder, weights_digest=opened.weights_digest, stage=opened.state.stage_name,
                    data=data, data_digest=ranked.digest(), rows=rows, blind=blind, config=as_dict(config),
                    notes=tuple(_notes(data, opened, ranked, config)), pairs=pairs,
                    seconds=round(time.monotonic() - begun, 3), path=path)
    if path:
        text = json.dumps(result.as_json(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        storage.replace_bytes(path, text.encode())
    return result


def _check_dataset(data: str, name: str) -> None:
    """Raises UsageError where data says that it is another dataset than a protocol's."""
    wanted = protocol_of(name).dataset
    found = dataset_name(data) if captions_file(data) else "a set of shards"
    if found and found != wanted:
        raise UsageError(f"{data} is {found}, --protocol {name} ranks {wanted}; give its folder, or leave --protocol "
                         f"out")


def _ranked(opened: Checkpoint, ranked: Collection, out: str, config: EvaluateConfig,
            shown: bool) -> tuple[tuple[Row, ...], int]:
    pairs = pairs_to_score(ranked, config.retrieval)
    folder = os.path.join(out, "blocks") if out else ""
    with Bar("ranking", pairs, shown) as bar:
        rows = measure(opened.model, ranked, opened.special, config.retrieval, folder=folder,
                       weights_digest=opened.weights_digest, on_pairs=bar.advance)
    return rows, pairs


def _blind(opened: Checkpoint, ranked: Collection, habits_from: Collection,
           config: EvaluateConfig) -> tuple[BlindRow, ...]:
    habits = habits_of(habits_from.samples, opened.model.config.num_classes, opened.model.config.feature_dim)
    held_out = ranked.take(range(min(len(ranked), config.blind_pairs)))
    return measure_blind(opened.model, held_out, habits, opened.special)


def _notes(data: str, opened: Checkpoint, ranked: Collection, config: EvaluateConfig) -> list[str]:
    """Returns the lines a person must read beside the numbers."""
    folds = folds_of(ranked, config.retrieval)
    wanted = config.retrieval.folds
    notes = [f"{count} images left out: {reason}" for reason, count in ranked.skipped]
    if len(folds) < wanted:
        notes.append(f"{len(folds)} of {wanted} folds: {len(ranked)} images are too few for more of "
                     f"{config.retrieval.fold_size or len(ranked)}")
    unknown = opened.tokenizer.ids["[UNK]"]
    words, _ = ranked.flat_captions()
    share = sum(int((own == unknown).sum()) for own in words) / max(sum(map(len, words)), 1)
    if share > 0.01:
        notes.append(f"{share:.1%} of the word pieces are unknown to the checkpoint's vocabulary")
    if captions_file(data):
        notes += photograph_notes(sum(photograph.split == "train" for photograph in read_photographs(data)))
    return notes


def photograph_notes(training_images: int) -> list[str]:
    """Returns the warning that belongs to a small set of photographs."""
    if training_images >= _PHOTOGRAPHS_TO_LEARN_FROM:
        return []
    return [f"{training_images} photographs without pre-trained weights are not expected to teach retrieval: recall "
            f"near chance is the honest outcome here"]


def print_result(result: Result) -> None:
    """Prints the tables a person reads, 80 columns wide."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    console = Console(highlight=False, soft_wrap=True)
    for direction in recall.DIRECTIONS:
        first = result.rows[0].recall(direction, recall.KS[0])
        table = Table(title=f"{direction.replace('_', ' ')}, {first.folds} x {result.rows[0].images // first.folds} "
                            f"images, {result.rows[0].captions} captions", title_justify="left", box=box.SIMPLE)
        for name in ("ranked by", *(f"R@{k}" for k in recall.KS), f"95 % of R@{first.k}", "between folds"):
            table.add_column(name, justify="left" if name == "ranked by" else "right")
        table.add_row("chance", *(f"{result.rows[0].recall(direction, k).chance:.1%}" for k in recall.KS), "", "")
        for row in result.rows:
            found = [row.recall(direction, k) for k in recall.KS]
            table.add_row(row.name, *(f"{one.value:.1%}" for one in found), f"{found[0].low:.1%} - {found[0].high:.1%}",
                          f"± {found[0].fold_spread:.1%}" if found[0].folds > 1 else "one fold")
        console.print(table)
    for row in result.rows:
        for name, value in row.facts:
            console.print(f"{row.name}: {name} {value:.1%}")
    if result.blind:
        blind = Table(title="held-out losses", title_justify="left", box=box.SIMPLE)
        for name in ("task", "loss", "blind", "better", "blind is"):
            blind.add_column(name, justify="left" if name in ("task", "blind is") else "right")
        for line in result.blind:
            blind.add_row(line.task, f"{line.loss:.4f}", f"{line.blind:.4f}", "yes" if line.beats else "no",
                          line.baseline)
        console.print(blind)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)
    console.print(f"checkpoint: {result.checkpoint} ({result.stage})", markup=False)
    console.print(f"{result.pairs} pairs ranked by the ITM head; {result.seconds:.1f} s in all")
    if result.path:
        console.print(f"result: {result.path}", markup=False)
