import numpy as np

from train.randomness import below, mix, permutation, torch_seed, uniform


def test_draws_are_pinned():
    """A change of these numbers changes every mask, negative and order ever drawn: it must be meant."""
    assert int(mix(1, 2, 3)) == 0xD0734750FDE362B3
    assert permutation(6, 1, 2).tolist() == [5, 1, 4, 3, 0, 2]


def test_order_and_sign_of_counters_matter():
    values = {int(mix(*counters)) for counters in ((1, 2), (2, 1), (1, 2, 0), (0, 1, 2), (-1, 2), (1,), ())}
    assert len(values) == 7


def test_arrays_broadcast_to_the_draws_of_their_elements():
    keys = np.array([5, 2**63 + 1], np.uint64)
    assert mix(1, keys, 7).tolist() == [int(mix(1, key, 7)) for key in keys]


def test_uniform_is_uniform_and_neighbours_are_independent():
    drawn = uniform(3, np.arange(20_000))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.01 and abs(drawn.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.03
    assert np.bincount(below(10, 4, np.arange(20_000)), minlength=10).min() > 1800


def test_permutations_differ_by_counter():
    assert sorted(permutation(50, 1, 2).tolist()) == list(range(50))
    assert permutation(50, 1, 2).tolist() != permutation(50, 1, 3).tolist()
    assert 0 <= torch_seed(1, 2) < 2**63
