"""Held-out losses against blind baselines: an untrained model beats none, a model that sees beats its own."""
import dataclasses
import math

import numpy as np
import pytest
import torch

from model.losses import LossWeights, losses_of, weighted_sum
from tests.train import synthetic
from train.blind import habits_of, measure_blind
from train.items import Collection
from train.masking import MaskingConfig, plan_masks
from train.negatives import draw_captions
from train.packing import Rows, build_pack, capacity_for


@pytest.fixture(scope="module")
def telling():
    """Images whose first class is the caption's only word, so that a caption can be read off its image."""
    made = synthetic.collection(96, seed=5)
    samples = []
    for number, sample in enumerate(made.samples):
        word = number % synthetic.CLASSES
        regions = len(sample.classes)
        samples.append(dataclasses.replace(
            sample, words=np.full(6, 10 + word), classes=np.full(regions, word), caption_hash=word,
            features=np.tile((np.arange(synthetic.FEATURES) % synthetic.CLASSES == word).astype(np.uint8) * 200,
                             (regions, 1))))
    return Collection("telling", tuple(samples), tuple((sample.words,) for sample in samples))


def test_an_untrained_model_beats_no_baseline_and_rows_repeat(telling):
    habits = habits_of(telling.samples, synthetic.CLASSES, synthetic.FEATURES)
    rows = measure_blind(synthetic.model(), telling, habits, synthetic.SPECIAL)
    assert [row.task for row in rows] == ["mlm", "moc", "mrfr", "itm"]
    assert not any(row.beats for row in rows)
    assert rows == measure_blind(synthetic.model(), telling, habits, synthetic.SPECIAL)
    by_task = {row.task: row for row in rows}
    assert by_task["itm"].blind == pytest.approx(math.log(2), abs=1e-6)
    assert by_task["moc"].blind == pytest.approx(math.log(synthetic.CLASSES), rel=0.05)


def test_the_feature_baseline_is_the_variance_around_the_training_mean(telling):
    habits = habits_of(telling.samples, synthetic.CLASSES, synthetic.FEATURES)
    values = np.concatenate([(s.features - 128.0) * 0.02 for s in telling.samples])
    np.testing.assert_allclose(habits.mean_feature, values.mean(axis=0), atol=1e-6)
    rows = measure_blind(synthetic.model(), telling, habits, synthetic.SPECIAL, rounds=8)
    mrfr = next(row for row in rows if row.task == "mrfr")
    assert mrfr.blind == pytest.approx(values.var(axis=0).mean(), rel=0.15)


def test_a_model_that_reads_the_image_beats_mlm_and_itm(telling):
    model = synthetic.model().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    samples = telling.samples[:64]
    for step in range(150):
        captions, _ = draw_captions(samples, 0.5, 1, step)
        rows = Rows.pairs(np.arange(64), captions, captions == np.arange(64), masked=True)
        pack = build_pack(samples, rows, synthetic.SPECIAL, capacity_for(samples, rows, synthetic.SPECIAL),
                          plan_masks(samples, synthetic.SPECIAL, MaskingConfig(words=0.5), 1, step)).cropped()
        optimizer.zero_grad()
        weighted_sum(losses_of(model(pack), pack), LossWeights()).backward()
        optimizer.step()
    habits = habits_of(samples, synthetic.CLASSES, synthetic.FEATURES)
    rows_found = measure_blind(model, telling, habits, synthetic.SPECIAL, masking=MaskingConfig(words=1.0))
    beaten = {row.task: row.beats for row in rows_found}
    assert beaten["mlm"] and beaten["itm"] and beaten["moc"] and beaten["mrfr"], rows_found
