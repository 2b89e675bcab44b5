"""Fine-tuning for retrieval: ITM alone, no masks, negatives from inside the batch (paper section 5).

    binary        every pair is right or wrong: the paper's best (section 6.4), the default
    multiclass    the right pair among P, by softmax
    triplet       the right pair above the hardest of P - 1 wrong ones by a margin

Half of the negatives are other captions for the image, half other images for the caption (section 5.2).
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.config import ModelConfig
from model.imagebert import ImageBert
from model.losses import contrastive_loss
from train.data import token_hash
from train.items import Collection
from train.packing import Rows, Sample, SpecialTokens, build_pack, capacity_for, identities
from train.randomness import DROPOUT, NEGATIVES, ORDER_SAMPLES, WORD_IDS, below, mix, permutation, torch_seed
from train.recall import recall_at_k
from train.schedule import OptimizerConfig, build_optimizer, learning_rate
from train.scoring import CrossScorer

BINARY, MULTICLASS, TRIPLET = "binary", "multiclass", "triplet"
LOSSES = (BINARY, MULTICLASS, TRIPLET)
_PAPER_WIDTH = 768
_ALIGN, _TUNE = 0, 1


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How a model is tuned; batch and learning rate are the paper's (section 5.4)."""

    loss: str = BINARY
    negatives: int = 2             # of a right pair, P - 1; half captions, half images
    margin: float = 0.2            # of triplet, in logits (not stated; UNITER's)
    epochs: int = 130              # each image once, with one of its captions
    align_epochs: int = 0          # before these: contrastive, as in pre-training's `align` (not in the paper)
    batch: int = 24                # right pairs
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-5)
    validate_epochs: int = 1       # between two validations
    validation_images: int = 100
    validation_captions: int = 1   # of each image
    dropout: float | None = None   # of the whole network while it is tuned; None keeps the model's own
    regions: int = 100             # the most confident ones of an image
    seed: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; choose {', '.join(LOSSES)}")
        for name, least in (("negatives", 1), ("epochs", 1), ("batch", 2), ("validate_epochs", 1), ("regions", 1),
                            ("validation_images", 2), ("validation_captions", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        if self.align_epochs < 0:
            raise ValueError(f"align_epochs is {self.align_epochs}; it must be 0 or more")
        if self.margin < 0:
            raise ValueError(f"margin is {self.margin}; it must be 0 or more")


def config_for(model: ModelConfig) -> FinetuneConfig:
    """Returns the paper's settings for its model; a narrower one learns faster and for fewer epochs (our choice)."""
    if model.hidden >= _PAPER_WIDTH:
        return FinetuneConfig()
    rate = round(5e-5 * _PAPER_WIDTH / model.hidden, 6)
    return FinetuneConfig(epochs=30, optimizer=OptimizerConfig(learning_rate=rate))


@dataclasses.dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did."""

    number: int                    # from 1
    loss: float                    # mean over the epoch's batches
    recall_sum: float              # recall@1, 5 and 10 in both directions on the validation images; -1 if not measured
    best: bool                     # the best so far


def finetune_model(model: ImageBert, train: Collection, validation: Collection, special: SpecialTokens,
                   config: FinetuneConfig, on_epoch: Callable[[Epoch], None] | None = None) -> tuple[Epoch, ...]:
    """Tunes the model in place, leaves the weights of the best validated epoch in it, and returns all epochs.

    The validation recall sum picks the best; of equal ones the first.  Epochs of `align_epochs` come before and are
    not among those returned.  Raises ValueError for them where the model has no contrastive projections.
    """
    probe = first_captions(validation.take(range(min(len(validation), config.validation_images))),
                           config.validation_captions)
    if config.dropout is not None:
        _set_dropout(model, config.dropout)
    best_sum, best_weights = -1.0, _copied(model)
    epochs: list[Epoch] = []
    for stage, count in ((_ALIGN, config.align_epochs), (_TUNE, config.epochs)):
        optimizer = build_optimizer(model, config.optimizer)         # a stage begins afresh (section 4)
        for number in range(1, count + 1):
            loss = _run_epoch(model, optimizer, train, special, config, (stage, number))
            if stage == _ALIGN:
                continue
            measured = number % config.validate_epochs == 0 or number == count
            found = recall_sum(model, probe, special) if measured else -1.0
            better = found > best_sum
            if better:
                best_sum, best_weights = found, _copied(model)
            epochs.append(Epoch(number, round(loss, 6), round(found, 6), better))
            if on_epoch is not None:
                on_epoch(epochs[-1])
    model.load_state_dict(best_weights)
    model.eval()
    return tuple(epochs)


def _run_epoch(model: ImageBert, optimizer: torch.optim.Optimizer, train: Collection, special: SpecialTokens,
               config: FinetuneConfig, epoch: tuple[int, int]) -> float:
    """Returns the mean loss of one epoch, (stage, number from 1)."""
    stage, number = epoch
    total = len(train) * (config.align_epochs if stage == _ALIGN else config.epochs)
    model.train()
    order, losses = permutation(len(train), config.seed, ORDER_SAMPLES, *epoch), []
    for step, (start, end) in enumerate(_batches_of(len(train), config)):
        chosen = with_one_caption(train, order[start:end], config.seed, number)
        seen = (number - 1) * len(train) + (start + end) // 2
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, seen, total)
        torch.manual_seed(torch_seed(config.seed, DROPOUT, *epoch, step))
        loss = (_contrastive(model, chosen, special) if stage == _ALIGN
                else _matching(model, chosen, special, config, (*epoch, step)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def _matching(model: ImageBert, samples: Sequence[Sample], special: SpecialTokens, config: FinetuneConfig,
              counters: tuple[int, ...]) -> Tensor:
    rows, allowed = pairs_of(samples, config.negatives, config.seed, *counters)
    device = model.itm.weight.device
    pack = build_pack(samples, rows, special, capacity_for(samples, rows)).cropped().to(device)
    return loss_of(model.match(pack).float().view(1 + config.negatives, -1), torch.from_numpy(allowed).to(device),
                   config)


def _contrastive(model: ImageBert, samples: Sequence[Sample], special: SpecialTokens) -> Tensor:
    rows = Rows.singles(len(samples))
    pack = build_pack(samples, rows, special, capacity_for(samples, rows)).cropped().to(model.itm.weight.device)
    return contrastive_loss(model(pack), pack)


def recall_sum(model: ImageBert, collection: Collection, special: SpecialTokens) -> float:
    """Returns recall@1 + @5 + @10 in both directions over the whole collection, at most 6."""
    scorer = CrossScorer(model, collection, special)
    return sum(recall_at_k(scorer.rows(0, scorer.num_images), scorer.image_of_caption).values())


def first_captions(collection: Collection, count: int) -> Collection:
    """Returns the collection with at most `count` captions an image."""
    return dataclasses.replace(collection, captions=tuple(own[:count] for own in collection.captions))


def with_one_caption(collection: Collection, images: NDArray[np.int64], seed: int, epoch: int) -> tuple[Sample, ...]:
    """Returns the images, each with one of its captions drawn for this epoch."""
    chosen = []
    for image in images.tolist():
        own, sample = collection.captions[image], collection.samples[image]
        words = own[int(below(len(own), seed, WORD_IDS, epoch, np.uint64(sample.key_hash)))]
        same = words is own[0]
        chosen.append(sample if same else dataclasses.replace(
            sample, words=words, caption_hash=token_hash(words.tolist())))
    return tuple(chosen)


def pairs_of(samples: Sequence[Sample], negatives: int, *counters: int) -> tuple[Rows, NDArray[np.bool_]]:
    """Returns (1 + negatives) * B sequences, right pairs first, and which are usable as what they are, [P, B].

    Wrong partners are drawn without repetition; one of the same image, near-duplicate group or token-identical
    caption is never usable.
    """
    count = len(samples)
    each = np.arange(count)
    ids = identities(samples)
    forbidden_BB = (ids[:, None, :] == ids[None, :, :]).any(axis=-1)
    images, captions = [each], [each]
    allowed = np.ones((1 + negatives, count), bool)
    for text_side, wanted in ((True, (negatives + 1) // 2), (False, negatives // 2)):
        draws_BB = mix(*counters, NEGATIVES, int(text_side), each[:, None], each[None, :]) >> np.uint64(1)
        draws_BB[forbidden_BB] |= np.uint64(1 << 63)               # behind all others
        order_BB = np.argsort(draws_BB, axis=1, kind="stable")
        for place in range(wanted):
            others = order_BB[:, min(place, count - 1)]
            allowed[len(images)] = ~forbidden_BB[each, others] & (place < count)
            images.append(each if text_side else others)
            captions.append(others if text_side else each)
    matched = np.repeat([1, 0], [count, negatives * count])
    return Rows.pairs(np.concatenate(images), np.concatenate(captions), matched), allowed


def loss_of(logits_PB: Tensor, allowed_PB: Tensor, config: FinetuneConfig) -> Tensor:
    """Returns the mean loss over what is allowed; row 0 holds the right pairs (section 5.3)."""
    if config.loss == BINARY:
        target_PB = torch.zeros_like(logits_PB)
        target_PB[0] = 1.0
        each_PB = F.binary_cross_entropy_with_logits(logits_PB, target_PB, reduction="none")
        return (each_PB * allowed_PB).sum() / allowed_PB.sum()
    shown_PB = logits_PB.masked_fill(~allowed_PB, float("-inf"))
    if config.loss == MULTICLASS:
        return F.cross_entropy(shown_PB.T, torch.zeros(logits_PB.shape[1], dtype=torch.long, device=logits_PB.device))
    # The paper's formula prints no difference; this is the usual hinge on the hardest negative.
    return F.relu(config.margin - logits_PB[0] + shown_PB[1:].amax(dim=0)).mean()


def _batches_of(count: int, config: FinetuneConfig) -> list[tuple[int, int]]:
    """Returns equal-sized cuts of an epoch; a last batch of one pair, which has no negative, joins the one before."""
    starts = list(range(0, count, config.batch))
    if len(starts) > 1 and count - starts[-1] < 2:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))


def _set_dropout(model: ImageBert, share: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
    model.attention_dropout = share


def _copied(model: ImageBert) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
