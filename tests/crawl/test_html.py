"""A page as a flat document: title, links, metas, visible text, and limits that hold."""
from __future__ import annotations

import pathlib
import time

import pytest

from crawl.html import ParseFailure, ParseLimits, parse
from tests.crawl.pages import parsed

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / "readability"


def test_title_language_description_and_text() -> None:
    page = parsed("<html lang=de><title> Ein \n Hund </title><meta name=Description content='Ein  Satz.'>"
                  "<body>Ein <b>H</b>und.<p>Er bellt.<script>var a = '<p>nie</p>';</script>"
                  "<div hidden>nie</div><p style='display: none'>nie</p><noscript>nie</noscript>")
    assert (page.title, page.html_lang, page.description) == ("Ein Hund", "de", "Ein Satz.")
    assert page.text_sample == "Ein Hund. Er bellt."


def test_links_are_resolved_against_the_first_base_and_stand_once() -> None:
    page = parsed("<base href='/root/'><base href='/other/'><a href=a>1</a><a href='a#x'>2</a>"
                  "<a href=a rel=nofollow>3</a>"
                  "<a href='b' rel='noopener NoFollow'>4</a><a href=photo.JPG?x=1>5</a><a href=mailto:a@b.test>6</a>"
                  "<a href='javascript:x()'>7</a><a href='http://a.test/dir/page.html'>8</a><area href=c>")
    assert [(link.url, link.nofollow) for link in page.links] == [
        ("http://a.test/root/a", False), ("http://a.test/root/b", True), ("http://a.test/root/c", False)]


@pytest.mark.parametrize(("html", "language"), [
    ("<html lang=de><meta http-equiv=Content-Language content=fr>", "de"),
    ("<html xml:lang=de>", "de"),
    ("<html lang=''><meta http-equiv=Content-Language content=' fr '><meta property=og:locale content=it_IT>", "fr"),
    ("<meta http-equiv=Content-Language content='fr, en'><meta property=og:locale content=it_IT>", "it-IT"),
    ("<meta http-equiv=Content-Language content=' '>", ""),
])
def test_the_language_a_page_declares(html: str, language: str) -> None:
    assert parsed(html).html_lang == language


def test_tabs_and_line_ends_inside_a_url_are_dropped_and_controls_around_it() -> None:
    page = parsed("<base href='\n/ro\tot/\x1f'><a href='a\n  b'>1</a><a href='c\x01d'>2</a>")
    assert page.base == "http://a.test/root/"
    assert [link.url for link in page.links] == ["http://a.test/root/a%20%20b"]     # U+0001 inside is an attack


def test_metas_keep_name_property_and_http_equiv_in_order() -> None:
    page = parsed("<meta name=Robots content=noai><meta property=og:title content=T><meta http-equiv=Refresh content=5>"
                  "<meta charset=utf-8>")
    assert page.metas == (("robots", "noai"), ("og:title", "T"), ("refresh", "5"))


def test_nul_and_lone_markup_do_not_end_the_page() -> None:
    page = parsed("<p>before\x00after</p><p>last")
    assert page.text_sample.startswith("before") and page.text_sample.endswith("last")


def test_too_many_nodes_is_a_failure() -> None:
    with pytest.raises(ParseFailure, match="nodes"):
        parsed("<p>a" * 200, limits=ParseLimits(max_nodes=100))


@pytest.mark.parametrize("html", [
    "<div>" * 200_000,
    "".join(f"<font c={n}>" for n in range(3_000)) + "<p>x" * 30_000,
    "<a href=x>" * 50_000,
])
def test_markup_that_would_take_minutes_fails_at_once(html: str) -> None:
    began = time.monotonic()
    with pytest.raises(ParseFailure, match="open at once"):
        parsed(html)
    assert time.monotonic() - began < 2


def test_many_paragraphs_without_end_tags_are_no_nesting() -> None:
    assert parsed("<ul>" + "<li><p>a<br>" * 8_000 + "</ul>").text_sample.startswith("a a a")


def test_deep_nesting_is_cut_and_the_body_is_capped() -> None:
    page = parsed("<div>" * 2_000 + "deep" + "</div>" * 2_000 + "<p>after")
    assert page.text_sample == "after"
    cut = parse(b"<p>one</p>" + b" " * 100 + b"two", "", "http://a.test/", ParseLimits(max_bytes=50))
    assert cut.text_sample == "one"


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/data/fixtures/readability is not here")
def test_real_articles_parse() -> None:
    pages = [parse(path.read_bytes(), "text/html", "http://a.test/b/c", ParseLimits())
             for path in sorted(FIXTURES.glob("*/source.html"))]
    assert len(pages) > 50
    assert sum(bool(page.title) for page in pages) > 0.9 * len(pages)
    assert all(page.text_sample for page in pages)
    for page in pages:
        document = page.document
        for index, element in enumerate(document.elements):
            assert element.parent < index < document.last[index] <= len(document.elements)
            assert element.start <= document.ends[index] <= len(document.text)
