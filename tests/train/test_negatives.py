import dataclasses

import numpy as np
import pytest

from tests.train.synthetic import collection
from train.negatives import draw_captions, pairs_for_itm

SAMPLES = list(collection(images=24).samples)


def test_half_of_the_images_get_a_caption_of_another_in_the_pack():
    shares = []
    for pack in range(200):
        captions, stayed = draw_captions(SAMPLES, 0.5, 1, pack)
        assert sorted(captions.tolist()) == list(range(24)) and stayed <= 1
        shares.append((captions != np.arange(24)).mean())
    assert abs(np.mean(shares) - 0.5) < 0.03
    assert draw_captions(SAMPLES, 0.5, 1, 7)[0].tolist() == draw_captions(SAMPLES, 0.5, 1, 7)[0].tolist()
    assert draw_captions(SAMPLES, 0.5, 1, 7)[0].tolist() != draw_captions(SAMPLES, 0.5, 1, 8)[0].tolist()


@pytest.mark.parametrize("name", ["image_hash", "group_hash", "caption_hash"])
@pytest.mark.parametrize("groups", [2, 3, 8])
def test_never_the_same_image_group_or_caption(name, groups):
    alike = [dataclasses.replace(sample, **{name: 1000 + place % groups}) for place, sample in enumerate(SAMPLES)]
    drawn = 0
    for pack in range(100):
        captions, _ = draw_captions(alike, 0.7, 2, pack)
        changed = captions != np.arange(24)
        drawn += changed.sum()
        assert sorted(captions.tolist()) == list(range(24))
        assert (captions[changed] % groups != np.flatnonzero(changed) % groups).all()
    assert drawn > 100 * 24 * 0.5


def test_where_no_negative_exists_the_pair_stays_positive_and_is_counted():
    alike = [dataclasses.replace(sample, group_hash=1) for sample in SAMPLES]
    captions, stayed = draw_captions(alike, 1.0, 1)
    assert captions.tolist() == list(range(24)) and stayed == 24
    odd = [*alike[:23], SAMPLES[23]]      # one may change with one other at most
    captions, stayed = draw_captions(odd, 1.0, 1)
    assert stayed == 22 and (captions != np.arange(24)).sum() == 2
    assert draw_captions(SAMPLES, 0.0, 1)[1] == 0


def test_triple_is_a_pair_and_two_negatives_of_each_sample():
    rows, stayed = pairs_for_itm(SAMPLES, "triple", 0.5, 1, 3)
    own = np.arange(24)
    assert stayed == 0 and rows.matched.tolist() == [1] * 24 + [0] * 48 and rows.masked.all()
    assert (rows.images[:48] == np.tile(own, 2)).all() and (rows.captions[48:] == own).all()
    assert sorted(rows.captions[24:48]) == sorted(rows.images[48:]) == own.tolist()
    # The two sides are drawn apart: otherwise the third part would be the second once more.
    second = set(zip(rows.images[24:48].tolist(), rows.captions[24:48].tolist(), strict=True))
    third = set(zip(rows.images[48:].tolist(), rows.captions[48:].tolist(), strict=True))
    assert len(second & third) < 6
    alike = [dataclasses.replace(sample, group_hash=1) for sample in SAMPLES]
    rows, stayed = pairs_for_itm(alike, "triple", 0.5, 1, 3)
    assert stayed == 48 and rows.matched.all()


def test_half_keeps_one_sequence_an_image():
    rows, _ = pairs_for_itm(SAMPLES, "half", 0.5, 1, 3)
    captions, _ = draw_captions(SAMPLES, 0.5, 1, 3)
    assert (rows.captions == captions).all() and (rows.matched == (captions == np.arange(24))).all()
