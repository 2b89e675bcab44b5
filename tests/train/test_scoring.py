"""The quick scorer says what the model says, on every pair, whatever the batches."""
import numpy as np
import pytest
import torch

from tests.train import synthetic
from train.items import shuffled_regions
from train.packing import Rows, build_pack, capacity_for
from train.scoring import CrossScorer, caption_samples, contrastive_scores


def _plain_scores(model, collection):
    words, _ = collection.flat_captions()
    samples = [*collection.samples, *caption_samples(collection, words)]
    images, captions = np.divmod(np.arange(len(collection) * len(words)), len(words))
    rows = Rows.pairs(images, captions + len(collection))
    pack = build_pack(samples, rows, synthetic.SPECIAL, capacity_for(samples, rows, synthetic.SPECIAL)).cropped()
    with torch.no_grad():
        return model.eval().match(pack).numpy().reshape(len(collection), len(words))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("tokens_per_batch", [1, 100, 10_000])
def test_equals_the_model_on_every_pair(layers, tokens_per_batch):
    model, collection = synthetic.model(layers=layers), synthetic.collection(captions=2)
    scorer = CrossScorer(model, collection, synthetic.SPECIAL, tokens_per_batch)
    expected = _plain_scores(model, collection)
    assert np.ptp(expected) > 0.05
    found = np.concatenate([scorer.rows(0, 5), scorer.rows(5, 12)])
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_scores_depend_on_regions_and_captions_only():
    model, collection = synthetic.model(), synthetic.collection()
    plain = CrossScorer(model, collection, synthetic.SPECIAL).rows(0, 12)
    shuffled = CrossScorer(model, shuffled_regions(collection), synthetic.SPECIAL).rows(0, 12)
    np.testing.assert_allclose(shuffled, np.roll(plain, -6, axis=0), atol=2e-5)


def test_contrastive_scores_are_cosines_of_the_models_vectors():
    model, collection = synthetic.model(), synthetic.collection()
    found = contrastive_scores(model, collection, synthetic.SPECIAL)
    rows = Rows.singles(len(collection))
    samples = list(collection.samples)
    pack = build_pack(samples, rows, synthetic.SPECIAL, capacity_for(samples, rows, synthetic.SPECIAL)).cropped()
    with torch.no_grad():
        images, texts = model.contrast_vectors(pack)
    np.testing.assert_allclose(found, (images @ texts.T).numpy(), atol=2e-5)


def test_a_model_without_projections_has_no_contrastive_scores():
    with pytest.raises(ValueError, match="contrastive_dim is 0"):
        contrastive_scores(synthetic.model(contrastive_dim=0), synthetic.collection(), synthetic.SPECIAL)
