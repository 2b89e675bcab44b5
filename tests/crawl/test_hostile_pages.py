"""Pages written to break or to stall the parser: each is a row within seconds, and no table breaks."""
from __future__ import annotations

import time

import pytest

from crawl.records import Candidate
from crawl.tables import encode_table
from tests.crawl.pages import candidates, texts


def test_half_a_surrogate_pair_in_json_ld_does_not_break_the_table() -> None:
    html = ('<script type="application/ld+json">{"image": "/a.jpg", "description": "a \\ud800 red bus on a bridge"}'
            "</script>")
    found = candidates(html)
    assert texts(found[0], "og_description") == ["a \ufffd red bus on a bridge"]
    encode_table(Candidate, found)


@pytest.mark.parametrize("html", [
    '<img srcset="a.jpg {n}w, b.jpg 2x" alt="a red bus">',
    '<script type="application/ld+json">{{"image": {{"url": "/a.jpg", "width": "{n}"}}}}</script>'])
def test_a_number_of_thousands_of_digits_is_no_number(html: str) -> None:
    assert [found.declared_width for found in candidates(html.format(n="9" * 5000))] == [0]


@pytest.mark.parametrize("html", [
    "<body id=b>" + "<p>some words " * 20_000 + "<img src=a aria-labelledby=b>" * 2_000,
    "<noscript>" + "".join(f"<img src={n}>" for n in range(40_000)) + "</noscript>",
    "<picture>" + "".join(f"<source srcset={n}><img src={n}>" for n in range(4_000)) + "</picture>",
    "<figure>" + "<figcaption>some words</figcaption>" * 20_000 + "<img src=a>" * 2_000 + "</figure>",
    '<script type="application/ld+json">{"description": "' + "some words " * 20_000 + '", "image": ["/a"'
    + ', "/a"' * 20_000 + "]}</script>",
    "".join(f'<script type="application/ld+json">{{"image": {{"url": "/a", "caption": "{n}"}}}}</script>'
            for n in range(10_000))], ids=["labels", "noscript", "sources", "captions", "description", "scripts"])
def test_hostile_markup_costs_seconds_not_hours(html: str) -> None:
    began = time.process_time()
    assert candidates(html)
    assert time.process_time() - began < 8
