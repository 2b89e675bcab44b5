"""One record of an archive -> a log row and the page it holds, or what it is instead.  No page is fetched.

What an archive knows: the recorded headers, so X-Robots-Tag, TDM reservation and Content-Usage of that day; the page's
own meta elements come with the page.  What it does not: robots.txt as it speaks to us.  That signal is there, unknown,
and policy decides (`permission.unknown` of judge).
"""
from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Mapping
from typing import NamedTuple

from crawl import consent, urls
from crawl.decode import decode
from crawl.records import DENY, UNKNOWN, FetchLog, Signal
from crawl.warc_reader import Record

# Common Crawl asked robots.txt in its own name; nobody recorded the answer for ours.
ROBOTS_UNKNOWN = Signal("robots", "", UNKNOWN, "the archive does not record it")
_HTML = re.compile(r"\s*(?:text/html|application/xhtml\+xml)\b", re.IGNORECASE)
_MARKUP = re.compile(rb"\s*(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body|!--)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})\b")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}T[0-9:.]{2,20}Z")
_IDENTITY = re.compile(r"<?([\x21-\x7e]{1,128}?)>?")
_MAX_HEADERS = 256
_MAX_LINE = 16 << 10
_GZIP_MAGIC = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True, slots=True)
class PageRules:
    """How records are read."""

    product_token: str = "imagebert-lait"     # as of crawl: X-Robots-Tag may address it
    umbrella_agents: tuple[str, ...] = ()     # other agents whose refusal we take for ours, e.g. CCBot, GPTBot
    max_body: int = 10 << 20                  # decoded bytes of a page; the rest is cut and marked
    max_ratio: int = 200                      # decoded : encoded, after the first MiB

    def __post_init__(self) -> None:
        for name in ("max_body", "max_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")

    @property
    def tokens(self) -> frozenset[str]:
        """Returns the lower-case agent names whose refusals bind us."""
        return frozenset(name.lower() for name in (self.product_token, *self.umbrella_agents))


@dataclasses.dataclass(frozen=True, slots=True)
class Other:
    """A record that is no answer for a page: why, and whether it should have been one."""

    outcome: str                   # other_record, revisit; or a fault: of Record.fault, no_url, bad_url, bad_http
    broken: bool


class Address(NamedTuple):
    """Where a record lies in an archive."""

    part: str                      # name of the archive, as listed; "" where nobody says
    offset: int                    # of the record, or of the gzip member it lies in
    length: int                    # of these bytes; 0 where they have no end of their own


NOWHERE = Address("", 0, 0)


def page_in(record: Record, rules: PageRules, part: str = "") -> tuple[FetchLog, bytes] | Other:
    """Returns the log row and decoded body of a response record; its outcome is `ok` only for a page to be parsed.

    `part` names the archive: with the record's place it is the address of its bytes.
    Outcomes are those of a fetch (crawl/fetch_shard.py): ok, http_404, not_html, empty_body, bomb, bad_encoding,
    optout_header.
    """
    if record.fault:
        return Other(record.fault, True)
    if record.fields["warc-type"].lower() == "revisit":
        return Other("revisit", False)
    if record.fields["warc-type"].lower() != "response":
        return Other("other_record", False)
    url = answered_url(record.fields.get("warc-target-uri", ""))
    if isinstance(url, Other):
        return url
    status = _STATUS.match(record.block)
    end = _HEAD_END.search(record.block)
    if status is None:
        return Other("bad_http", True)
    headers = http_headers(record.block[:end.start()] if end else record.block)
    outcome, body, cut = _body(int(status[1]), headers, record.block[end.end():] if end else b"", rules)
    cut = cut or "warc-truncated" in record.fields
    address = Address(part, record.offset, record.length)
    return log_row(record.fields, url, int(status[1]), headers, outcome, body, cut, rules, address)


def answered_url(target: str) -> str | Other:
    """Returns the normalised URL of a WARC-Target-URI; wget wrote `<>` around it."""
    target = target.removeprefix("<").removesuffix(">")
    if not target:
        return Other("no_url", True)
    if target.partition(":")[0].lower() not in ("http", "https"):
        return Other("other_record", False)              # an answer to a DNS query, say
    return urls.normalize(target) or Other("bad_url", True)


