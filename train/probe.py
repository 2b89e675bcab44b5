"""How a model does on held-out pairs while it learns: losses, accuracies, and recall on a fixed part of the test split.

The same pairs, masks and negatives every time; nothing of it touches what training draws.  The ranks share the work.
"""
from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch

from crawl.errors import UsageError
from model.imagebert import ImageBert
from model.losses import ACCURACIES, LOSSES, accuracies_of, covered_by, losses_of
from train.data import TrainingData, special_tokens
from train.items import Collection, from_shards
from train.masking import plan_masks
from train.mixture import parse_part
from train.negatives import pairs_for_itm
from train.packing import Rows, Sample, build_pack, capacity_for
from train.plan import SOFT_CLASSES, StageConfig, TrainConfig
from train.precision import autocast, dtype_of
from train.ranks import Ranks
from train.recall import disjoint_folds, recall_at_k
from train.scoring import CrossScorer, contrastive_scores

_SPLIT = "test"
_PAIRS_AT_ONCE = 32
_SEED = 31_337         # any fixed number: masks and negatives are those of every probe
_LOGGED = (*LOSSES, *ACCURACIES)


class Probe:
    """The held-out pairs of a stage, in memory."""

    def __init__(self, data: TrainingData, stage: StageConfig, config: TrainConfig, ranks: Ranks) -> None:
        """Raises UsageError where the stage's first set has no held-out samples."""
        name = parse_part(stage.data[0]).name if stage.data else next(iter(data.sets))
        shards = data.sets[name]
        if not shards.samples(_SPLIT):
            raise UsageError(f"probe_samples={config.probe_samples}: {shards.directory} has no held-out samples (split "
                             f"{_SPLIT!r}) to measure on; build shards with some, or --set probe_samples=0")
        # Of pairs with one caption only the first can be told apart: some more are read than are wanted.
        found = from_shards(shards, _SPLIT, data.tokenizer, data.limit, 2 * config.probe_captions)
        size = min(config.probe_captions, len(found))
        chosen = disjoint_folds(found.keys, found.caption_names(), size, 1)[0]
        self._held: Collection = found.take(chosen)
        self._images = min(config.probe_images, len(self._held))
        self._stage, self._ranks, self._special = stage, ranks, special_tokens(data.tokenizer, config.model)
        self._precision = config.precision

    def measure(self, model: ImageBert) -> dict[str, Any]:
        """Returns losses, accuracies and recalls, the same on every rank; the model is in training mode again after."""
        begun = time.monotonic()
        model.eval()
        try:
            found = self._losses(model) | self._recalls(model)
        finally:
            model.train()
        return found | {"pairs": self._images * len(self._held), "seconds": round(time.monotonic() - begun, 3)}

    def _losses(self, model: ImageBert) -> dict[str, Any]:
        """Returns means over packs of held-out pairs, of those that a loss covers."""
        sums: list[list[float]] = []
        samples = self._held.samples
        starts = range(self._ranks.rank * _PAIRS_AT_ONCE, len(samples), self._ranks.world * _PAIRS_AT_ONCE)
        for start in starts:
            sums.append(self._pack_losses(model, samples[start:start + _PAIRS_AT_ONCE], start))
        both = np.array(self._ranks.gather(sums), np.float64).reshape(-1, 2 * len(_LOGGED)).sum(axis=0)
        values, counts = both[:len(_LOGGED)], both[len(_LOGGED):]
        weights = self._stage.weights
        return {name: round(float(value / count), 6) for name, value, count in zip(_LOGGED, values, counts, strict=True)
                if count and getattr(weights, name.removesuffix("_accuracy"))}

    def _pack_losses(self, model: ImageBert, samples: tuple[Sample, ...], start: int) -> list[float]:
        stage, counters = self._stage, (_SEED, start)
        rows = Rows.singles(len(samples))
        if stage.joint:
            joint, _ = pairs_for_itm(samples, stage.itm, stage.negatives, *counters)
            rows = joint.and_then(rows) if stage.singles else joint
        capacity = capacity_for(samples, rows, self._special)
        if stage.weights.mrc_kl:
            capacity = dataclasses.replace(capacity, soft=SOFT_CLASSES)
        masks = plan_masks(samples, self._special, stage.masking, *counters) if stage.joint else None
        pack = build_pack(samples, rows, self._special, capacity, masks)
        covered = dict(zip(LOSSES, covered_by(pack), strict=True))
        device = model.itm.weight.device
        with torch.inference_mode(), autocast(dtype_of(self._precision, device), device):
            ready = pack.cropped().to(device)
            outputs = model(ready)
            found = {name: float(value) for name, value in
                     (losses_of(outputs, ready) | accuracies_of(outputs, ready)).items()}
        counts = [float(covered[name.removesuffix("_accuracy")]) for name in _LOGGED]
        return [found[name] * count for name, count in zip(_LOGGED, counts, strict=True)] + counts

    def _recalls(self, model: ImageBert) -> dict[str, Any]:
        """Returns recalls of the first images among all captions, and of their captions among them."""
        first, last = (self._images * place // self._ranks.world for place in (self._ranks.rank, self._ranks.rank + 1))
        if self._stage.joint:
            own = CrossScorer(model, self._held, self._special).rows(first, last)
        else:
            own = contrastive_scores(model, self._held, self._special)[first:last]
        scores_IC = np.concatenate(self._ranks.gather([own]))
        images = np.arange(len(scores_IC))
        captions_IC = scores_IC[:, :self._images]
        to_text = _share_right(scores_IC)
        return {"ranked_by": "itm" if self._stage.joint else "contrastive"} | to_text | {
            name: round(value, 6) for name, value in recall_at_k(captions_IC, images).items()
            if name.startswith("text_to_image")}


def _share_right(scores_IC: np.ndarray) -> dict[str, float]:
    """Returns recalls of images among more captions than theirs: caption i is image i's, ties count against it."""
    images = np.arange(len(scores_IC))
    ranks_I = (scores_IC >= scores_IC[images, images][:, None]).sum(axis=1) - 1
    return {f"image_to_text/recall@{k}": round(float((ranks_I < k).mean()), 6) for k in (1, 5, 10)}

