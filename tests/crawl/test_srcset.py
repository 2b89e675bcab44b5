"""srcset: WHATWG's parser, and which offer is taken."""
from __future__ import annotations

import pytest

from crawl.srcset import MAX_ENTRIES, Offer, parse_srcset, pick


@pytest.mark.parametrize(("value", "offers"), [
    ("a.jpg", [("a.jpg", 0, 1.0)]),
    (" a.jpg 1x , b.jpg 1.5x,", [("a.jpg", 0, 1.0), ("b.jpg", 0, 1.5)]),
    ("http://c.test/w_400,h_300/a.jpg 400w, http://c.test/w_800,h_600/a.jpg 800w",
     [("http://c.test/w_400,h_300/a.jpg", 400, 1.0), ("http://c.test/w_800,h_600/a.jpg", 800, 1.0)]),
    ("data:image/gif;base64,R0lGOD, b.jpg 2x", [("data:image/gif;base64,R0lGOD", 0, 1.0), ("b.jpg", 0, 2.0)]),
    ("a.jpg, b.jpg", [("a.jpg", 0, 1.0), ("b.jpg", 0, 1.0)]),
    ("a.jpg 400w 300h", [("a.jpg", 400, 1.0)]),
    ("a.jpg 400w 2x, b.jpg", [("b.jpg", 0, 1.0)]),
    ("a.jpg 0w, b.jpg -1x, c.jpg 1e1x, d.jpg 3q, e.jpg 300h", [("c.jpg", 0, 10.0)]),
    ("a.jpg (x, y) 2x, b.jpg", [("b.jpg", 0, 1.0)]),
    (",,, a.jpg 2x", [("a.jpg", 0, 2.0)]),
    ("", []),
])
def test_offers(value: str, offers: list[tuple[str, int, float]]) -> None:
    assert parse_srcset(value) == tuple(Offer(*offer) for offer in offers)


def test_a_hostile_srcset_ends() -> None:
    assert len(parse_srcset("a 1w," * 100_000)) == MAX_ENTRIES


@pytest.mark.parametrize(("value", "index"), [
    ("a 400w, b 2048w, c 4096w", 1),
    ("a 800w, b 800w", 0),
    ("a 1x, b 3x, c 2x", 1),
    ("a 1x, b", None),
    ("a 4096w", None),
    ("", None),
])
def test_the_largest_width_up_to_the_target_else_the_largest_density(value: str, index: int | None) -> None:
    assert pick(parse_srcset(value)) == index
