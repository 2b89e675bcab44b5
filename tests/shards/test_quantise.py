import numpy as np
import pytest

from shards.quantise import Found, UnusableRegions, quantised
from shards.regions import pack, unpack


def found(features, confidences=None, **more):
    n = len(features)
    boxes = np.tile(np.array([0.1, 0.2, 0.6, 0.9]), (n, 1))
    return Found(np.asarray(features, float), boxes, np.linspace(0.9, 0.1, n) if confidences is None else
                 np.asarray(confidences, float), **more)


def draw(n=6, dim=64, signed=False):
    noise = np.random.Generator(np.random.Philox(key=n))
    values = noise.exponential(0.5, (n, dim)) * (noise.random((n, dim)) > 0.5) * np.logspace(-1, 3, n)[:, None]
    return values - (0.3 * values.max(axis=1, keepdims=True) if signed else 0)


@pytest.mark.parametrize("signed", [False, True])
def test_u8_is_off_by_at_most_a_step(signed):
    values = draw(signed=signed)
    regions = unpack(pack(quantised(found(values), "u8", 100)))
    assert (regions.zero is not None) == signed
    step = (values.max(axis=1) - np.minimum(values.min(axis=1), 0)) / 255
    limit = (1 if signed else 0.5) * 1.002 * step + 1e-9        # the scale is rounded up to f16
    assert (np.abs(regions.features() - values) <= limit[:, None]).all()


def test_zeros_stay_zeros_and_a_region_of_zeros_is_one():
    values = draw()
    values[2] = 0
    back = quantised(found(values), "u8", 100).features()
    assert (back[values == 0] == 0).all() and (back[2] == 0).all()


def test_f16_keeps_eleven_bits():
    values = draw(signed=True)
    regions = quantised(found(values), "f16", 100)
    assert regions.scale is None and np.allclose(regions.features(), values, rtol=1 / 2048, atol=1e-7)


def test_the_most_confident_come_first_and_ties_keep_their_order():
    regions = quantised(found([[1], [2], [3], [4]], [0.2, 0.9, 0.9, 0.5], classes=np.arange(4)), "u8", 3)
    assert regions.cls.tolist() == [1, 2, 3] and len(regions) == 3
    # 0.90001 and 0.9 are equal in f16: the order found decides, not noise beyond what is stored.
    assert quantised(found([[1], [2]], [0.9, 0.90001], classes=np.arange(2)), "u8", 2).cls.tolist() == [0, 1]


def test_without_classes_every_class_is_none():
    assert quantised(found([[1.0], [2.0]]), "u8", 9).cls.tolist() == [-1, -1]


def test_the_eight_most_likely_classes_are_kept_where_there_are_any():
    chances = np.array([[0.05] * 3 + [0.4] + [0.05] * 9, [0.9] + [0.1 / 12] * 12])
    regions = quantised(found([[1.0], [2.0]], probabilities=chances), "u8", 9, soft=True)
    assert regions.soft_id.shape == (2, 8) and regions.soft_id[0].tolist() == [3, 0, 1, 2, 4, 5, 6, 7]
    assert regions.soft_p[1, 0] == np.float16(0.9) and (np.diff(regions.soft_p.astype(float)) <= 0).all()
    few = quantised(found([[1.0]], probabilities=np.array([[0.25, 0.75]])), "u8", 9, soft=True)
    assert few.soft_id[0].tolist() == [1] + [0] * 7 and few.soft_p[0].tolist() == [0.75, 0.25] + [0] * 6
    assert quantised(found([[1.0]], probabilities=np.ones((1, 3))), "u8", 9).soft_id is None


def test_no_region_is_regions_too():
    regions = unpack(pack(quantised(found(np.zeros((0, 4))), "u8", 9)))
    assert len(regions) == 0 and regions.feature_dim == 4


@pytest.mark.parametrize("values, reason", [([[np.nan]], "not_finite"), ([[np.inf]], "not_finite"),
                                            ([[1e6]], "out_of_range")])
def test_what_cannot_be_stored_has_a_reason(values, reason):
    with pytest.raises(UnusableRegions) as raised:
        quantised(found(values), "u8", 9)
    assert raised.value.reason == reason
