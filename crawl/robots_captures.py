"""The answers that permission rests on, as WARC: what Common Crawl keeps as its subset `robotstxt`.

    STAGE/shard-0007/part-00000-5d01c2aa93e7.robots.warc.gz     warcinfo, then a request and a response for each answer

Each part of a fetch, of pages or of images, has one where files of sites were asked for: robots.txt, tdmrep.json and
ai.txt, their redirects and refusals too.  Rows of `hosts` address the responses, so that long after, a decision can be
shown with the very bytes that made it (crawl/robots_stored.py).
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from crawl import warc
from crawl.answers import OK_STATUSES, Answer, SiteAnswer
from crawl.records import Capture, Host
from crawl.request_head import request_head
from crawl.stages import recorded_time

SUFFIX = ".robots.warc.gz"


class CaptureFile:
    """The captures of the open part of a shard, in memory: at most 512 KiB each, and compressed."""

    def __init__(self, name: str, user_agent: str = "", round_number: int = 0) -> None:
        """Args: name: shard and number of the part, which make the record ids its own."""
        self._name = f"round-{round_number}/{name}{SUFFIX}"
        self._user_agent = user_agent
        self._members: list[bytes] = []
        self._size = 0
        self._records = 0

    @property
    def size(self) -> int:
        """Returns the number of bytes so far."""
        return self._size

    @property
    def data(self) -> bytes:
        """Returns the whole file, empty where there is no answer in it."""
        return b"".join(self._members)

    def add(self, host: Host, answers: Iterable[SiteAnswer]) -> Host:
        """Takes the answers for the files of a host; returns it with their addresses, their `part` still empty."""
        return dataclasses.replace(host, captures=host.captures + tuple(self._capture(one) for one in answers))

    def _capture(self, one: SiteAnswer) -> Capture:
        if not self._members:
            self._append(warc.warcinfo(self._name, recorded_time(), self._user_agent))
        answer, date = one.answer, one.fetched_at
        self._records += 1
        identity = warc.identity(f"site file {self._name} {self._records} {answer.url} {date}")
        head = request_head(answer.url, "robots", self._user_agent)
        self._append(warc.request(head, answer.url, identity, date))
        offset, length = self._append(warc.response(_as_kept(answer), identity, date))
        return Capture(answer.url, answer.status, answer.header("content-type")[:256], date, "", offset, length)

    def _append(self, member: bytes) -> tuple[int, int]:
        self._members.append(member)
        offset, self._size = self._size, self._size + len(member)
        return offset, len(member)


def placed(host: Host, part: str) -> Host:
    """Returns a host whose new captures lie in the file `part`."""
    return dataclasses.replace(host, captures=tuple(
        one if one.part else dataclasses.replace(one, part=part) for one in host.captures))


def _as_kept(answer: Answer) -> Answer:
    """Returns an answer that says where its body is not kept: of what was no file, or no whole one."""
    if answer.outcome != "ok":
        return dataclasses.replace(answer, cut="unspecified")
    return answer if answer.status in OK_STATUSES else dataclasses.replace(answer, cut="length")
