"""SURTs are those of the package that other tools index with."""
from __future__ import annotations

import pathlib

import pytest

from crawl import urls
from crawl.surt import surt

# URL and what `surt.surt(URL)` of the package surt 0.3.1 says (an environment of its own: pip install surt).
CASES = [tuple(line.split("\t")) for line in
         (pathlib.Path(__file__).parent / "surt_cases.tsv").read_text(encoding="ascii").splitlines()]


@pytest.mark.parametrize(("url", "expected"), CASES)
def test_a_surt_is_that_of_the_package(url: str, expected: str) -> None:
    assert urls.normalize(url) == url and surt(url) == expected
    assert expected.isascii() and " " not in expected


def test_a_domain_and_its_subdomains_stand_together() -> None:
    given = ["http://b.test/", "http://a.test/", "http://x.a.test/", "http://ab.test/", "http://www.a.test/z"]
    assert sorted(given, key=surt) == [given[1], given[4], given[2], given[3], given[0]]


def test_a_long_chain_of_encodings_ends() -> None:
    assert surt("http://a.test/%" + "25" * 1000 + "41") == "test,a)/a"


@pytest.mark.parametrize("url", ["ftp://a.test/", "a.test", "http://me@a.test/", ""])
def test_what_is_no_url_of_the_web_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="SURT"):
        surt(url)
