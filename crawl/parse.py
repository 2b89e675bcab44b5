"""What does a stored page give?  A log row and its body in; a `Page`, its links and its candidates out.

A page that breaks the parser or its limits, or that asks in a meta element not to be used, is a row that says so.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from crawl import consent, urls
from crawl.candidates import find_candidates
from crawl.fingerprint import fingerprint
from crawl.html import PageLink, ParseFailure, ParseLimits, parse
from crawl.records import DENY, Candidate, FetchLog, Link, Page
from crawl.visit_ids import without_visit_id


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What one page gives."""

    page: Page
    links: tuple[Link, ...] = ()
    candidates: tuple[Candidate, ...] = ()


def parse_page(log: FetchLog, body: bytes, tokens: frozenset[str], limits: ParseLimits) -> Found:
    """Returns what a page gives; `tokens` are the lower-case agent names whose refusals bind us."""
    page, links, candidates = read_page(log, body, tokens, limits)
    return Found(page, links_of_page(log, links), candidates)


def read_page(log: FetchLog, body: bytes, tokens: frozenset[str],
              limits: ParseLimits) -> tuple[Page, tuple[PageLink, ...], tuple[Candidate, ...]]:
    """Returns what a page gives, its links as they stand on it."""
    nothing = failed(log, "parse_failed")
    try:
        parsed = parse(body, log.content_type, log.final_url or log.url, limits)
    except ParseFailure:
        return nothing, (), ()
    signals = log.signals + consent.from_meta(parsed.metas, tokens) + consent.from_licences(parsed.licences)
    page = dataclasses.replace(
        nothing, outcome="parsed", title=parsed.title, description=parsed.description, charset=parsed.charset,
        html_lang=parsed.html_lang, text_sample=parsed.text_sample, signals=signals,
        permission=consent.verdict(signals), num_links=len(parsed.links))
    links = _followable(parsed.links, page, tokens)
    if page.permission == DENY:
        # Its words and pictures are not ours; where its links lead is nothing that it asked to keep.
        refused = dataclasses.replace(page, outcome="optout_meta", title="", description="", text_sample="")
        return refused, links, ()
    candidates = tuple(find_candidates(parsed, page, limits))
    said = fingerprint(parsed.document.text, page.final_url or page.url, candidates)
    return dataclasses.replace(page, num_images=len(candidates), fingerprint=said), links, candidates


def links_of_page(log: FetchLog, links: Iterable[PageLink]) -> tuple[Link, ...]:
    """Returns the rows that the links of a page are: one a target, without the identifiers of a visit."""
    targets: dict[str, bool] = {}
    for link in links:
        url = without_visit_id(link.url)
        targets[url] = link.nofollow and targets.get(url, True)
    return tuple(Link(src_key=log.url_key, dst_key=urls.url_key(url), dst_url=url, depth=log.depth + 1,
                      nofollow=nofollow) for url, nofollow in targets.items())


def links_of_refused(log: FetchLog) -> tuple[Link, ...]:
    """Returns the links of a page whose body was refused and not stored."""
    return links_of_page(log, [PageLink(url, False) for url in log.links])


def failed(log: FetchLog, outcome: str) -> Page:
    """Returns the row of a page that could not be read."""
    return Page(
        url_key=log.url_key, url=log.url, final_url=log.final_url, outcome=outcome, title="", description="",
        charset="", html_lang="", text_sample="", signals=log.signals, permission=log.permission, num_images=0,
        num_links=0, warc_record_id=log.warc_record_id, payload_sha256=log.sha256, fetched_at=log.fetched_at)


def _followable(links: tuple[PageLink, ...], page: Page, tokens: frozenset[str]) -> tuple[PageLink, ...]:
    """Returns the links, none of them to be followed where the page says so."""
    if consent.forbids_links(page.signals, tokens):
        return tuple(PageLink(link.url, True) for link in links)
    return links
