"""Which conditions are sent, which 304 counts, and what it changes (RFC 9110, 13.1; RFC 9111, 4.3)."""
from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from crawl.answers import Answer
from crawl.records import ALLOW, DENY, UNKNOWN, Earlier, FetchLog, Signal
from crawl.revalidate import conditions, earlier_of, is_about, merged_signals, validators

DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
HELD = Earlier("http://a.test/p", '"1"', DATE, "text/html", 5, "ab", "part", 0, 9, ())


def answer(*headers: tuple[str, str], status: int = 304) -> Answer:
    return Answer("http://a.test/p", "ok", status, "", headers, b"", b"", "", False, "", 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("etag", "kept"), [
    ('"a-b!~"', True), ('W/"x"', True), ('""', True), ("plain", False), ('w/"x"', False), ('"a b"', False),
    ('"a"b"', False), ('"\xe9"', False), ('"' + "x" * 300 + '"', False), ("", False)])
def test_only_a_well_formed_etag_is_sent_back(etag: str, kept: bool) -> None:
    assert validators(answer(("ETag", etag)))[0] == (etag if kept else "")


@pytest.mark.parametrize(("date", "kept"), [
    (DATE, True), ("2024-01-01T00:00:00Z", False), ("Monday, 01-Jan-24 00:00:00 GMT", False),
    (DATE + "\r\nX: y", False), ("0", False)])
def test_only_a_date_of_the_one_form_is_sent_back(date: str, kept: bool) -> None:
    assert validators(answer(("Last-Modified", date)))[1] == (date if kept else "")


def test_two_of_a_kind_are_none() -> None:
    assert validators(answer(("ETag", '"1"'), ("etag", '"2"'), ("Last-Modified", DATE), ("Last-Modified", DATE))) == (
        "", "")


def test_conditions_go_to_the_url_that_answered_and_to_no_other() -> None:
    assert conditions((HELD,), "http://a.test/p") == ('If-None-Match: "1"', f"If-Modified-Since: {DATE}")
    assert conditions((HELD,), "http://a.test/P") == conditions((), "http://a.test/p") == ()
    assert conditions((dataclasses.replace(HELD, etag="", last_modified=""),), "http://a.test/p") == ()


@pytest.mark.parametrize(("etag", "about"), [
    ('"1"', True), ('W/"1"', True), ('"2"', False), ('W/"2"', False), (None, True), ("not one", True)])
def test_a_304_that_names_another_version_does_not_count(etag: str | None, about: bool) -> None:
    assert is_about(HELD, answer(*([("ETag", etag)] if etag else []))) is about
    assert is_about(dataclasses.replace(HELD, etag=""), answer(("ETag", '"9"')))


def test_each_header_of_a_304_takes_the_place_of_the_stored_one() -> None:
    tag = Signal("x_robots_tag", "noai", DENY, "header: noai")
    tdm = Signal("tdm_header", "0", ALLOW, "header")
    licence = Signal("rsl", "http://a.test/l.xml", UNKNOWN, "header")
    held = dataclasses.replace(HELD, signals=(tag, tdm, licence))
    assert merged_signals(held, answer(), frozenset()) == (tag, tdm, licence)
    found = merged_signals(held, answer(("X-ROBOTS-TAG", "nosnippet"), ("Link", "</style.css>; rel=preload")),
                           frozenset())
    assert [(signal.name, signal.raw, signal.verdict) for signal in found] == [
        ("tdm_header", "0", ALLOW), ("x_robots_tag", "nosnippet", UNKNOWN)]
    (_, _, added) = merged_signals(dataclasses.replace(HELD, signals=(tag, tdm)),
                                   answer(("Content-Usage", "train-ai=n")), frozenset())
    assert (added.name, added.verdict) == ("content_usage", DENY)


def log(outcome: str = "ok", part: str = "p", **more: Any) -> FetchLog:
    row = FetchLog("k", "http://a.test/", "page", 0, outcome, 200, "http://a.test/p", (), "text/html", "", 5, False, (),
                   ALLOW, part, 3, 9, "ab", "urn:uuid:1", 0, etag='"1"', last_modified=DATE)
    return dataclasses.replace(row, **more)


def test_what_is_held_is_the_last_whole_body_with_the_signals_of_its_headers() -> None:
    robots = Signal("content_usage", "train-ai=y", ALLOW, "robots.txt line 3")
    header = Signal("content_usage", "train-ai=n", DENY, "header")
    meta = Signal("meta_robots", "noai", DENY, "meta name=robots: noai")
    held = earlier_of([log(signals=(robots, header, meta), round=4), log(part="older", round=1)])
    assert held == Earlier("http://a.test/p", '"1"', DATE, "text/html", 5, "ab", "p", 3, 9, (header,))
    for outcome in ("not_modified", "unchanged"):
        assert earlier_of([log(outcome)]) is not None
    assert earlier_of([log(truncated=True), log("http_404", ""), log("optout_meta", "")]) is None
    assert earlier_of([]) is None
