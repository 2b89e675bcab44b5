"""Held-out losses against what a model would lose that cannot see: does each task use the image, or only habits?

    mlm    masked words with the right image           against the same words and masks with another image
    moc    masked regions' classes                     against the class frequencies of the training split
    mrfr   masked regions' features                    against the mean feature of the training split
    itm    own and other captions, half and half       against the entropy of the base rate
"""
from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from model import losses
from model.imagebert import ImageBert
from model.inputs import Pack
from train.items import Collection
from train.masking import MaskingConfig, plan_masks
from train.negatives import draw_captions
from train.packing import Rows, Sample, SpecialTokens, build_pack, capacity_for

# A loss must be this much below its baseline to count as better; the issue asks for it of mlm and itm, in nats.
MARGINS = {"mlm": 0.1, "moc": 0.0, "mrfr": 0.0, "itm": 0.1}
_PAIRS_AT_ONCE = 64
_PAPER = MaskingConfig()
_SEED = 9973           # any fixed number: the masks of an evaluation are the same for every model


@dataclasses.dataclass(frozen=True, slots=True)
class BlindRow:
    """One task on held-out pairs."""

    task: str                      # mlm, moc, mrfr, itm
    loss: float                    # nats; for mrfr the mean square per feature value
    blind: float                   # the same without looking
    margin: float                  # by how much the loss must be below
    count: int                     # word pieces, regions or pairs it is a mean of
    baseline: str                  # what `blind` is

    @property
    def beats(self) -> bool:
        """Returns whether the loss is below the baseline by the margin."""
        return self.loss < self.blind - self.margin


@dataclasses.dataclass(frozen=True, slots=True)
class TrainingHabits:
    """What can be known of regions without looking: from the training split."""

    class_shares: NDArray[np.float64]    # [C], add-one smoothed
    mean_feature: NDArray[np.float64]    # [F]

    def class_entropy(self) -> float:
        """Returns the entropy of the class frequencies, in nats."""
        return float(-(self.class_shares * np.log(self.class_shares)).sum())


def habits_of(samples: Sequence[Sample], num_classes: int, feature_dim: int) -> TrainingHabits:
    """Returns class frequencies and mean feature over all regions of the samples."""
    counts = np.ones(num_classes)
    total, regions = np.zeros(feature_dim), 0
    for sample in samples:
        counts += np.bincount(sample.classes, minlength=num_classes)
        values = (sample.features.astype(np.float64) - sample.zero[:, None]) * sample.scale[:, None]
        total += values.sum(axis=0)
        regions += len(values)
    return TrainingHabits(counts / counts.sum(), total / max(regions, 1))


def measure_blind(model: ImageBert, held_out: Collection, habits: TrainingHabits, special: SpecialTokens, *,
                  rounds: int = 4, masking: MaskingConfig = _PAPER) -> tuple[BlindRow, ...]:
    """Returns the four tasks on held-out pairs, averaged over `rounds` fixed draws of masks and other images.

    Pairs for which a batch has no other image (the same picture, or a token-identical caption) are left out of mlm
    and itm.
    """
    model.eval()
    sums: dict[str, float] = collections.defaultdict(float)
    with torch.inference_mode():
        for number in range(rounds):
            for start in range(0, len(held_out), _PAIRS_AT_ONCE):
                samples = held_out.samples[start:start + _PAIRS_AT_ONCE]
                _add(sums, model, samples, habits, special, masking, (_SEED, number, start))
    words, regions, pairs = (max(sums[name], 1) for name in ("words", "regions", "pairs"))
    base_rate = sums["matched"] / pairs
    moc_blind = min(sums["moc_blind"] / regions, habits.class_entropy())
    found = {"mlm": (sums["mlm"] / words, sums["mlm_blind"] / words, words, "the same masks with another image"),
             "moc": (sums["moc"] / regions, moc_blind, regions, "class frequencies of the training split"),
             "mrfr": (sums["mrfr"] / regions, sums["mrfr_blind"] / regions, regions, "training mean of the feature"),
             "itm": (sums["itm"] / pairs, _binary_entropy(base_rate), pairs, "entropy of the base rate")}
    return tuple(BlindRow(task, round(loss, 6), round(blind, 6), MARGINS[task], int(count), baseline)
                 for task, (loss, blind, count, baseline) in found.items())


def _add(sums: dict[str, float], model: ImageBert, samples: Sequence[Sample], habits: TrainingHabits,
         special: SpecialTokens, masking: MaskingConfig, counters: tuple[int, ...]) -> None:
    each = np.arange(len(samples))
    others, _ = draw_captions(samples, 1.0, *counters)          # caption others[i] is a negative of image i
    true = np.flatnonzero(others != each)
    masks = plan_masks(samples, special, masking, *counters)
    device = model.itm.weight.device

    def pack_of(rows: Rows) -> Pack:
        return build_pack(samples, rows, special, capacity_for(samples, rows, special), masks).cropped().to(device)

    # moc and mrfr: masked regions of every pair with its own caption
    pack = pack_of(Rows.pairs(each, each, np.ones(len(each), np.int64), masked=True))
    outputs = model(pack)
    targets_NF = losses.region_targets(pack)
    shares_C = torch.from_numpy(habits.class_shares).to(device)
    mean_F = torch.from_numpy(habits.mean_feature).to(device)
    classes_N = pack.classes[pack.masked_region_rows]
    sums["regions"] += pack.masked_regions
    sums["moc"] += _total(F.cross_entropy(outputs.moc_logits.float(), classes_N, reduction="none"))
    sums["moc_blind"] += _total(-shares_C[classes_N].log())
    sums["mrfr"] += _total((outputs.mrfr_features.float() - targets_NF).square().mean(dim=-1))
    sums["mrfr_blind"] += _total((mean_F - targets_NF).square().mean(dim=-1))
    if not len(true):
        return

    # mlm: the same captions, in the same order, once with their own image and once with another
    for name, images in (("mlm", others[true]), ("mlm_blind", true)):
        pack = pack_of(Rows.pairs(images, others[true], np.ones(len(true), np.int64), masked=True))
        outputs = model(pack)
        sums[name] += _total(F.cross_entropy(outputs.mlm_logits.float(), pack.masked_word_targets, reduction="none"))
    sums["words"] += pack.masked_words

    # itm: as retrieval sees pairs, without masks
    label = np.repeat([1, 0], len(true))
    pack = pack_of(Rows.pairs(np.tile(true, 2), np.concatenate([true, others[true]]), label))
    logits_S = model.match(pack).float()
    sums["itm"] += _total(F.binary_cross_entropy_with_logits(logits_S, pack.matched, reduction="none"))
    sums["pairs"] += len(label)
    sums["matched"] += int(label.sum())


def _total(values: torch.Tensor) -> float:
    return float(values.double().sum())


def _binary_entropy(share: float) -> float:
    return -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