def log_row(fields: Mapping[str, str], url: str, status: int, headers: tuple[tuple[str, str], ...], outcome: str,
            body: bytes, truncated: bool, rules: PageRules,
            address: Address = NOWHERE) -> tuple[FetchLog, bytes]:
    """Returns the log row of an answer, and its body where it is ours to look at; `fields` are the WARC record's."""
    told = consent.from_headers(headers, rules.tokens)
    signals, permission = (ROBOTS_UNKNOWN, *told), consent.verdict(told)       # unknown where no header tells
    if outcome == "ok" and permission == DENY:
        outcome = "optout_header"
    date = fields.get("warc-date", "")
    identity = _IDENTITY.fullmatch(fields.get("warc-record-id", ""))
    kept = body if outcome == "ok" else b""
    log = FetchLog(
        url_key=urls.url_key(url), url=url, kind="page", depth=0, outcome=outcome, http_status=status, final_url=url,
        redirects=(), content_type=header(headers, "content-type")[:256],
        fetched_at=date if _DATE.fullmatch(date) else "", body_bytes=len(body), truncated=truncated, signals=signals,
        permission=permission, part=address.part, offset=address.offset, length=address.length,
        sha256=hashlib.sha256(kept).hexdigest() if kept else "",
        warc_record_id=identity[1] if identity else "", round=0)
    return log, kept


def http_headers(head: bytes) -> tuple[tuple[str, str], ...]:
    """Returns the headers of an answer's head; folded lines are joined, what is no header is left out."""
    found: list[tuple[str, str]] = []
    for line in head.decode("latin-1").split("\n")[1:]:
        line = line.rstrip("\r")[:_MAX_LINE]
        name, colon, value = line.partition(":")
        if line[:1] in (" ", "\t"):
            if found:
                found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        elif colon and len(found) < _MAX_HEADERS:
            found.append((name.strip(), value.strip()))
    return tuple(found)


def header(headers: tuple[tuple[str, str], ...], name: str) -> str:
    """Returns all values of a header joined by a comma, "" without one."""
    return ", ".join(value for key, value in headers if key.lower() == name)


def _body(status: int, headers: tuple[tuple[str, str], ...], entity: bytes,
          rules: PageRules) -> tuple[str, bytes, bool]:
    """Returns (outcome, decoded body, whether it is cut)."""
    if status not in (200, 203):
        return f"http_{status}", b"", False
    content_type = header(headers, "content-type")
    if content_type and not _HTML.match(content_type):
        return "not_html", b"", False
    if "chunked" in header(headers, "transfer-encoding").lower():
        entity = unchunked(entity)
    encoding = header(headers, "content-encoding")
    outermost = encoding.lower().rpartition(",")[2].strip()
    if outermost in ("gzip", "x-gzip") and not entity.startswith(_GZIP_MAGIC):
        encoding = ""                                    # decoded by who archived it, the header left as it was
    decoded = decode(entity, encoding, rules.max_body, rules.max_ratio)
    if decoded.outcome != "ok":
        return decoded.outcome, b"", False
    if not decoded.body:
        return "empty_body", b"", False
    if not content_type and not _MARKUP.match(decoded.body):
        return "not_html", b"", False
    return "ok", decoded.body, decoded.truncated


def unchunked(entity: bytes) -> bytes:
    """Returns a body without its chunked coding (RFC 9112, 7.1); as it is from where it does not have any.

    >>> unchunked(b"5\\r\\n<html\\r\\n1;x=y\\r\\n>\\r\\n0\\r\\n\\r\\n")
    b'<html>'
    >>> unchunked(b"<html>")
    b'<html>'
    """
    pieces: list[bytes] = []
    at = 0
    while at < len(entity):
        size = _CHUNK_SIZE.match(entity, at)
        if size is None:
            pieces.append(entity[at:])
            break
        length = int(size[1], 16)
        if not length:
            break
        pieces.append(entity[size.end():size.end() + length])
        at = size.end() + length
        at += 2 if entity[at:at + 2] == b"\r\n" else entity[at:at + 1] == b"\n"
    return b"".join(pieces)
