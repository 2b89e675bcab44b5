"""Pages and sitemaps parsed in the sandbox: a log row and a body in, what they give out.

`open_work` runs in the sandbox (crawl/sandbox.py), `parsed_pages` in the worker.  What stands on a page once crosses
the pipe once, however many pictures the page has.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from crawl import charset, urls
from crawl.config import as_dict
from crawl.flat import flat, unflat
from crawl.html import PageLink, ParseLimits, parse
from crawl.parse import Found, failed, links_of_page, read_page
from crawl.records import Candidate, FetchLog, Link, Page, SitemapImage
from crawl.sandbox_client import Sandbox, SandboxLimits
from crawl.sitemaps import Named, SitemapRules, named_in

_TYPICAL = """<!doctype html><html lang="de"><head><meta charset="utf-8"><title>Müller</title>
<script type="application/ld+json">{"@type": "ImageObject", "contentUrl": "/a.jpg", "caption": "Grüße"}</script></head>
<body><h1>Bücher</h1><figure><img src="http://bücher.example/a.jpg" srcset="b.jpg 2x" alt="Ein Buch"><figcaption>Buch
</figcaption></figure><noscript><img data-src=c.jpg></noscript><a href="//tëst.example/">x</a></body></html>""".encode()

FoundOrNamed = Found | Named       # a page gives the first, a sitemap the second

# What each candidate repeats of its page: field -> field of the page.
OF_PAGE = {"page_key": "url_key", "page_url": "url", "page_title": "title", "page_text": "text_sample",
            "permission": "permission", "signals": "signals", "page_record_id": "warc_record_id",
            "page_sha256": "payload_sha256", "page_fetched_at": "fetched_at"}
# What only a caption table knows.
_OF_TABLE: dict[str, Any] = {"extras": "", "expected": ()}
_SHARED = frozenset(OF_PAGE) | frozenset(_OF_TABLE)
_SOURCE = frozenset({"src_key", "sitemap_key"})
# What a page has of its log row: an answer that says otherwise is not of this page.
_OF_LOG = {"url_key": "url_key", "url": "url", "final_url": "final_url", "warc_record_id": "warc_record_id",
           "payload_sha256": "sha256", "fetched_at": "fetched_at"}


@dataclasses.dataclass(frozen=True, slots=True)
class ParseSettings:
    """What a worker tells its sandbox once."""

    tokens: tuple[str, ...]        # lower-case agent names whose refusals bind us
    limits: ParseLimits
    sitemaps: SitemapRules


@dataclasses.dataclass(frozen=True, slots=True)
class _Said:
    """What the sandbox says of a page."""

    page: Page
    links: list[PageLink]
    candidates: tuple[Candidate, ...]


def open_work(settings: Any) -> Any:
    """Returns the work of a sandbox: parse one page or one sitemap."""
    limits, sitemaps = ParseLimits(**settings["limits"]), SitemapRules(**settings["sitemaps"])
    tokens = frozenset(settings["tokens"])
    charset.load_all()
    parse(_TYPICAL, "", "http://www.example.co.uk/", limits)           # what is loaded late is loaded now
    urls.site("http://www.example.co.uk/")

    def work(header: Any, body: bytes) -> tuple[Any, bytes]:
        log = unflat(FetchLog, header)
        if log.kind == "sitemap":
            named = named_in(log, body, sitemaps)
            return [None, [flat(link, _SOURCE) for link in named.links],
                    [flat(image, _SOURCE) for image in named.images]], b""
        page, links, candidates = read_page(log, body, tokens, limits)
        return [flat(page), links, [flat(one, _SHARED) for one in candidates]], b""
    return work


def page_sandbox(settings: ParseSettings, limits: SandboxLimits | None = None) -> Sandbox[_Said | Named]:
    """Returns a sandbox for `parsed_pages`, to be closed by whoever holds it."""
    return Sandbox("crawl.page_work:open_work", _read, as_dict(settings), limits or SandboxLimits())


def parsed_pages(box: Sandbox[_Said | Named], stored: Iterable[tuple[FetchLog, bytes]]) -> Iterator[FoundOrNamed]:
    """Yields for each stored page what it gives, for each sitemap what it names, in order.

    A body that kills its sandbox, hangs or swells in it gives a page with an outcome that says so: parse_crashed,
    parse_timeout, parse_out_of_memory; of a sitemap sitemap_crashed and so on.
    """
    for log, answer in box.map((log, flat(log), body) for log, body in stored):
        reason, found = answer.reason, answer.result
        if found is None or not _is_of(found, log):
            kind = "sitemap" if log.kind == "sitemap" else "parse"
            yield Found(failed(log, f"{kind}_{reason or 'crashed'}"))
        elif isinstance(found, Named):
            yield Named(tuple(dataclasses.replace(link, src_key=log.url_key) for link in found.links),
                        tuple(dataclasses.replace(image, sitemap_key=log.url_key) for image in found.images))
        else:
            yield Found(found.page, links_of_page(log, found.links), found.candidates)


def _read(value: Any, body: bytes) -> _Said | Named:
    """Returns what the child said, checked; raises ValueError for what `open_work` would not say."""
    page, links, candidates = value
    if page is None:
        return Named(tuple(unflat(Link, link, src_key="") for link in links),
                     tuple(unflat(SitemapImage, image, sitemap_key="") for image in candidates))
    page = unflat(Page, page)
    shared = {name: getattr(page, of_page) for name, of_page in OF_PAGE.items()} | _OF_TABLE
    return _Said(page, [_link(*link) for link in links], tuple(unflat(Candidate, one, **shared) for one in candidates))


def _link(url: Any, nofollow: Any) -> PageLink:
    if type(url) is not str or type(nofollow) is not bool:
        raise ValueError("no link")
    return PageLink(url, nofollow)


def _is_of(found: _Said | Named, log: FetchLog) -> bool:
    if isinstance(found, Named):
        return log.kind == "sitemap"
    return log.kind != "sitemap" and all(getattr(found.page, name) == getattr(log, of_log)
                                         for name, of_log in _OF_LOG.items())
