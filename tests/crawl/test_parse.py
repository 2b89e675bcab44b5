"""A stored page gives rows; refusals and failures are rows too."""
from __future__ import annotations

import dataclasses

from crawl.html import ParseLimits
from crawl.parse import parse_page
from crawl.records import Signal
from tests.crawl.test_frontier import log

TOKENS = frozenset({"imagebert-lait"})
PAGE = b"<title>T</title><a href=/next>n</a><img src=a.jpg alt='A dog.'>"


def test_a_page_gives_links_one_deeper_and_candidates() -> None:
    found = parse_page(log(depth=3), PAGE, TOKENS, ParseLimits())
    assert (found.page.outcome, found.page.num_images, found.page.num_links) == ("parsed", 1, 1)
    assert [(one.dst_url, one.depth, one.nofollow) for one in found.links] == [("http://a.test/next", 4, False)]
    assert found.candidates[0].page_key == found.page.url_key


def test_urls_resolve_against_where_the_redirects_led() -> None:
    moved = dataclasses.replace(log(), final_url="http://b.test/deep/page")
    found = parse_page(moved, PAGE, TOKENS, ParseLimits())
    assert found.candidates[0].image_url == "http://b.test/deep/a.jpg"
    assert found.page.url == "http://a.test/x"


def test_a_page_that_refuses_in_meta_gives_no_words_and_no_candidates() -> None:
    found = parse_page(log(), b"<meta name=robots content='noai, nofollow'>" + PAGE, TOKENS, ParseLimits())
    assert (found.page.outcome, found.page.permission, found.page.title) == ("optout_meta", "deny", "")
    assert found.candidates == () and found.page.text_sample == ""
    assert [one.nofollow for one in found.links] == [True]
    of_another = parse_page(log(), b"<meta name=otherbot content=noai>" + PAGE, TOKENS, ParseLimits())
    assert of_another.page.outcome == "parsed"


def test_signals_of_the_fetch_are_kept_and_their_nofollow_counts() -> None:
    signal = Signal("x_robots_tag", "nofollow", "unknown", "header")
    found = parse_page(dataclasses.replace(log(), signals=(signal,)), PAGE, TOKENS, ParseLimits())
    assert found.page.signals == (signal,) and found.candidates[0].signals == (signal,)
    assert found.links[0].nofollow


def test_a_page_beyond_the_limits_is_a_row() -> None:
    found = parse_page(log(), b"<div>" * 10_000, TOKENS, ParseLimits())
    assert (found.page.outcome, found.links, found.candidates) == ("parse_failed", (), ())
