"""A WAT record gives what its page would, as far as the record knows."""
from __future__ import annotations

import io
from typing import Any

import pytest

from crawl.page_images import PageImages, encode_images
from crawl.records import DENY, Candidate, SourceText
from crawl.tables import encode_table
from crawl.warc_pages import Other, PageRules
from crawl.warc_reader import read_records
from crawl.wat import found_in_wat
from tests.crawl.archives import record, wat

IMAGE = {"path": "IMG@/src", "url": "../i/a.jpg", "alt": " A brown\n dog &amp; a cat ", "title": "Two friends"}
HEAD = {"Title": "Pets &lt;3", "Metas": [{"name": "description", "content": "About pets"},
                                         {"property": "og:image", "content": "//b.test/og.jpg"},
                                         {"property": "og:description", "content": "Pets of the town"}]}


def read(raw: bytes, most: int = 100) -> Any:
    return found_in_wat(next(iter(read_records(io.BytesIO(raw)))), PageRules(), most, "place 0")


def found(raw: bytes, most: int = 100) -> PageImages:
    log, one = read(raw, most)
    assert log.outcome == "ok" and one is not None
    return one  # type: ignore[no-any-return]


def test_images_with_their_texts() -> None:
    one = found(wat("http://a.test/x/y.html", {"Head": HEAD, "Links": [
        {"path": "A@/href", "url": "/z", "text": "z"}, IMAGE, {"path": "IMG@/src", "url": "/b.jpg", "alt": ""},
        {"path": "IMG@/src", "url": "data:image/gif;base64,x", "alt": "x"}, {"path": "IMG@/src", "url": "/c.jpg"},
        {"path": "IMG@/src", "url": "/b.jpg", "title": "Another"}]}))
    assert one.page.title == "Pets <3" and one.page.description == "About pets" and one.page.num_images == 6
    assert one.page.warc_record_id == "urn:uuid:of-the-page" and one.page.permission == "unknown"
    og, a, again = one.candidates()               # nothing is known of /c.jpg, nor of /b.jpg where it comes first
    assert (og.image_url, og.found_in, og.in_main) == ("http://b.test/og.jpg", "og:image", False)
    assert og.texts[0] == SourceText("og_description", "Pets of the town")
    assert (a.image_url, a.found_in, a.page_url) == ("http://a.test/i/a.jpg", "img.src", "http://a.test/x/y.html")
    assert a.texts == (SourceText("alt", "A brown dog & a cat"), SourceText("title", "Two friends"),
                       SourceText("page_title", "Pets <3"))
    assert a.alt_present and not again.alt_present and again.repeats_on_page == 2 and again.images_on_page == 6
    assert [row.ordinal for row in one.candidates()] == [0, 1, 5]


def test_the_base_of_the_page_counts() -> None:
    for base, url in (("http://c.test/q/", "http://c.test/i/a.jpg"), ("/deep/er/", "http://a.test/deep/i/a.jpg"),
                      ("http://[", "http://a.test/i/a.jpg"), ("", "http://a.test/i/a.jpg")):
        assert found(wat("http://a.test/x/", {"Head": {"Base": base}, "Links": [IMAGE]})).rows[0][2] == url


@pytest.mark.parametrize(("html", "headers", "where"), [
    ({"Links": [IMAGE]}, {"X-Robots-Tag": "noai"}, "optout_header"),
    ({"Links": [IMAGE]}, {"X-Robots-Tag": ["nosnippet", "noimageai"]}, "optout_header"),
    ({"Links": [IMAGE], "Head": {"Metas": [{"name": "Robots", "content": "NoAI"}]}}, {}, "optout_meta"),
    ({"Links": [IMAGE], "Head": {"Metas": [{"name": "tdm-reservation", "content": "1"}]}}, {}, "optout_meta")])
def test_a_recorded_refusal_holds(html: dict[str, Any], headers: dict[str, Any], where: str) -> None:
    log, one = read(wat("http://a.test/", html, headers))
    assert (one.page if one else log).outcome == where and (one.page if one else log).permission == DENY
    assert one is None or not one.rows


@pytest.mark.parametrize(("raw", "outcome"), [
    (wat("http://a.test/", {}, status="404"), "http_404"), (wat("http://a.test/", None), "not_html")])
def test_answers_without_a_page(raw: bytes, outcome: str) -> None:
    log, one = read(raw)
    assert log.outcome == outcome and one is None
    assert (log.part, log.offset, log.length) == ("x.warc.gz", 77, 88)        # where the WARC file has the record


@pytest.mark.parametrize(("raw", "outcome", "broken"), [
    (wat("http://a.test/", {}, kind="request"), "other_record", False), (wat("", {}), "no_url", True),
    (wat("http://a.test/", {}, kind="revisit"), "revisit", False), (wat("http://[/", {}), "bad_url", True),
    (wat("http://a.test/", {}, status="2x"), "bad_http", True),
    (record("warcinfo", "", b"x: y\r\n"), "other_record", False)]
    + [(record("metadata", "http://a.test/", block), "bad_json", True) for block in (
        b"", b"{", b"[]", b'{"Envelope": 3}', b'{"Envelope": {"Payload-Metadata": []}}', b"\xff\xfe", b"[" * 100_000,
        b'{"a": ' * 100_000, b'{"Envelope": {"Payload-Metadata": {"HTTP-Response-Metadata": {"Headers": [1]}}}}')])
def test_one_bad_record_is_named(raw: bytes, outcome: str, broken: bool) -> None:
    assert read(raw) == Other(outcome, broken)


def test_values_of_the_wrong_kind_cost_one_record_at_most() -> None:
    odd = wat("http://a.test/", {"Head": {"Metas": [{"name": 3, "content": "x"}, {"content": None}]},
                                 "Links": [{"path": "IMG@/src", "alt": "x"}, {**IMAGE, "alt": None}]})
    assert len(found(odd).rows) == 1
    assert len(found(wat("http://a.test/", {"Links": [IMAGE] * 50}), most=7).rows) == 7


def test_columns_are_the_bytes_of_the_records() -> None:
    pages = [found(wat(f"http://a.test/{name}%20s/\u00fc", {"Head": HEAD, "Links": [
        {**IMAGE, "alt": f"{name} \"quoted\" 100 % \u2028\x7f\n \u00fc\U0001f600", "url": f"{name}.jpg"}, IMAGE]},
        {"X-Robots-Tag": ["max-snippet:5", "50 %"]})) for name in ("x", "y", "z")]
    pages.append(found(wat("http://a.test/none", {"Links": []})))
    records = sorted((one for page in pages for one in page.candidates()), key=lambda one: one.occurrence)
    assert len(records) == 9 and encode_images(pages) == encode_table(Candidate, records)
