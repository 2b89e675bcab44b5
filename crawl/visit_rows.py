"""What is kept of a visit: its log row, its bytes, and the WARC records beside them."""
from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from crawl import storage, warc
from crawl.answers import Answer
from crawl.block_list import BlockList
from crawl.errors import UsageError
from crawl.page_refusal import PageRefusals
from crawl.policy import FetchPolicy
from crawl.records import NOT_DUE, NOT_MODIFIED, STORED, UNCHANGED, Earlier, FetchLog, FetchRow, ImageLog
from crawl.request_head import request_head
from crawl.revalidate import validators
from crawl.sniff import sniff
from crawl.suppress import SUPPRESSED
from crawl.visits import Visit

# Refused in the answer itself, so that there is a body not to be stored.
REFUSED_AFTER = frozenset({"optout_header", "optout_meta"})
_MAX_HEADERS, _MAX_HEADER = 64, 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """What one visit leaves."""

    row: FetchLog
    stored: bytes = b""            # to be addressed by the row: a WARC member, an image
    beside: bytes = b""            # WARC members in front of it
    revisit: bytes = b""           # instead of it, where earlier bytes stand
    denied: bytes = b""            # a body that was refused, for the quarantine


class VisitRows:
    """Makes the rows of one fetch shard."""

    def __init__(self, kind: str, round_number: int, out: str, policy: FetchPolicy, block_list: BlockList,
                 refusals: PageRefusals) -> None:
        self._kind, self._round, self._out, self._policy = kind, round_number, out, policy
        self._block_list, self._refusals = block_list, refusals

    def kept(self, visit: Visit) -> Kept:
        """Returns the log row of a visit and its bytes: to be stored where it is `ok`, for the quarantine where not."""
        if visit.row.standing:
            return Kept(_not_due(visit.row, self._round))
        answer = visit.fetched.answer
        log = self._row(visit)
        held = self._held(visit, log)
        if held is not None:
            log = _standing(log, visit.row.earlier[0], held, answer)
        if log.outcome in STORED and log.kind == "page":
            log = self._refusals.settle(log, held.body if held else answer.body)
        if log.outcome in REFUSED_AFTER:
            log = dataclasses.replace(log, warc_record_id="", part="", offset=0, length=0,
                                      headers=_kept_headers(answer.headers))
            wanted = self._policy.keep_denied and answer.body and not (
                self._kind == "image" and self._block_list.refusal(answer.body))
            # What is on the list lies nowhere, in no quarantine either.
            return Kept(log, denied=self._bytes(answer, log) if wanted else b"")
        if log.outcome not in STORED:
            return Kept(log)
        if self._kind == "image":
            return Kept(log, answer.body)
        beside = self._request(visit, log) + warc.metadata(log)
        if held is not None:
            return Kept(log, beside=beside, revisit=warc.revisit(answer, warc.record_id(log.url_key, self._round),
                                                                 log.fetched_at, held, log.outcome == NOT_MODIFIED))
        return Kept(log, self._bytes(answer, log), beside)

    def _row(self, visit: Visit) -> FetchLog:
        fetched, answer = visit.fetched, visit.fetched.answer
        outcome, facts = fetched.outcome, {}
        if outcome in STORED and self._block_list.arrived_at_suppressed(fetched.final_url):
            outcome = SUPPRESSED
        if self._kind == "image":
            facts = {"format": "", "width": 0, "height": 0}
            if outcome == "ok":
                sniffed = sniff(answer.body, self._policy.max_pixels)
                outcome = sniffed.reason or self._block_list.refusal(answer.body) or "ok"
                facts = {"format": sniffed.format, "width": sniffed.width, "height": sniffed.height}
        is_page = self._kind == "page" and outcome == "ok"
        etag, modified = validators(answer) if is_page else ("", "")
        values: dict[str, Any] = dict(
            url_key=visit.row.url_key, url=visit.row.url, kind=visit.row.kind, depth=visit.row.depth, outcome=outcome,
            http_status=answer.status, final_url=fetched.final_url, redirects=fetched.redirects,
            content_type=answer.header("content-type")[:256], fetched_at=visit.fetched_at,
            body_bytes=len(answer.body), truncated=answer.truncated, signals=visit.signals,
            permission=visit.permission, part="", offset=0, length=0,
            sha256=hashlib.sha256(answer.body).hexdigest() if answer.body else "",
            warc_record_id=warc.record_id(visit.row.url_key, self._round) if is_page else "", round=self._round,
            etag=etag, last_modified=modified, robots_sha256=visit.robots_sha256, **facts)
        return (ImageLog if self._kind == "image" else FetchLog)(**values)

    def _held(self, visit: Visit, log: FetchLog) -> warc.Response | None:
        """Returns the stored answer that stands, None where the new one counts.

        It stands after a 304, and where the same bytes came again, coding and all.
        """
        if log.outcome == NOT_MODIFIED:
            return self._earlier(visit.row.earlier[0])
        if log.outcome != "ok" or self._kind != "page" or log.truncated or not visit.row.earlier:
            return None
        earlier = visit.row.earlier[0]
        if not earlier.sha256 or earlier.sha256 != log.sha256:
            return None
        found = self._earlier(earlier)
        return found if found.payload_digest == warc.digest(visit.fetched.answer.entity) else None

    def _earlier(self, earlier: Earlier) -> warc.Response:
        path = storage.join(self._out, earlier.part)
        try:
            return warc.read_response(path, earlier.offset, earlier.length, self._policy.page_decoded_bytes)
        except (warc.BadRecord, OSError, EOFError) as error:
            raise UsageError(f"{path}: the bytes of an earlier crawl that still stand cannot be read ({error}); put "
                             "its folder back, or crawl anew without --recrawl") from error

    def _bytes(self, answer: Answer, log: FetchLog) -> bytes:
        if self._kind == "image":
            return answer.body
        return warc.response(answer, warc.record_id(log.url_key, self._round), log.fetched_at)

    def _request(self, visit: Visit, log: FetchLog) -> bytes:
        asked = visit.conditions
        head = request_head(log.final_url, log.kind, self._policy.header, asked)
        return warc.request(head, log.final_url, warc.record_id(log.url_key, log.round), log.fetched_at)


def _not_due(row: FetchRow, round_number: int) -> FetchLog:
    """Returns the row of a URL that is not asked for yet: that of before, with the times and signals of then."""
    return dataclasses.replace(row.standing[0], outcome=NOT_DUE, depth=row.depth, kind=row.kind, round=round_number,
                               revisit_part="", revisit_offset=0, revisit_length=0)


def _standing(log: FetchLog, earlier: Earlier, held: warc.Response, answer: Answer) -> FetchLog:
    """Returns the row of a page whose earlier bytes stand: their address, and what the new answer says of them."""
    etag, modified = validators(answer)
    return dataclasses.replace(
        log, outcome=NOT_MODIFIED if log.outcome == NOT_MODIFIED else UNCHANGED,
        content_type=log.content_type or earlier.content_type, body_bytes=earlier.body_bytes, truncated=False,
        part=earlier.part, offset=earlier.offset, length=earlier.length, sha256=earlier.sha256,
        warc_record_id=held.record_id, etag=etag or earlier.etag, last_modified=modified or earlier.last_modified)


def _kept_headers(headers: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Returns the headers of a refused answer, bounded; cookies are nobody's evidence."""
    return tuple(f"{name}: {value}"[:_MAX_HEADER] for name, value in headers[:_MAX_HEADERS]
                 if name.lower() != "set-cookie")
