"""The records of crawl/: a row of a table each; the dataclass is the schema.

Keys: `url_key` is the first 32 hex digits of sha256 of the normalised URL (crawl/urls.py).  Times are ISO 8601 UTC.
An address (part, offset, length, sha256) names bytes that were written once; `part` is relative to the output root.
Empty text means "not known"; where the difference to "empty" matters the field says so.
"""
from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable
from typing import Any

ALLOW, DENY, UNKNOWN = "allow", "deny", "unknown"
NOT_MODIFIED, UNCHANGED, NOT_DUE = "not_modified", "unchanged", "not_due"
STORED = frozenset({"ok", NOT_MODIFIED, UNCHANGED, NOT_DUE})   # outcomes of a fetch whose row has the address of a body


class Row:
    """A record that travels: pickled as its class and values, in half the time that a frozen dataclass takes."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        kind: Any = type(self)
        values, names = _values(kind)
        return (_made, (kind, values(self))) if names else (kind, values(self))


@functools.cache
def _values(kind: Any) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[str, ...]]:
    """Returns the function that gives the values of a record, those given by keyword last, and the keywords."""
    fields = dataclasses.fields(kind)
    keywords = tuple(field.name for field in fields if field.kw_only)
    names = (*(field.name for field in fields if not field.kw_only), *keywords)
    return (operator.attrgetter(*names) if len(names) > 1 else lambda row: (getattr(row, names[0]),)), keywords


def _made(kind: Any, values: tuple[Any, ...]) -> Any:
    names = _values(kind)[1]
    return kind(*values[:-len(names)], **dict(zip(names, values[-len(names):], strict=True)))


@dataclasses.dataclass(frozen=True, slots=True)
class CrawlEntry(Row):
    """A URL the crawl knows: a row of crawldb."""

    url_key: str
    url: str
    kind: str                      # page, sitemap
    depth: int                     # links from a seed; of a sitemap: from robots.txt
    status: str                    # due, or the outcome that ended it (see FetchLog.outcome)
    retries: int
    discovered_round: int
    last_round: int                # -1 before the first fetch
    content: str = ""              # fingerprint of the page it gave last (crawl/fingerprint.py), "" without one
    interval_s: int = 0            # between two requests of recrawls (crawl/schedule.py), 0 before the first answer
    next_due: str = ""             # when the next one may be made, "" for at any time


@dataclasses.dataclass(frozen=True, slots=True)
class DueDay(Row):
    """How many URLs are due again on one day: a row of the table `schedule`."""

    day: str                       # 2026-11-23, "" for at once
    first: str                     # the first moment of these
    urls: int


@dataclasses.dataclass(frozen=True, slots=True)
class Trap:
    """URLs of one group that a rule closed: a row of the table `traps`, which has the largest groups."""

    status: str                    # trap_calendar, too_many_pages, ... (crawl/traps.py)
    group: str                     # their template, folder or site
    urls: int                      # how many were closed
    examples: tuple[str, ...]      # the first of them, by name


@dataclasses.dataclass(frozen=True, slots=True)
class Signal(Row):
    """One permission signal as found: robots, meta_robots, x_robots_tag, tdm, ..."""

    name: str
    raw: str                       # as the server sent it, cut at 512 characters
    verdict: str                   # allow, deny or unknown
    evidence: str                  # e.g. the robots.txt line number and rule


@dataclasses.dataclass(frozen=True, slots=True)
class Earlier(Row):
    """The answer of a URL that an earlier crawl stored: what a recrawl asks to be told of changes to."""

    url: str                       # that answered, after redirects
    etag: str                      # "" without a well-formed one, as last_modified
    last_modified: str
    content_type: str
    body_bytes: int
    sha256: str
    part: str                      # address of the WARC record
    offset: int
    length: int
    signals: tuple[Signal, ...]    # of its headers


@dataclasses.dataclass(frozen=True, slots=True)
class FetchRow(Row):
    """One row of a fetch list: what a fetch shard is to do, in this order."""

    order_key: str                 # sha256(seed, url_key): the order inside a shard
    url_key: str
    url: str
    kind: str                      # page, sitemap, image
    depth: int
    politeness_key: str            # registrable domain, or host:port of an IP literal
    shard: int
    earlier: tuple[Earlier, ...] = ()    # at most one: what a recrawl knows of the URL
    standing: tuple[FetchLog, ...] = ()  # at most one: its row of before, which counts while it is not due


@dataclasses.dataclass(frozen=True, slots=True)
class FetchLog(Row):
    """One row for each row of the fetch list: how it ended, and where its bytes are."""

    url_key: str
    url: str
    kind: str
    depth: int
    outcome: str                   # ok, http_404, timeout_total, robots_denied, ...: fetch_shard.py lists them
    http_status: int               # 0 without an answer
    final_url: str
    redirects: tuple[str, ...]     # URLs passed on the way
    content_type: str              # the header, cut at 256 characters
    fetched_at: str
    body_bytes: int                # decoded body
    truncated: bool
    signals: tuple[Signal, ...]
    permission: str                # allow, deny, unknown: the verdict over the signals
    part: str                      # address of the stored bytes, "" if none is stored
    offset: int                    # of the WARC record, or of the image bytes themselves
    length: int
    sha256: str                    # hex, of the body
    warc_record_id: str            # urn:uuid:..., "" for images
    round: int
    headers: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)   # `name: value`, where a refusal in a
    #                                header or meta element kept the body from being stored; else none
    links: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)     # of such a page, those to be followed
    etag: str = dataclasses.field(default="", kw_only=True)                  # of a page, as the server sent it
    last_modified: str = dataclasses.field(default="", kw_only=True)
    revisit_part: str = dataclasses.field(default="", kw_only=True)          # address of the revisit record, where
    revisit_offset: int = dataclasses.field(default=0, kw_only=True)         # `part` is that of earlier bytes
    revisit_length: int = dataclasses.field(default=0, kw_only=True)
    robots_sha256: str = dataclasses.field(default="", kw_only=True)         # Host.sha256 of the robots.txt that
    #                                decided about the last hop, "" where none was read


@dataclasses.dataclass(frozen=True, slots=True)
class ImageLog(FetchLog):
    """The row of a fetch list of kind `image`: as FetchLog, and what the header of the bytes says."""

    format: str                    # jpg, png, webp, gif, bmp ("" when unknown or not stored)
    width: int                     # px as stored, before orientation; 0 when unknown
    height: int


@dataclasses.dataclass(frozen=True, slots=True)
class Capture(Row):
    """One answer for a file of a site itself, a hop of a redirect too, as a WARC record: what a decision rests on."""

    url: str
    http_status: int
    content_type: str              # the header, cut at 256 characters
    fetched_at: str
    part: str                      # address of the response record, relative to the output root
    offset: int
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class Host(Row):
    """What one authority answered for /robots.txt: a row of the `hosts` table of a fetch shard."""

    authority: str                 # scheme://host:port, the key
    robots: str                    # ok, unavailable, forbidden, unreachable (crawl/robots_access.py)
    cause: str                     # outcome of the request: ok, http_404, timeout_total, too_many_redirects, ...
    http_status: int
    hops: int                      # redirects followed
    final_url: str
    fetched_at: str
    expires_at: str                # after this the file is asked for again
    unreachable_since: str         # "" unless it is unreachable, or an old copy stands in for it
    looks_html: bool
    truncated: bool
    crawl_delay_s: float           # for our agent; 0.0 when none is asked for
    sitemaps: tuple[str, ...]
    sha256: str                    # hex, of the body
    body: bytes                    # at most 512 KiB, decoded
    tdm_cause: str                 # outcome of the request for /.well-known/tdmrep.json, or what forbade one
    tdm_body: bytes                # that file, empty without one
    ai_cause: str = ""             # as tdm_cause, for /ai.txt; "" when policy does not want it
    ai_body: bytes = b""           # that file, empty without one
    visit_time: str = ""           # Visit-time for our agent as written: recorded, not obeyed
    captures: tuple[Capture, ...] = ()   # every answer that this rests on, in order (crawl/robots_captures.py)
    address: str = ""              # IP address that the authority itself answered from, "" where it did not


@dataclasses.dataclass(frozen=True, slots=True)
class ServerAddress(Row):
    """Where a server was met before: a row of the table `addresses` of a fetch in several shards."""

    politeness_key: str
    address: str                   # the smallest, as text, of its hosts' public ones


@dataclasses.dataclass(frozen=True, slots=True)
class Page(Row):
    """What a fetched page says of itself."""

    url_key: str
    url: str
    final_url: str
    outcome: str                   # parsed, or why not: parse_failed, parse_crashed, parse_timeout, optout_meta, ...
    title: str
    description: str               # meta description or og:description
    charset: str                   # label used to decode
    html_lang: str
    text_sample: str               # visible text, first 4,000 characters: for the language of the page
    signals: tuple[Signal, ...]    # the fetch's and the page's own (meta robots, meta tdm-reservation)
    permission: str
    num_images: int
    num_links: int
    warc_record_id: str
    payload_sha256: str
    fetched_at: str
    fingerprint: str = ""          # of what it says (crawl/fingerprint.py), "" where it was not parsed


@dataclasses.dataclass(frozen=True, slots=True)
class Link(Row):
    """One link found on a page."""

    src_key: str
    dst_key: str
    dst_url: str
    depth: int                     # of the target
    nofollow: bool
    kind: str = "page"             # of the target: page, or sitemap


@dataclasses.dataclass(frozen=True, slots=True)
class SitemapImage(Row):
    """One image that a sitemap gives to a page: what becomes a candidate when the page's permission is known."""

    page_key: str
    page_url: str
    image_key: str
    image_url: str
    sitemap_key: str
    ordinal: int                   # in that sitemap, from 0
    title: str                     # at most 2,048 characters, as the caption
    caption: str
    licence: str                   # a URL, or ""


