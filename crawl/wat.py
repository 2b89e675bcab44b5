"""One record of a WAT file -> what its page gives: image URLs with alt and title, headers' and meta elements' signals.

A WAT file (Common Crawl's extract of a WARC file) holds a JSON value a page.  It knows `src`, alt and title of an image
and nothing around it: no srcset, no lazy attributes, no text (crawling reference, 10.5).  So it is the cheap way to
candidates, and the WARC file is the good one.  An img without alt and title, of which it knows nothing, is counted in
`Page.num_images` and no row.
"""
from __future__ import annotations

import collections
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from crawl import consent, urls
from crawl.candidates import META_IMAGES
from crawl.html import MAX_META, MAX_META_VALUE, MAX_TITLE
from crawl.image_context import MAX_TEXT, first_words
from crawl.page_images import Own, PageImages
from crawl.records import DENY, FetchLog, Page
from crawl.warc_pages import NOWHERE, Address, Other, PageRules, answered_url, log_row
from crawl.warc_reader import Record
from crawl.wat_json import Container, Html, Link, decode

_IMAGE = "IMG@/src"
_PART = re.compile(r"(?!/)[!-~]{1,1024}")

def found_in_wat(record: Record, rules: PageRules, max_candidates: int,
                 place: str) -> tuple[FetchLog, PageImages | None] | Other:
    """Returns the log row of the answer a record tells of, and what its page gives where there is one.

    `place` names the record among all: two captures of a page are two occurrences.  A record that is no JSON of this
    kind is `bad_json`.
    """
    if record.fault:
        return Other(record.fault, True)
    if record.fields["warc-type"].lower() != "metadata":
        return Other("other_record", False)
    try:
        value = decode(record.block)
        told, http = value.envelope.told, value.envelope.payload.http
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Other("bad_json", True)
    if told.kind == "revisit":
        return Other("revisit", False)
    if told.kind != "response" or http is None:
        return Other("other_record", False)              # of a request, of crawl metadata
    url = answered_url(str(told.target))
    if isinstance(url, Other):
        return url
    status = http.message.status
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        return Other("bad_http", True)
    outcome = ("ok" if http.html is not None else "not_html") if status in ("200", "203") else f"http_{status}"
    fields = {"warc-date": str(told.date), "warc-record-id": str(told.identity)}
    log, _ = log_row(fields, url, int(status), tuple(_headers(http.headers)), outcome, b"", bool(told.truncated), rules,
                     _address_of(value.container))
    if log.outcome != "ok" or http.html is None:
        return log, None
    return log, _found(log, http.html, rules, max_candidates, place)


def _address_of(container: Container) -> Address:
    """Returns where the WARC file has the record, in the words of the WAT file."""
    name, offset, length = str(container.name), str(container.offset), str(container.gzip.length)
    if not _PART.fullmatch(name):
        return NOWHERE
    return Address(name, _number(offset), _number(length))


def _number(text: str) -> int:
    return int(text) if len(text) < 16 and text.isascii() and text.isdecimal() else 0


def _headers(headers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields headers; one that came repeatedly is a list."""
    for name, value in headers.items():
        for one in value if isinstance(value, list) else (value,):
            yield name, str(one)


def _found(log: FetchLog, page_html: Html, rules: PageRules, max_candidates: int, place: str) -> PageImages:
    head = page_html.head
    links = [link for link in page_html.links if link.path == _IMAGE and link.url]
    metas = tuple(_metas(head.metas))
    named = dict(reversed(metas))
    signals, permission = log.signals, log.permission
    if own := consent.from_meta(metas, rules.tokens):
        signals += own
        permission = consent.verdict(signals)
    refused = permission == DENY
    named_images = list(_meta_images(metas, named))
    images = 0 if refused else len(named_images) + len(links)
    description = "" if refused else named.get("description") or named.get("og:description", "")
    page = Page(
        url_key=log.url_key, url=log.url, final_url=log.final_url, outcome="optout_meta" if refused else "parsed",
        title="" if refused else _text(head.title)[:MAX_TITLE], description=_text(description)[:MAX_META_VALUE],
        charset="", html_lang="", text_sample="", signals=signals, permission=permission, num_images=images,
        num_links=0, warc_record_id=log.warc_record_id, payload_sha256=log.sha256, fetched_at=log.fetched_at)
    if refused:
        return PageImages(page, 0)
    base = (urls.normalize(_address(head.base), log.url) if head.base else None) or log.url
    repeats = collections.Counter([address for _, address, _, _ in named_images] + [link.url for link in links])
    title = (("page_title", page.title),) if page.title else ()
    return PageImages(page, images, [
        *_named_rows(named_images[:max_candidates], base, title, repeats, place),
        *_rows(links[:max(max_candidates - len(named_images), 0)], len(named_images), base, title, repeats, place)])


def _metas(metas: Iterable[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    for meta in list(metas)[:MAX_META]:
        name, content = meta.get("name") or meta.get("property") or meta.get("http-equiv"), meta.get("content")
        if isinstance(name, str) and isinstance(content, str):
            yield name.strip().lower(), content[:MAX_META_VALUE]


def _meta_images(metas: Iterable[tuple[str, str]], named: dict[str, str]) -> Iterator[tuple[str, str, str | None, str]]:
    """Yields (where, URL, alt, description) of the images that meta elements name, each URL once."""
    seen: set[str] = set()
    for name, content in metas:
        if name in META_IMAGES and content and content not in seen:
            seen.add(content)
            family = "twitter" if name.startswith("twitter:") else "og"
            yield (f"{family}:image", content, named.get(f"{family}:image:alt"),
                   named.get(f"{family}:description") or named.get("og:description", ""))


def _named_rows(named: list[tuple[str, str, str | None, str]], base: str, title: tuple[tuple[str, str], ...],
                repeats: Mapping[str, int], place: str) -> Iterator[Own]:
    """Yields the images that meta elements name."""
    for ordinal, (where, address, alt, said) in enumerate(named):
        url = urls.normalize(_address(address), base)
        if url is not None:
            texts = (("alt", _text(alt or "")), ("og_description", _text(said)), *title)
            key = urls.url_key(url)
            yield (_occurrence(place, key, ordinal), key, url, where, tuple(text for text in texts if text[1]),
                   alt is not None, ordinal, False, repeats[address])


def _rows(links: list[Link], first: int, base: str, title: tuple[tuple[str, str], ...], repeats: Mapping[str, int],
          place: str) -> Iterator[Own]:
    """Yields the images with a text of their own; the others only count."""
    for ordinal, link in enumerate(links, first):
        texts = title
        if link.title and (text := _text(link.title)):
            texts = (("title", text), *texts)
        if link.alt and (text := _text(link.alt)):
            texts = (("alt", text), *texts)
        if texts is not title and (url := urls.normalize(_address(link.url), base)) is not None:
            key = urls.url_key(url)
            yield (_occurrence(place, key, ordinal), key, url, "img.src", texts, link.alt is not None, ordinal, True,
                   repeats[link.url])


def _occurrence(place: str, key: str, ordinal: int) -> str:
    return hashlib.sha256(f"{place} {key} {ordinal}".encode()).hexdigest()[:32]


def _text(raw: str) -> str:
    """Returns text folded, and its character references resolved: older WAT files hold them as they stood."""
    text = " ".join((html.unescape(raw) if "&" in raw else raw).split())
    return text if len(text) <= MAX_TEXT else first_words(text, MAX_TEXT)


def _address(url: str) -> str:
    return url.replace("&amp;", "&")
