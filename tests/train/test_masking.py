import dataclasses

import numpy as np
import pytest

from tests.train.synthetic import SPECIAL, collection
from train.masking import MaskingConfig, plan_masks

SAMPLES = collection(images=400, seed=2, min_regions=10, max_regions=20).samples


def test_shares_are_the_papers():
    """Sections 3.1 and 3.2: 15 %, then 80/10/10 and 90/10."""
    masks = plan_masks(SAMPLES, SPECIAL, MaskingConfig(words=0.5, regions=0.15), 1, 2)
    words = np.concatenate([sample.words for sample in SAMPLES])
    chosen = masks.word_masked
    assert abs(chosen.mean() - 0.5) < 0.03 and abs(masks.region_masked.mean() - 0.15) < 0.02
    shown = masks.word_inputs[chosen]
    assert abs((shown == SPECIAL.mask).mean() - 0.8) < 0.03
    # A random piece is the right one now and then: 1 in 55 of 10 %.
    assert abs((shown == words[chosen]).mean() - 0.1 - 0.1 / 55) < 0.03
    assert not np.isin(shown[shown != SPECIAL.mask], SPECIAL.never_drawn).any()
    assert (masks.word_inputs[~chosen] == words[~chosen]).all()
    hidden = ~masks.region_visible
    assert (masks.region_masked[hidden]).all()
    assert abs(hidden[masks.region_masked].mean() - 0.9) < 0.03


def test_a_mask_depends_on_counters_and_key_alone():
    config = MaskingConfig(words=0.5, regions=0.5)
    few = plan_masks(SAMPLES[:3], SPECIAL, config, 1, 2)
    more = plan_masks((SAMPLES[9], *SAMPLES[:3]), SPECIAL, config, 1, 2)
    words, regions = len(SAMPLES[9].words), len(SAMPLES[9].classes)
    assert (few.word_inputs == more.word_inputs[words:]).all()
    assert (few.region_visible == more.region_visible[regions:]).all()
    other = plan_masks(SAMPLES[:3], SPECIAL, config, 1, 3)
    assert (few.word_masked != other.word_masked).any()
    renamed = [dataclasses.replace(sample, key_hash=sample.key_hash + 1) for sample in SAMPLES[:3]]
    assert (plan_masks(renamed, SPECIAL, config, 1, 2).word_masked != few.word_masked).any()


def test_impossible_shares_are_refused():
    with pytest.raises(ValueError, match="words is 1.5"):
        MaskingConfig(words=1.5)
    with pytest.raises(ValueError, match="more than 1"):
        MaskingConfig(word_hidden=0.9, word_random=0.2)


def test_one_modality_masks_words_or_regions_of_a_sample_never_both():
    both = plan_masks(SAMPLES, SPECIAL, MaskingConfig(words=0.5, regions=0.5), 1, 2)
    one = plan_masks(SAMPLES, SPECIAL, MaskingConfig(words=0.5, regions=0.5, one_modality=True), 1, 2)
    words = np.repeat(np.arange(len(SAMPLES)), [len(sample.words) for sample in SAMPLES])
    regions = np.repeat(np.arange(len(SAMPLES)), [len(sample.classes) for sample in SAMPLES])
    with_words, with_regions = set(words[one.word_masked]), set(regions[one.region_masked])
    assert not with_words & with_regions and min(len(with_words), len(with_regions)) > 0.4 * len(SAMPLES)
    assert set(words[both.word_masked]) & set(regions[both.region_masked])
    assert (both.word_masked | ~one.word_masked).all()           # fewer masks, not other ones
