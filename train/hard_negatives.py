"""Hard negatives: wrong pairs that the contrastive head takes for right ones (ALBEF; not in the paper).

They depend on the weights, so they cannot be planned ahead: a thread builds a pack with random negatives, and the loop
exchanges some of them for what the weights of this step find alike.  Nothing else of the pack changes: its samples,
masks, labels and sizes are the planned ones.
"""
from __future__ import annotations

import dataclasses

import numpy as np
import torch

from model.imagebert import ImageBert
from model.inputs import Pack
from train.negatives import harder_pairs
from train.packing import Capacity, Masks, Rows, Sample, SpecialTokens, build_pack, capacity_for
from train.precision import autocast


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """What a pack was built from."""

    samples: tuple[Sample, ...]
    joint: Rows                    # its joint sequences, with random negatives; image-only and text-only ones follow
    masks: Masks
    features: torch.Tensor         # of the samples, [capacity.distinct, F]
    special: SpecialTokens
    capacity: Capacity
    itm: str
    share: float                   # of the wrong pairs, to be hard ones
    counters: tuple[int, ...]


def harder_pack(model: ImageBert, recipe: Recipe, dtype: torch.dtype) -> Pack:
    """Returns the pack with hard negatives, by the model as it is, without dropout.

    A pure function of weights and recipe: the same on whatever rank has the lane.
    """
    if model.contrast is None:
        raise ValueError("this model has no contrastive projections (contrastive_dim is 0)")
    samples, singles, special = recipe.samples, Rows.singles(len(recipe.samples)), recipe.special
    device = model.itm.weight.device
    halves = build_pack(samples, singles, special, capacity_for(samples, singles, special), features=recipe.features)
    was_training = model.training
    model.eval()
    with torch.no_grad(), autocast(dtype, device):
        images_Kd, texts_Kd = model.contrast_vectors(halves.cropped().to(device))
    model.train(was_training)
    with torch.no_grad():
        logits_KK = model.contrast.log_scale.exp() * (images_Kd.float() @ texts_Kd.float().T)
    joint = harder_pairs(recipe.joint, samples, recipe.itm, recipe.share,
                         logits_KK.cpu().numpy().astype(np.float64), *recipe.counters)
    return build_pack(samples, joint.and_then(singles), special, recipe.capacity, recipe.masks, recipe.features)
