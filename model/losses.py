"""The losses: MLM, MOC, MRFR and ITM as the paper's section 3, and the contrastive one of the align stage.

Each is a mean over what it covers, 0 where it covers nothing.  The masked losses count on matched pairs only, the
paper's "conditional mask" (section 3.5): a pack lists no masked place of a mismatched one.
"""
from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor

from model.imagebert import Outputs
from model.inputs import Pack


@dataclasses.dataclass(frozen=True, slots=True)
class LossWeights:
    """Factors of the sum; the paper says nothing of them, equal is the default (section 3.6)."""

    mlm: float = 1.0
    moc: float = 1.0
    mrfr: float = 1.0              # of the mean square over F, not the raw sum
    itm: float = 1.0
    contrastive: float = 0.0       # not in the paper
    mrc_kl: float = 0.0            # masked regions' class probabilities (UNITER; not in the paper)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if getattr(self, field.name) < 0:
                raise ValueError(f"the weight of {field.name} is {getattr(self, field.name)}; it must be 0 or more")


LOSSES = tuple(field.name for field in dataclasses.fields(LossWeights))
ACCURACIES = ("mlm_accuracy", "moc_accuracy", "itm_accuracy")


def losses_of(outputs: Outputs, pack: Pack) -> dict[str, Tensor]:
    """Returns every loss by name, each a scalar; `contrastive` is 0 for a model without projections."""
    zero = _exact(outputs.itm_logits).sum() * 0
    contrastive = contrastive_loss(outputs, pack) if outputs.contrast_images is not None else zero
    return {"mlm": mlm_loss(outputs, pack), "moc": moc_loss(outputs, pack), "mrfr": mrfr_loss(outputs, pack),
            "itm": itm_loss(outputs, pack), "contrastive": contrastive, "mrc_kl": mrc_kl_loss(outputs, pack)}


def weighted_sum(losses: dict[str, Tensor], weights: LossWeights) -> Tensor:
    """Returns what is minimised; a loss of weight 0 stays in the graph, so that every parameter has a gradient."""
    return torch.stack([losses[name] * getattr(weights, name) for name in LOSSES]).sum()


def covered_by(pack: Pack) -> tuple[int, ...]:
    """Returns 1 for every loss that a pack on the host says something about, else 0, in the order of LOSSES."""
    words = pack.masked_word_weights.numpy()     # numpy: for work this small torch would wake all its threads
    regions = pack.masked_region_weights.numpy()
    soft = regions * (pack.soft_p.numpy()[pack.masked_region_rows.numpy()] > 0).any(axis=1)
    covered = words, regions, regions, pack.itm_weights.numpy(), pack.contrast_weights.numpy(), soft
    return tuple(int((weights > 0).any()) for weights in covered)


@torch.no_grad()
def accuracies_of(outputs: Outputs, pack: Pack) -> dict[str, Tensor]:
    """Returns the share of right answers of the tasks that have one, over what their losses cover.

    Of ITM the mean of the shares among right and among wrong pairs: 0.5 knows nothing, however many are wrong.
    """
    words = (outputs.mlm_logits.argmax(-1) == pack.masked_word_targets).float()
    classes = (outputs.moc_logits.argmax(-1) == pack.classes[pack.masked_region_rows]).float()
    matches = ((outputs.itm_logits > 0) == (pack.matched > 0)).float()
    right, wrong = pack.itm_weights * pack.matched, pack.itm_weights * (1 - pack.matched)
    balanced = right / right.sum().clamp(min=1) + wrong / wrong.sum().clamp(min=1)
    return {"mlm_accuracy": _mean(words, pack.masked_word_weights),
            "moc_accuracy": _mean(classes, pack.masked_region_weights),
            "itm_accuracy": _mean(matches, balanced)}


def mlm_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean cross-entropy of masked word pieces, in nats (section 3.1)."""
    each_M = F.cross_entropy(_exact(outputs.mlm_logits), pack.masked_word_targets, reduction="none")
    return _mean(each_M, pack.masked_word_weights)


def moc_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean cross-entropy of masked regions' classes, in nats (section 3.2, its sign corrected)."""
    targets_N = pack.classes[pack.masked_region_rows]
    each_N = F.cross_entropy(_exact(outputs.moc_logits), targets_N, reduction="none")
    return _mean(each_N, pack.masked_region_weights)


def mrc_kl_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean KL divergence of the MOC head from the extractor's probabilities, in nats (UNITER's MRC-kl).

    Only the most likely classes are stored; their probabilities are made to sum to 1.  A region without any counts for
    nothing.
    """
    rows = pack.masked_region_rows
    if not pack.soft_p.shape[1]:
        return _exact(outputs.moc_logits).sum() * 0
    log_q_NC = F.log_softmax(_exact(outputs.moc_logits), dim=-1)
    log_q_N8 = log_q_NC.gather(1, pack.soft_ids[rows])
    p_N8 = pack.soft_p[rows].to(log_q_N8.dtype)
    p_N8 = p_N8 / p_N8.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    return _mean((torch.xlogy(p_N8, p_N8) - p_N8 * log_q_N8).sum(dim=1), _soft_weights(pack))


def mrfr_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean square error per feature value of masked regions, in the features' unit (section 3.3)."""
    each_N = (_exact(outputs.mrfr_features) - region_targets(pack)).square().mean(dim=-1)
    return _mean(each_N, pack.masked_region_weights)


def region_targets(pack: Pack) -> Tensor:
    """Returns the unmasked features of the masked regions, dequantised, [N, F] f32."""
    rows = pack.masked_region_rows
    return (pack.features[rows].float() - pack.zero[rows, None]) * pack.scale[rows, None]


def itm_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean binary cross-entropy of labelled pairs, in nats (section 3.4)."""
    logits_S = _exact(outputs.itm_logits)
    each_S = F.binary_cross_entropy_with_logits(logits_S, pack.matched.to(logits_S.dtype), reduction="none")
    return _mean(each_S, pack.itm_weights)


def contrastive_loss(outputs: Outputs, pack: Pack) -> Tensor:
    """Returns the mean of the two InfoNCE losses inside the pack, in nats (ALBEF; CLIP).

    Pairs that share the image, its near-duplicate group or the caption are no negatives of each other.
    """
    if outputs.contrast_images is None or outputs.contrast_texts is None or outputs.contrast_scale is None:
        raise ValueError("this model has no contrastive projections (contrastive_dim is 0)")
    scores_KK = _exact(outputs.contrast_scale) * _exact(outputs.contrast_images) @ _exact(outputs.contrast_texts).T
    ids = pack.contrast_ids
    same_KK = (ids[:, None, :] == ids[None, :, :]).any(dim=-1)
    same_KK.fill_diagonal_(False)
    unused_K = pack.contrast_weights == 0
    scores_KK = scores_KK.masked_fill(same_KK | (unused_K[:, None] ^ unused_K[None, :]), -1e4)
    truth_K = torch.arange(len(ids), device=ids.device)
    each_K = (F.cross_entropy(scores_KK, truth_K, reduction="none")
              + F.cross_entropy(scores_KK.T, truth_K, reduction="none")) / 2
    return _mean(each_K, pack.contrast_weights)


def _exact(values: Tensor) -> Tensor:
    """Returns what losses are computed in: f32 from half precision, f64 where the model is f64."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _soft_weights(pack: Pack) -> Tensor:
    """Returns [N] 1 for masked regions whose class probabilities are known."""
    known = (pack.soft_p[pack.masked_region_rows] > 0).any(dim=1)
    return pack.masked_region_weights * known


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    return (values * weights).sum() / weights.sum().clamp(min=1)
