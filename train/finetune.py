"""Fine-tuning for retrieval: ITM alone, no masks, right pairs against wrong ones (paper section 5).

    binary        every pair is right or wrong: the paper's best (section 6.4), the default
    multiclass    the right pair among P, by softmax
    triplet       the right pair above the hardest of P - 1 wrong ones by a margin
    sum           all three

Where the wrong pairs come from: train/wrong_pairs.py.  An epoch is a pure function of config, data and the weights
before it, so a run that goes on from its last whole epoch ends with the bits of one never stopped (on a CPU).
"""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.imagebert import ImageBert
from model.losses import contrastive_loss
from train.checkpoint import own_tensors
from train.finetune_config import BINARY, MULTICLASS, SUM, SUMMED, FinetuneConfig
from train.gathering import token_hash
from train.items import Collection
from train.packing import Rows, Sample, SpecialTokens, build_pack, capacity_for
from train.randomness import DROPOUT, ORDER_SAMPLES, WORD_IDS, below, permutation, torch_seed
from train.recall import recall_at_k
from train.schedule import build_optimizer, learning_rate
from train.scoring import CrossScorer
from train.tuning_progress import Epoch, Progress, ProgressFile
from train.wrong_pairs import HARD, PACK, Pairs, TrainingSet, from_pack, hardest

_ALIGN, _TUNE = 0, 1
_SCORED_AT_ONCE = 512          # pairs, while hard ones are looked for


def finetune_model(model: ImageBert, train: Collection, validation: Collection, special: SpecialTokens,
                   config: FinetuneConfig, on_epoch: Callable[[Epoch], None] | None = None,
                   kept: ProgressFile | None = None) -> tuple[Epoch, ...]:
    """Tunes the model in place, leaves the weights of the best validated epoch in it, and returns all epochs.

    The validation recall sum picks the best; of equal ones the first.  Epochs of `align_epochs` come before and are
    not among those returned.  With `kept` every epoch is committed, and the run goes on after the last one that was.
    Raises ValueError for `align_epochs` where the model has no contrastive projections.
    """
    probe = validation.take(range(min(len(validation), config.validation_images)))
    probe = probe.first_captions(config.validation_captions)
    if config.dropout is not None:
        _set_dropout(model, config.dropout)
    progress = (kept.read() if kept else None) or Progress()
    best, pairs = _copied(model), TrainingSet(train)
    for epoch in progress.epochs:
        if on_epoch is not None:
            on_epoch(epoch)
    for stage, count in ((_ALIGN, config.align_epochs), (_TUNE, config.epochs)):
        if stage < progress.stage:
            continue
        optimizer = build_optimizer(model, config.optimizer)         # a stage begins afresh (section 4)
        if kept is not None and stage == progress.stage and progress.number:
            best = kept.load(model, optimizer)
        done = progress.number if stage == progress.stage else 0
        for number in range(done + 1, count + 1):
            if stage == _TUNE and config.patience and progress.since_best >= config.patience:
                break
            loss = _run_epoch(model, optimizer, (train, pairs), special, config, (stage, number))
            progress = dataclasses.replace(progress, stage=stage, number=number)
            if stage == _TUNE:
                measured = number % config.validate_epochs == 0 or number == count
                found = recall_sum(model, probe, special) if measured else -1.0
                better = found > progress.best_sum
                if better:
                    best = _copied(model)
                epoch = Epoch(number, round(loss, 6), round(found, 6), better)
                progress = dataclasses.replace(progress, epochs=(*progress.epochs, epoch))
                if on_epoch is not None:
                    on_epoch(epoch)
            if kept is not None:
                kept.save(progress, model, optimizer, best)
    with torch.no_grad():
        for name, tensor in own_tensors(model).items():
            tensor.copy_(best[name])
    model.eval()
    return progress.epochs


def _run_epoch(model: ImageBert, optimizer: torch.optim.Optimizer, data: tuple[Collection, TrainingSet],
               special: SpecialTokens, config: FinetuneConfig, epoch: tuple[int, int]) -> float:
    """Returns the mean loss of one epoch, (stage, number from 1)."""
    train, pairs = data
    stage, number = epoch
    total = len(train) * (config.align_epochs if stage == _ALIGN else config.epochs)
    order, losses = permutation(len(train), config.seed, ORDER_SAMPLES, *epoch), []
    for step, (start, end) in enumerate(_batches_of(len(train), config)):
        numbers = order[start:end]
        chosen = with_one_caption(train, numbers, config.seed, number)
        seen = (number - 1) * len(train) + (start + end) // 2
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config.optimizer, seen, total)
        shown = (pairs_of(model, pairs, chosen, numbers, special, config, (*epoch, step)) if stage == _TUNE else None)
        model.train()
        torch.manual_seed(torch_seed(config.seed, DROPOUT, *epoch, step))
        loss = (_contrastive(model, chosen, special) if shown is None else _matching(model, shown, special, config))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip)
        optimizer.step()
        losses.append(float(loss.detach()))
    return float(np.mean(losses))


