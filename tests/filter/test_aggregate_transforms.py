"""Hot keys: whatever many images share, no group and no accumulator grows with it."""
from __future__ import annotations

import pickle
import random

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to

from filter.aggregate import AggregateRules, Copies, best_copies, copies_of
from filter.aggregate_transforms import Aggregate, NearDuplicates, _CountBands, _dealt
from filter.cases import best_card
from filter.claim_transforms import _CappedClaims
from filter.near_duplicates import NearRules, bands, pack
from tests.filter.test_aggregate import IMAGE, ROW, case


def test_a_crowd_that_shares_every_band_ends_as_one_picture():
    """40 images, groups of 4: most copies never meet each other, all meet the best of the crowd."""
    rules = NearRules(max_met=4, leaders=2)
    rng = random.Random(1)
    crowd = [case(n, 5 ^ 1 << rng.randrange(64), [("a heron", (40 - n) / 64)]) for n in range(40)]
    with beam.Pipeline(FnApiRunner()) as root:
        placed = root | beam.Create(crowd) | NearDuplicates(rules) | beam.Map(lambda one: one.survivor)
        assert_that(placed, equal_to([crowd[0].facts.sha256] * 40))


def test_no_group_of_a_crowded_band_is_much_larger_than_allowed():
    rules = NearRules(max_met=50)
    cards = [pack(best_card(case(n * 0x9e3779b97f4a7c15 % 2 ** 256, 7, [("a heron", 0.5)]))) for n in range(1, 2001)]
    count = _CountBands(rules)
    counts = count.create_accumulator()
    for card in cards:
        counts = count.add_input(counts, card)
    crowded = count.extract_output(count.merge_accumulators([counts, count.create_accumulator()]))
    assert crowded == dict.fromkeys(bands(cards[0], rules), 40)
    sizes = {}
    for card in cards:
        for key, _ in _dealt(card, rules, crowded):
            sizes[key] = sizes.get(key, 0) + 1
    assert max(sizes.values()) <= 2 * rules.max_met


@pytest.mark.parametrize("rows", [200, 20_000])
def test_occurrences_of_one_image_take_the_same_room_however_many(rows):
    combine = _CappedClaims(8)
    kept = [combine.create_accumulator() for _ in range(3)]
    for n in range(rows):
        row = pickle.loads(pickle.dumps(ROW))
        object.__setattr__(row, "occurrence", f"{n * 7919 % rows:032d}")
        kept[n % 3] = combine.add_input(kept[n % 3], (row, IMAGE))
        assert n % 1000 or len(kept[n % 3][1]) <= 8
    claims = combine.extract_output(combine.merge_accumulators(kept))
    assert claims.count == rows and [int(row.occurrence) for row, _ in claims.rows] == list(range(8))


def test_copies_of_one_image_take_the_same_room_however_many():
    rules, kept = AggregateRules(max_copies=3), Copies()
    for n in random.Random(2).sample(range(1, 500), 499):
        kept = best_copies((kept, copies_of(case(n, 5, [(f"a heron {n}", n / 1024)]))), rules)
    assert kept.occurrences == 499 and [one.alive()[0].identity for one in kept.cases] == [
        "a heron 499", "a heron 498", "a heron 497"]


def test_a_caption_of_many_pictures_is_banned_and_one_of_many_copies_is_not():
    rng = random.Random(3)
    many = [case(n, rng.getrandbits(64), [("a lovely day", 0.9), (f"a heron {n}", 0.5)]) for n in range(1, 9)]
    copies = [case(n, 5 ^ 1 << n % 64, [("a barn", 0.7)]) for n in range(20, 40)]
    with beam.Pipeline(FnApiRunner()) as root:
        settled = root | beam.Create(many + copies) | Aggregate(NearRules(), AggregateRules(max_images_per_caption=4))
        assert_that(settled | beam.FlatMap(lambda one: [one.best.caption] if one.best else []),
                    equal_to([f"a heron {n}" for n in range(1, 9)] + ["a barn"]))
