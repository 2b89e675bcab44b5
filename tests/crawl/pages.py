"""Small pages for the tests of parsing."""
from __future__ import annotations

from crawl.candidates import find_candidates
from crawl.html import ParsedPage, ParseLimits, parse
from crawl.records import Candidate, Page

URL = "http://a.test/dir/page.html"


def parsed(html: str, url: str = URL, limits: ParseLimits | None = None) -> ParsedPage:
    return parse(html.encode(), "text/html; charset=utf-8", url, limits or ParseLimits())


def candidates(html: str, url: str = URL, limits: ParseLimits | None = None) -> list[Candidate]:
    found = parsed(html, url, limits)
    page = Page(url_key="0" * 32, url=url, final_url=url, outcome="parsed", title=found.title, description="",
                charset=found.charset, html_lang=found.html_lang, text_sample=found.text_sample, signals=(),
                permission="unknown", num_images=0, num_links=0, warc_record_id="urn:uuid:1", payload_sha256="",
                fetched_at="")
    return find_candidates(found, page, limits or ParseLimits())


def texts(candidate: Candidate, source: str) -> list[str]:
    return [text.text for text in candidate.texts if text.source == source]
