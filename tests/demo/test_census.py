"""A census deals every number once, in the promised shares."""
from __future__ import annotations

import collections

import pytest

from demo.census import Census, Kind

KINDS = (Kind("keep", "keep", 1.0), Kind("logo", "logo", 0.2), Kind("bomb", "bomb", 0.0, 2))


@pytest.mark.parametrize("total", [3, 10, 97, 1000])
def test_shares_and_inverse(total: int) -> None:
    census = Census(total, KINDS, "salt")
    counts: collections.Counter[str] = collections.Counter()
    for number in range(total):
        kind, member = census.kind_of(number)
        counts[kind.name] += 1
        assert census.nth(kind, member) == number
    assert counts == census.counts
    assert counts["logo"] == max(1, total // 5) and counts["bomb"] == 1


def test_a_swap_exchanges_two_numbers_both_ways() -> None:
    census = Census(100, KINDS, "salt")
    bomb, keep = census.nth(KINDS[2], 0), census.nth(KINDS[0], 0)
    census.swap(bomb, keep)
    assert census.nth(KINDS[2], 0) == keep and census.kind_of(keep)[0].name == "bomb"
    assert census.kind_of(bomb)[0].name == "keep"


def test_kinds_are_mixed() -> None:
    census = Census(1000, KINDS, "salt")
    places = [census.nth(KINDS[1], member) for member in range(200)]
    assert max(b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)) < 30


def test_too_few_numbers_for_the_kinds_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        Census(2, KINDS, "salt")