@dataclasses.dataclass(frozen=True, slots=True)
class SourceText(Row):
    """One text that may describe an image, as found (charset decoded, entities decoded, white space folded)."""

    source: str                    # alt, title, aria_label, figcaption, og_description, heading, surrounding, ...;
                                   # of sitemaps image_caption and image_title
    text: str                      # at most 2,048 characters


@dataclasses.dataclass(frozen=True, slots=True)
class Candidate(Row):
    """One occurrence of an image on a page: the unit of the `candidates` table."""

    occurrence: str                # 32 hex digits of sha256(page url_key, image url_key, ordinal), of an archive's page
                                   # with its place there
    page_key: str
    page_url: str                  # "" for a row of a caption table: there is no page
    image_key: str
    image_url: str
    found_in: str                  # table, sitemap, img.src, img.srcset, picture.source, noscript, og:image, ...
    alternatives: tuple[str, ...]  # other URLs of the same DOM node
    texts: tuple[SourceText, ...]
    alt_present: bool              # alt="" (decorative) differs from no alt
    declared_width: int            # px, 0 when not declared
    declared_height: int
    ordinal: int                   # in document order, from 0
    images_on_page: int
    in_main: bool                  # not inside nav, header, footer or aside
    repeats_on_page: int           # how often this URL stands on the page
    link_href: str                 # target of the surrounding <a>
    html_lang: str                 # nearest lang attribute
    page_title: str
    page_text: str                 # Page.text_sample, for the language of the page
    permission: str                # the page's
    signals: tuple[Signal, ...]
    page_record_id: str
    page_sha256: str
    page_fetched_at: str
    extras: str = ""               # JSON object of a caption table's further columns; "" where there are none
    expected: tuple[str, ...] = () # hashes that the table gives of the image: sha256:…, md5:…, perceptual:…


