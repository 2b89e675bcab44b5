"""May the bytes of an earlier answer stand?  Conditional requests and what a 304 means; pure rules.

RFC 9110, section 13.1 (If-None-Match, If-Modified-Since), and RFC 9111, sections 3.2 and 4.3 (validation, and how a 304
updates what is stored).  A condition is sent to the URL that answered before and to no other hop.
"""
from __future__ import annotations

import re
from collections.abc import Iterable

from crawl import consent
from crawl.answers import Answer
from crawl.records import STORED, Earlier, FetchLog, Signal

NOT_MODIFIED_STATUS = 304
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,250}"')             # RFC 9110, 8.8.3, ASCII only
_DATE = re.compile(r"[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT")     # IMF-fixdate, 5.6.7
# The header that each signal of an answer comes from.
_HEADER_OF = {"x_robots_tag": "x-robots-tag", "robots_tag": "robots-tag", "rsl": "link",
              "tdm_header": "tdm-reservation", "content_usage": "content-usage"}


def validators(answer: Answer) -> tuple[str, str]:
    """Returns the ETag and the Last-Modified of an answer, "" for one that is absent, doubled or not well formed."""
    etag, modified = answer.header("etag").strip(), answer.header("last-modified").strip()
    return etag if _ETAG.fullmatch(etag) else "", modified if _DATE.fullmatch(modified) else ""


def conditions(earlier: tuple[Earlier, ...], url: str) -> tuple[str, ...]:
    """Returns the header lines that ask a URL for its body only where it has changed since it answered before.

    >>> conditions((Earlier("http://a.test/", '"v1"', "", "", 0, "", "", 0, 0, ()),), "http://a.test/")
    ('If-None-Match: "v1"',)
    """
    if not earlier or earlier[0].url != url:
        return ()
    named = ("If-None-Match", earlier[0].etag), ("If-Modified-Since", earlier[0].last_modified)
    return tuple(f"{name}: {value}" for name, value in named if value)


def is_about(earlier: Earlier, answer: Answer) -> bool:
    """Returns whether a 304 speaks of the very answer that we hold: it names no ETag but that one (RFC 9111, 4.3.4)."""
    etag = validators(answer)[0]
    return not etag or not earlier.etag or etag.removeprefix("W/") == earlier.etag.removeprefix("W/")


def merged_signals(earlier: Earlier, answer: Answer, tokens: frozenset[str]) -> tuple[Signal, ...]:
    """Returns the signals of the stored headers as a 304 updates them: each header it has takes the place of ours."""
    given = {name.lower() for name, _ in answer.headers}
    kept = (signal for signal in earlier.signals if _HEADER_OF.get(signal.name) not in given)
    return *kept, *consent.from_headers(answer.headers, tokens)


def stored_of(logs: Iterable[FetchLog]) -> FetchLog | None:
    """Returns the last of a URL's log rows that has its bytes, None without one."""
    return max((log for log in logs if log.outcome in STORED and log.part),
               key=lambda one: (one.round, one.url_key), default=None)


def earlier_of(logs: Iterable[FetchLog]) -> Earlier | None:
    """Returns what the last of a URL's log rows that has its bytes says of them; None where there is nothing to hold.

    A body that was cut is asked for whole.
    """
    log = stored_of(log for log in logs if not log.truncated)
    if log is None:
        return None
    return Earlier(url=log.final_url, etag=log.etag, last_modified=log.last_modified, content_type=log.content_type,
                   body_bytes=log.body_bytes, sha256=log.sha256, part=log.part, offset=log.offset, length=log.length,
                   signals=tuple(signal for signal in log.signals if signal.name in _HEADER_OF
                                 and signal.evidence.startswith("header")))
