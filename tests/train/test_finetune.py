"""Fine-tuning: negatives, the three losses, the choice of the best epoch, and that it can learn 32 pairs by heart."""
import dataclasses
import math

import numpy as np
import pytest
import torch

from tests.train import synthetic
from train import finetune
from train.finetune import FinetuneConfig, finetune_model, loss_of, pairs_of, recall_sum
from train.items import shuffled_regions
from train.recall import recall_at_k
from train.schedule import OptimizerConfig
from train.scoring import CrossScorer, contrastive_scores

QUICK = OptimizerConfig(learning_rate=3e-3, warmup=0.05)


def _twins(images):
    """Returns samples of which 0 and 1 are one image, and 2 and 3 have one caption."""
    samples = list(synthetic.collection(images).samples)
    samples[1] = dataclasses.replace(samples[1], image_hash=samples[0].image_hash)
    if images > 3:
        samples[3] = dataclasses.replace(samples[3], caption_hash=samples[2].caption_hash)
    return samples


def test_negatives_are_half_captions_half_images_and_never_an_own_one():
    samples = _twins(10)
    for step in range(30):
        rows, allowed = pairs_of(samples, 3, 1, 1, step)
        images, captions = rows.images.reshape(4, 10), rows.captions.reshape(4, 10)
        assert (images[0] == captions[0]).all() and allowed.all()
        assert (images[1:3] == np.arange(10)).all() and (captions[3] == np.arange(10)).all()
        assert (captions[1] != captions[2]).all()                  # without repetition
        wrong = {(i, c) for i, c in zip(images[1:].ravel(), captions[1:].ravel(), strict=True)}
        assert not wrong & {(n, n) for n in range(10)}
        assert not wrong & {(0, 1), (1, 0), (2, 3), (3, 2)}
        assert not rows.masked.any()                               # section 5.1: no masks


def test_a_pair_without_a_permitted_partner_is_not_used():
    rows, allowed = pairs_of(_twins(2), 2, 1, 1, 1)
    assert allowed.tolist() == [[True, True], [False, False], [False, False]]
    for loss in finetune.LOSSES:
        found = loss_of(torch.tensor([[1.0, 1.0], [9.0, 9.0], [9.0, 9.0]]), torch.from_numpy(allowed),
                        FinetuneConfig(loss=loss))
        expected = math.log1p(math.exp(-1)) if loss == "binary" else 0.0
        assert float(found) == pytest.approx(expected, abs=1e-6)


def test_losses_by_hand():
    logits, allowed = torch.tensor([[2.0], [1.0], [1.9]]), torch.ones(3, 1, dtype=torch.bool)
    softplus = np.logaddexp(0, [-2.0, 1.0, 1.9])
    assert float(loss_of(logits, allowed, FinetuneConfig())) == pytest.approx(softplus.mean(), rel=1e-5)
    softmax = math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(1.9))
    assert float(loss_of(logits, allowed, FinetuneConfig(loss="multiclass"))) == pytest.approx(-math.log(softmax),
                                                                                               rel=1e-5)
    assert float(loss_of(logits, allowed, FinetuneConfig(loss="triplet"))) == pytest.approx(0.1, rel=1e-4)


def test_every_caption_of_an_image_is_drawn_in_time():
    collection = synthetic.collection(3, captions=4)
    drawn = {tuple(finetune.with_one_caption(collection, np.array([1]), 1, epoch)[0].words) for epoch in range(60)}
    assert drawn == {tuple(words) for words in collection.captions[1]}


@pytest.mark.parametrize("loss, at_least, epochs, rate", [("binary", 0.9, 180, 5e-3), ("multiclass", 0.9, 130, 3e-3),
                                                          ("triplet", 0.0, 60, 3e-3)])
def test_learns_32_pairs_by_heart(loss, at_least, epochs, rate):
    collection = synthetic.collection(32, seed=3)
    model = synthetic.model()
    config = FinetuneConfig(loss=loss, negatives=8, epochs=epochs, batch=32, validate_epochs=20,
                            optimizer=OptimizerConfig(learning_rate=rate, warmup=0.05))
    run = finetune_model(model, collection, collection, synthetic.SPECIAL, config)
    scorer = CrossScorer(model, collection, synthetic.SPECIAL)
    found = recall_at_k(scorer.rows(0, 32), scorer.image_of_caption, [1])
    assert min(found.values()) >= at_least, found
    control = CrossScorer(model, shuffled_regions(collection), synthetic.SPECIAL)
    assert max(recall_at_k(control.rows(0, 32), control.image_of_caption, [1]).values()) <= 4 / 32
    # The hardest negative alone is slow from random weights: it must only be on its way.
    assert max(epoch.recall_sum for epoch in run) > 1.3 and run[-1].loss < run[0].loss


def test_aligning_first_teaches_the_contrastive_vectors():
    collection, model = synthetic.collection(16, seed=3), synthetic.model()
    config = FinetuneConfig(align_epochs=150, epochs=1, batch=16, optimizer=QUICK)
    finetune_model(model, collection, collection, synthetic.SPECIAL, config)
    cosines = contrastive_scores(model, collection, synthetic.SPECIAL)
    assert min(recall_at_k(cosines, np.arange(16), [1]).values()) >= 0.5


def test_keeps_the_best_validated_epoch_and_repeats_exactly():
    train, validation = synthetic.collection(24, seed=3), synthetic.collection(24, seed=4)
    config, results = FinetuneConfig(epochs=6, batch=12, optimizer=QUICK), []
    for _ in range(2):
        model = synthetic.model(dropout=0.1)
        epochs = finetune_model(model, train, validation, synthetic.SPECIAL, config)
        best = max(epochs, key=lambda epoch: epoch.recall_sum)
        assert best.best and recall_sum(model, validation, synthetic.SPECIAL) == pytest.approx(best.recall_sum)
        results.append(epochs)
    assert results[0] == results[1]


@pytest.mark.parametrize("wrong", [{"loss": "mse"}, {"negatives": 0}, {"batch": 1}, {"margin": -1.0}])
def test_refuses_an_impossible_config(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FinetuneConfig(**wrong)