@dataclasses.dataclass(frozen=True, slots=True)
class BrokenRow(Row):
    """One row of a caption table or record of an archive that was passed over: a row of the table `broken`."""

    table: int                     # which of the tables or archives, from 0
    row: int                       # in that table, from 0; of an archive: where the record begins, in bytes
    outcome: str                   # caption_tables.Row.fault or bad_url; crawl/warc_reader.py, warc_pages.py
    excerpt: str                   # of its URL or of the row, at most 200 characters


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFetch(Row):
    """One image URL to fetch: what judge asks for, and what the images stage answers with (one row each way)."""

    url_key: str
    url: str


@dataclasses.dataclass(frozen=True, slots=True)
class Image(Row):
    """How one image URL ended: a row of the `images` table; facts come from the header, nothing is decoded here."""

    url_key: str
    url: str
    outcome: str                   # ok, or a FetchLog outcome, or not_an_image, too_many_pixels, ...
    http_status: int
    final_url: str
    fetched_at: str
    signals: tuple[Signal, ...]
    permission: str
    format: str                    # jpg, png, webp, gif, bmp ("" when unknown)
    width: int                     # px as stored, before orientation; 0 when unknown
    height: int
    num_bytes: int
    sha256: str
    part: str                      # address of the original bytes, relative to the output root
    offset: int
    length: int
    content_type: str = ""         # the header, cut at 256 characters; crawl.sniff.is_served_otherwise compares
