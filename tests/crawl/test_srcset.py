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
    # The steps of the standard (HTML, "parse a srcset attribute", and its image candidate rules).
    ("a.jpg,, b.jpg", [("a.jpg", 0, 1.0), ("b.jpg", 0, 1.0)]),                   # all final commas go
    ("a.jpg ,b.jpg", [("a.jpg", 0, 1.0), ("b.jpg", 0, 1.0)]),
    ("a.jpg,b.jpg", [("a.jpg,b.jpg", 0, 1.0)]),                                  # no space, no end
    ("data:image/png;base64,AA== 1x, b.jpg 2x", [("data:image/png;base64,AA==", 0, 1.0), ("b.jpg", 0, 2.0)]),
    ("a.jpg\t2x,\n b.jpg\f3x", [("a.jpg", 0, 2.0), ("b.jpg", 0, 3.0)]),
    ("a.jpg\u00a02x", [("a.jpg\u00a02x", 0, 1.0)]),                              # that is no ASCII white space
    ("a (b (c) d, e) 2x, f 3x", [("e)", 0, 2.0), ("f", 0, 3.0)]),                # parentheses do not nest
    ("a (b, 2x, c", []),                                                         # nor need they be closed
    ("a 1w 2w, b 1x 2x, c 1h 2h 3w, d 2x 3h, e 3h 2x, f 3w 2x", []),
    ("a 3h 4w, b 4w 3h", [("a", 4, 1.0), ("b", 4, 1.0)]),
    ("a 0x, b .5x, c 1.x, d +1x, e 1e-1x, f 1e999x", [("a", 0, 0.0), ("b", 0, 0.5), ("e", 0, 0.1)]),
    ("a 1.5w, b -1w, c +1w, d 1W, e w, f 007w", [("f", 7, 1.0)]),
    ("a \u0663x, b \u0663w", []),                                                # digits are ASCII's
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
