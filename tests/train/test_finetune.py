"""Fine-tuning: negatives, the three losses, the choice of the best epoch, and that it can learn 32 pairs by heart."""
import math

import numpy as np
import pytest
import torch

from crawl.errors import UsageError
from model.config import ModelConfig
from tests.train import synthetic
from train import finetune, finetune_config
from train.finetune import finetune_model, loss_of, recall_sum
from train.finetune_config import FinetuneConfig, config_for
from train.items import shuffled_regions
from train.recall import recall_at_k
from train.schedule import OptimizerConfig, build_optimizer
from train.scoring import CrossScorer, contrastive_scores
from train.tuning_progress import Progress, ProgressFile

QUICK = OptimizerConfig(learning_rate=3e-3, warmup=0.05)


def test_a_pair_without_a_permitted_partner_is_not_used():
    allowed = np.array([[True, True], [False, False], [False, False]])
    for loss in finetune_config.LOSSES:
        found = loss_of(torch.tensor([[1.0, 1.0], [9.0, 9.0], [9.0, 9.0]]), torch.from_numpy(allowed),
                        FinetuneConfig(loss=loss))
        expected = math.log1p(math.exp(-1)) if loss in ("binary", "sum") else 0.0
        assert float(found) == pytest.approx(expected, abs=1e-6)


def test_losses_by_hand():
    logits, allowed = torch.tensor([[2.0], [1.0], [1.9]]), torch.ones(3, 1, dtype=torch.bool)
    softplus = np.logaddexp(0, [-2.0, 1.0, 1.9])
    assert float(loss_of(logits, allowed, FinetuneConfig())) == pytest.approx(softplus.mean(), rel=1e-5)
    softmax = math.exp(2) / (math.exp(2) + math.exp(1) + math.exp(1.9))
    assert float(loss_of(logits, allowed, FinetuneConfig(loss="multiclass"))) == pytest.approx(-math.log(softmax),
                                                                                               rel=1e-5)
    assert float(loss_of(logits, allowed, FinetuneConfig(loss="triplet"))) == pytest.approx(0.1, rel=1e-4)
    assert float(loss_of(logits, allowed, FinetuneConfig(loss="sum"))) == pytest.approx(
        softplus.mean() - math.log(softmax) + 0.1, rel=1e-4)


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


@pytest.mark.parametrize("wrong", [{"loss": "mse"}, {"negatives": 0}, {"batch": 1}, {"margin": -1.0},
                                   {"draw": "easy"}, {"sides": "left"}, {"patience": -1},
                                   {"pool": 3, "negatives": 4, "draw": "hard"}])
def test_refuses_an_impossible_config(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FinetuneConfig(**wrong)


def test_stops_early_and_keeps_the_best():
    train, validation = synthetic.collection(12, seed=3), synthetic.collection(12, seed=4)
    config = FinetuneConfig(epochs=40, batch=12, patience=2, optimizer=QUICK)
    epochs = finetune_model(synthetic.model(), train, validation, synthetic.SPECIAL, config)
    best = max(epoch.number for epoch in epochs if epoch.best)
    assert len(epochs) == best + 2 < 40


@pytest.mark.parametrize("draw", ["pack", "random", "hard"])
def test_a_run_killed_after_any_epoch_ends_with_the_same_bits(tmp_path, draw):
    train, validation = synthetic.collection(14, captions=2, seed=3), synthetic.collection(12, seed=4)
    config = FinetuneConfig(epochs=4, align_epochs=1, batch=6, draw=draw, negatives=3, pool=6, optimizer=QUICK)

    def tuned(out, stop_after):
        kept = ProgressFile(str(out), {"config": "one"})
        model, seen = synthetic.model(dropout=0.1), []

        def on_epoch(epoch):
            seen.append(epoch)
            if len(seen) == stop_after:
                raise KeyboardInterrupt
        epochs = finetune_model(model, train, validation, synthetic.SPECIAL, config, on_epoch, kept)
        return epochs, {name: tensor.detach().numpy().tobytes() for name, tensor in model.named_parameters()}

    (tmp_path / "whole").mkdir()
    whole = tuned(tmp_path / "whole", 0)
    for stop_after in (1, 2, 4):
        out = tmp_path / f"{stop_after}"
        out.mkdir()
        with pytest.raises(KeyboardInterrupt):
            tuned(out, stop_after)      # before the epoch is committed: it is done again
        assert tuned(out, 0) == whole


def test_progress_of_another_run_is_refused(tmp_path):
    model = synthetic.model()
    ProgressFile(str(tmp_path), {"config": "one"}).save(Progress(), model, build_optimizer(model, QUICK), {})
    with pytest.raises(UsageError, match="another config"):
        ProgressFile(str(tmp_path), {"config": "two"}).read()
    (tmp_path / "progress.safetensors").write_bytes(b"cut")
    with pytest.raises(UsageError, match="cannot be read"):
        ProgressFile(str(tmp_path), {"config": "one"}).read()


def test_the_papers_model_stops_early_and_uniters_preset_keeps_31_of_399():
    paper = config_for(ModelConfig())
    assert (paper.batch, paper.epochs, paper.patience, paper.draw) == (24, 130, 10, "pack")
    hard = config_for(ModelConfig(), "uniter")
    assert (hard.draw, hard.pool, hard.negatives, hard.loss, hard.margin) == ("hard", 399, 31, "triplet", 0.2)
