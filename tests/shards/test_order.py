import hashlib
from collections import Counter

import pytest

from shards.order import OrderConfig, first_rank, num_shards, order_of, range_of, shard_of, totals


def test_ranges_follow_the_order():
    config = OrderConfig(ranges=7)
    places = sorted(order_of(f"{n:032x}", config) for n in range(500))
    numbers = [range_of(place, config) for place in places]
    assert numbers == sorted(numbers) and set(numbers) == set(range(7))


def test_the_seed_changes_the_order_and_nothing_else_does():
    keys = [hashlib.sha256(bytes([n])).hexdigest()[:32] for n in range(50)]
    orders = [sorted(keys, key=lambda key: order_of(key, OrderConfig(seed=seed))) for seed in (1, 2)]
    assert orders[0] != orders[1]
    assert orders[0] == sorted(keys, key=lambda key: order_of(key, OrderConfig(seed=1, max_samples=3, ranges=5)))


@pytest.mark.parametrize("samples", [1, 2, 99, 100, 101, 1234])
def test_shards_are_dense_of_equal_size_and_within_the_limit(samples):
    config = OrderConfig(max_samples=100)
    shards = num_shards(samples, 1, config)
    sizes = Counter(shard_of(rank, samples, shards) for rank in range(samples))
    assert sorted(sizes) == list(range(shards)) and max(sizes.values()) <= 100
    assert max(sizes.values()) - min(sizes.values()) <= 1


def test_bytes_may_ask_for_more_shards_than_samples_do_but_never_for_empty_ones():
    assert num_shards(100, 5000, OrderConfig(max_bytes=1000)) == 5
    assert num_shards(2, 5000, OrderConfig(max_bytes=10)) == 2
    assert num_shards(0, 0, OrderConfig()) == 0


def test_prefix_sums_count_the_same_split_and_extension_only():
    counts = {("train", "jpg", 0): (3, 30), ("train", "jpg", 4): (2, 20), ("train", "png", 1): (9, 9),
              ("test", "jpg", 0): (7, 7)}
    assert first_rank(counts, ("train", "jpg", 4)) == 3 and first_rank(counts, ("train", "jpg", 0)) == 0
    assert totals(counts, "train", "jpg") == (5, 50)


@pytest.mark.parametrize("change", [{"max_samples": 0}, {"ranges": 0}, {"ranges": 1 << 20}, {"name": "../x"},
                                    {"name": ""}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ValueError, match="order"):
        OrderConfig(**change)
