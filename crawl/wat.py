"""One record of a WAT file -> what its page gives: image URLs with alt and title, headers' and meta elements' signals.

A WAT file (Common Crawl's extract of a WARC file) holds a JSON value a page.  It knows `src`, alt and title of an image
and nothing around it: no srcset, no lazy attributes, no text (crawling reference, 10.5).  So it is the cheap way to
candidates, and the WARC file is the good one.  An img without alt and title, of which it knows nothing, is counted in
`Page.num_images` and no row.
"""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import html
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from crawl import consent, urls
from crawl.candidates import META_IMAGES
from crawl.html import MAX_META, MAX_META_VALUE, MAX_TITLE, fold
from crawl.image_context import MAX_TEXT, first_words
from crawl.parse import Found, failed
from crawl.records import DENY, Candidate, FetchLog, Page, SourceText
from crawl.warc_pages import Other, PageRules, answered_url, log_row
from crawl.warc_reader import Record

_IMAGE = "IMG@/src"


class _Link(msgspec.Struct):
    path: str = ""
    url: str = ""
    alt: str | None = None
    title: str | None = None


class _Head(msgspec.Struct, rename={"title": "Title", "base": "Base", "metas": "Metas"}):
    title: str = ""
    base: str = ""
    metas: list[dict[str, Any]] = []


class _Html(msgspec.Struct, rename={"head": "Head", "links": "Links"}):
    head: _Head = msgspec.field(default_factory=_Head)
    links: list[_Link] = []


class _Message(msgspec.Struct, rename={"status": "Status"}):
    status: str = ""


class _Http(msgspec.Struct, rename={"message": "Response-Message", "headers": "Headers", "html": "HTML-Metadata"}):
    message: _Message = msgspec.field(default_factory=_Message)
    headers: dict[str, Any] = {}
    html: _Html | None = None


class _Payload(msgspec.Struct, rename={"http": "HTTP-Response-Metadata"}):
    http: _Http | None = None


class _Envelope(msgspec.Struct, rename={"fields": "WARC-Header-Metadata", "payload": "Payload-Metadata"}):
    fields: dict[str, Any] = {}
    payload: _Payload = msgspec.field(default_factory=_Payload)


class _Wat(msgspec.Struct, rename={"envelope": "Envelope"}):
    envelope: _Envelope


_decode = msgspec.json.Decoder(_Wat, strict=False).decode


def found_in_wat(record: Record, rules: PageRules, max_candidates: int,
                 place: str) -> tuple[FetchLog, Found | None] | Other:
    """Returns the log row of the answer a record tells of, and what its page gives where there is one.

    `place` names the record among all: two captures of a page are two occurrences.  A record that is no JSON of this
    kind is `bad_json`.
    """
    if record.fault:
        return Other(record.fault, True)
    if record.fields["warc-type"].lower() != "metadata":
        return Other("other_record", False)
    try:
        envelope = _decode(record.block).envelope
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Other("bad_json", True)
    told, http = envelope.fields, envelope.payload.http
    if told.get("WARC-Type") == "revisit":
        return Other("revisit", False)
    if told.get("WARC-Type") != "response" or http is None:
        return Other("other_record", False)              # of a request, of crawl metadata
    url = answered_url(str(told.get("WARC-Target-URI", "")))
    if isinstance(url, Other):
        return url
    status = http.message.status
    if not (status.isascii() and status.isdecimal() and len(status) == 3):
        return Other("bad_http", True)
    outcome = ("ok" if http.html is not None else "not_html") if status in ("200", "203") else f"http_{status}"
    fields = {name.lower(): str(told.get(name, "")) for name in ("WARC-Date", "WARC-Record-ID", "WARC-Truncated")}
    log, _ = log_row(fields, url, int(status), tuple(_headers(http.headers)), outcome, b"",
                     bool(fields["warc-truncated"]), rules)
    if log.outcome != "ok" or http.html is None:
        return log, None
    return log, _found(log, http.html, rules, max_candidates, place)


def _headers(headers: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields headers; one that came repeatedly is a list."""
    for name, value in headers.items():
        for one in value if isinstance(value, list) else (value,):
            yield name, str(one)


def _found(log: FetchLog, page_html: _Html, rules: PageRules, max_candidates: int, place: str) -> Found:
    head = page_html.head
    metas = tuple(_metas(head.metas))
    named = dict(reversed(metas))
    signals = log.signals + consent.from_meta(metas, rules.tokens)
    page = dataclasses.replace(
        failed(log, "parsed"), title=_text(head.title)[:MAX_TITLE], signals=signals,
        permission=consent.verdict(signals),
        description=_text(named.get("description") or named.get("og:description", ""))[:MAX_META_VALUE])
    if page.permission == DENY:
        return Found(dataclasses.replace(page, outcome="optout_meta", title="", description=""))
    base = (urls.normalize(_address(head.base), log.url) if head.base else None) or log.url
    named_images = list(_meta_images(metas, named))
    links = [link for link in page_html.links if link.path == _IMAGE and link.url]
    page = dataclasses.replace(page, num_images=len(named_images) + len(links))
    return Found(page, (), tuple(_candidates(named_images, links, base, page, max_candidates, place)))


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


def _candidates(named: list[tuple[str, str, str | None, str]], links: list[_Link], base: str, page: Page, most: int,
                place: str) -> Iterator[Candidate]:
    """Yields the images with a text of their own, and those that meta elements name; the others only count."""
    repeats = collections.Counter([address for _, address, _, _ in named] + [link.url for link in links])
    images = [(where, address, alt, said, "og_description") for where, address, alt, said in named]
    images += [("img.src", link.url, link.alt, link.title or "", "title") for link in links]
    title = (SourceText("page_title", page.title),) if page.title else ()
    total = len(images)
    for ordinal, (where, address, alt, said, source) in enumerate(images[:most]):
        texts = title
        if said and (text := _text(said)):
            texts = (SourceText(source, text), *texts)
        if alt and (text := _text(alt)):
            texts = (SourceText("alt", text), *texts)
        if texts is title and where == "img.src":
            continue
        url = urls.normalize(_address(address), base)
        if url is None:
            continue
        key = urls.url_key(url)
        yield Candidate(
            occurrence=hashlib.sha256(f"{place} {key} {ordinal}".encode()).hexdigest()[:32], page_key=page.url_key,
            page_url=page.url, image_key=key, image_url=url, found_in=where, alternatives=(), texts=texts,
            alt_present=alt is not None, declared_width=0, declared_height=0, ordinal=ordinal, images_on_page=total,
            in_main=where == "img.src", repeats_on_page=repeats[address], link_href="", html_lang="",
            page_title=page.title, page_text="", permission=page.permission, signals=page.signals,
            page_record_id=page.warc_record_id, page_sha256="", page_fetched_at=page.fetched_at)


def _text(raw: str) -> str:
    """Returns text folded, and its character references resolved: older WAT files hold them as they stood."""
    text = fold(html.unescape(raw) if "&" in raw else raw)
    return text if len(text) <= MAX_TEXT else first_words(text, MAX_TEXT)


def _address(url: str) -> str:
    return url.replace("&amp;", "&")
