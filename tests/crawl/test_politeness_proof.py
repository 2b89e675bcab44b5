"""No two requests to one server closer than its delay: 200 domains, 8 shards, 2 worker processes, the servers' log."""
from __future__ import annotations

import pytest

from benchmarks.politeness import CLASSES, PAGES, TOLERANCE, Request, allowed_gap, measure, smallest_ratios


@pytest.mark.slow
def test_the_gaps_at_200_domains() -> None:
    result = measure(200, 8, 2)
    ratios = result["smallest_gap_over_allowed"]
    assert isinstance(ratios, dict) and set(ratios) == set(CLASSES)
    assert min(ratios.values()) > 1 - TOLERANCE, ratios
    assert result["parsed"] == result["pages"] == 200 * (PAGES + 1)


def test_the_checker_sees_what_is_too_close() -> None:
    log = [Request(0.0, "h000.test", "/a", 200, 0.0), Request(0.3, "www.h000.test", "/b", 500, 0.0),
           Request(0.6, "h000.test", "/c", 200, 0.0), Request(-0.3, "h001.test", "/x", 200, 0.0),
           Request(0.0, "h001.test", "/robots.txt", 200, 0.0), Request(1.5, "h001.test", "/", 503, 2.0), Request(2.5, "h001.test", "/", 200, 0.0)]
    assert smallest_ratios(log) == {"plain": 0.5, "crawl_delay": 0.5}
    assert allowed_gap("h002.test", Request(0.0, "h002.test", "/", 503, 9.0)) == 9.0