def pairs_of(model: ImageBert, train: TrainingSet, chosen: Sequence[Sample], numbers: NDArray[np.int64],
             special: SpecialTokens, config: FinetuneConfig, counters: tuple[int, ...]) -> Pairs:
    """Returns a batch of right pairs with the wrong ones that the config asks for."""
    drawn = (config.seed, *counters)
    if config.draw == PACK:
        return from_pack(chosen, config.negatives, config.sides, *drawn)
    if config.draw != HARD:
        return train.draw(chosen, numbers, config.negatives, config.sides, *drawn)
    return hardest(train.draw(chosen, numbers, config.pool, config.sides, *drawn), config.negatives, config.sides,
                   lambda samples, rows: _scores_now(model, samples, rows, special))


@torch.no_grad()
def _scores_now(model: ImageBert, samples: Sequence[Sample], rows: Rows, special: SpecialTokens) -> NDArray[np.float32]:
    """Returns the logits of the model as it is, without dropout, in packs of a bounded size."""
    model.eval()
    found = []
    for first in range(0, len(rows.images), _SCORED_AT_ONCE):
        part = slice(first, first + _SCORED_AT_ONCE)
        own = Rows.pairs(rows.images[part], rows.captions[part])
        used, places = np.unique(np.concatenate([own.images, own.captions]), return_inverse=True)
        half = len(own.images)
        shown = Rows.pairs(places[:half], places[half:])
        few = [samples[number] for number in used.tolist()]
        pack = build_pack(few, shown, special, capacity_for(few, shown, special)).cropped().to(model.itm.weight.device)
        found.append(model.match(pack).float().cpu().numpy())
    return np.concatenate(found)


def _matching(model: ImageBert, pairs: Pairs, special: SpecialTokens, config: FinetuneConfig) -> Tensor:
    device = model.itm.weight.device
    capacity = capacity_for(pairs.samples, pairs.rows, special)
    pack = build_pack(pairs.samples, pairs.rows, special, capacity).cropped().to(device)
    return loss_of(model.match(pack).float().view(1 + config.negatives, -1),
                   torch.from_numpy(pairs.allowed).to(device), config)


def _contrastive(model: ImageBert, samples: Sequence[Sample], special: SpecialTokens) -> Tensor:
    rows = Rows.singles(len(samples))
    pack = build_pack(samples, rows, special, capacity_for(samples, rows, special)).cropped()
    pack = pack.to(model.itm.weight.device)
    return contrastive_loss(model(pack), pack)


def recall_sum(model: ImageBert, collection: Collection, special: SpecialTokens) -> float:
    """Returns recall@1 + @5 + @10 in both directions over the whole collection, at most 6."""
    scorer = CrossScorer(model, collection, special)
    return sum(recall_at_k(scorer.rows(0, scorer.num_images), scorer.image_of_caption).values())


def with_one_caption(collection: Collection, images: NDArray[np.int64], seed: int, epoch: int) -> tuple[Sample, ...]:
    """Returns the images, each with one of its captions drawn for this epoch."""
    chosen = []
    for image in images.tolist():
        own, sample = collection.captions[image], collection.samples[image]
        words = own[int(below(len(own), seed, WORD_IDS, epoch, np.uint64(sample.key_hash)))]
        same = words is own[0]
        chosen.append(sample if same else dataclasses.replace(
            sample, words=words, caption_hash=token_hash(words)))
    return tuple(chosen)


def loss_of(logits_PB: Tensor, allowed_PB: Tensor, config: FinetuneConfig) -> Tensor:
    """Returns the mean loss over what is allowed; row 0 holds the right pairs (section 5.3)."""
    if config.loss == SUM:
        return torch.stack([loss_of(logits_PB, allowed_PB, dataclasses.replace(config, loss=one))
                            for one in SUMMED]).sum()
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
    return {name: tensor.detach().clone() for name, tensor in own_tensors(model).items()}
