"""A record of an archive becomes the row a fetch would have made of it, or says what it is."""
from __future__ import annotations

import gzip
import io

import brotli
import pytest

from crawl.records import DENY, UNKNOWN, FetchLog
from crawl.warc_pages import Other, PageRules, page_in
from crawl.warc_reader import read_records
from tests.crawl.archives import PAGE, answer, page, record

HTML = "Content-Type: text/html"
RULES = PageRules(umbrella_agents=("CCBot",))


def read(raw: bytes, rules: PageRules = RULES) -> tuple[FetchLog, bytes] | Other:
    return page_in(next(iter(read_records(io.BytesIO(raw)))), rules)


def stored(body: bytes | str, *headers: str, target: str = "http://a.test/", status: str = "200 OK") -> bytes:
    return record("response", target, answer(body, *headers, status=status))


def test_a_page_is_a_log_row_with_what_was_recorded() -> None:
    found = read(page("x", "X-Robots-Tag: max-snippet:-1"))
    assert not isinstance(found, Other)
    log, body = found
    assert body.decode() == PAGE.format(title="x") and log.outcome == "ok"
    assert (log.url, log.http_status, log.fetched_at, log.warc_record_id, log.part) == (
        "http://a.test/x", 200, "2024-05-06T07:08:09Z", "urn:uuid:x", "")
    assert [(signal.name, signal.verdict) for signal in log.signals] == [("robots", UNKNOWN), ("x_robots_tag", UNKNOWN)]
    assert log.permission == UNKNOWN


@pytest.mark.parametrize("header", ["X-Robots-Tag: noai", "X-Robots-Tag: CCBot: noindex", "tdm-reservation: 1",
                                    "Content-Usage: train-ai=n"])
def test_a_recorded_refusal_holds(header: str) -> None:
    found = read(page("x", header))
    assert not isinstance(found, Other)
    log, body = found
    assert (log.outcome, log.permission, body, log.sha256) == ("optout_header", DENY, b"", "")


@pytest.mark.parametrize(("raw", "outcome"), [
    (stored("x", HTML, status="404 Not Found"), "http_404"), (stored("x", HTML, status="301 x"), "http_301"),
    (stored("%PDF", "Content-Type: application/pdf"), "not_html"), (stored("plain words"), "not_html"),
    (stored("", HTML), "empty_body"), (stored("<p>x", HTML), "ok"), (stored(" <!DOCTYPE HTML>x"), "ok"),
    (stored(b"\x1f\x8bnothing", HTML, "Content-Encoding: gzip"), "bad_encoding"),
    (stored("<p>x", HTML, "Content-Encoding: zither"), "bad_encoding"),
    (stored(gzip.compress(bytes(50 << 20)), HTML, "Content-Encoding: gzip"), "bomb"),
    (stored(brotli.compress(bytes(50 << 20)), HTML, "Content-Encoding: br"), "bomb")])
def test_outcomes_are_those_of_a_fetch(raw: bytes, outcome: str) -> None:
    found = read(raw)
    assert not isinstance(found, Other) and found[0].outcome == outcome
    assert bool(found[1]) == (outcome == "ok")


@pytest.mark.parametrize(("raw", "outcome", "broken"), [
    (record("revisit", "http://a.test/", answer("")), "revisit", False),
    (record("request", "http://a.test/", b"GET / HTTP/1.1\r\n\r\n"), "other_record", False),
    (record("response", "dns:a.test", b"x"), "other_record", False),
    (record("response", "", answer("x", HTML)), "no_url", True),
    (record("response", "http://[x/", answer("x", HTML)), "bad_url", True),
    (record("response", "http://a.test/", b"<html>"), "bad_http", True)])
def test_what_is_no_page(raw: bytes, outcome: str, broken: bool) -> None:
    assert read(raw) == Other(outcome, broken)


def test_wget_writes_its_urls_in_angle_brackets() -> None:
    found = read(stored("<p>x", HTML, target="<http://a.test/y>"))
    assert not isinstance(found, Other) and found[0].url == "http://a.test/y"


@pytest.mark.parametrize(("body", "headers"), [
    (gzip.compress(b"<p>words"), ("Content-Encoding: gzip",)),
    (b"<p>words", ("Content-Encoding: gzip",)),                       # unfolded when it was stored, header kept
    (b"3\r\n<p>\r\n5;a=b\r\nwords\r\n0\r\n\r\n", ("Transfer-Encoding: chunked",)),
    (brotli.compress(gzip.compress(b"<p>words")), ("Content-Encoding: gzip, br",)),       # the outer coding is the last
    (b"<p>words", ("Transfer-Encoding: chunked",)), (b"<p>words", ("X-Crawler-Content-Encoding: gzip",))])
def test_codings_are_undone_as_far_as_they_are_there(body: bytes, headers: tuple[str, ...]) -> None:
    found = read(stored(body, HTML, *headers))
    assert not isinstance(found, Other) and found[1] == b"<p>words"


def test_what_was_cut_is_marked() -> None:
    for raw, rules in ((page("x", WARC_Truncated="length"), RULES), (page("x"), PageRules(max_body=20))):
        found = read(raw, rules)
        assert not isinstance(found, Other) and found[0].truncated and found[0].outcome == "ok"


def test_forged_fields_do_not_come_through() -> None:
    found = read(page("x", WARC_Date="yesterday", WARC_Record_ID="<two words>"))
    assert not isinstance(found, Other) and (found[0].fetched_at, found[0].warc_record_id) == ("", "")
