"""Files of a service that the operator named and trusts, such as Common Crawl's: streamed, resumed where they are cut.

Never for a URL found in crawled data; the open web is crawl/fetch.py's.  Redirects lead only to hosts that were named,
nothing is taken from the environment (no proxy, no .netrc, no CA bundle), and every wait has an end.
"""
from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import re
import time
import urllib.parse
from collections.abc import Iterator
from typing import Any

import requests
import urllib3

from crawl.errors import UsageError

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE = frozenset({404, 410})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 5
_MAX_WAIT_S = 60.0
_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_IN_ITS_PLACE = ("niquests", "urllib3_future")
_FAULTS = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


@dataclasses.dataclass(frozen=True, slots=True)
class HttpLimits:
    """How long and how much; changes nothing about what a file holds."""

    connect_s: float = 10.0
    read_s: float = 60.0           # between two pieces
    total_s: float = 7200.0        # over all attempts
    max_bytes: int = 16 << 30
    attempts: int = 8              # in a row without one byte
    first_wait_s: float = 1.0      # doubled each time, at most a minute


class Gone(Exception):
    """The service has no such file."""

    def __init__(self, url: str, status: int) -> None:
        super().__init__(f"{url}: HTTP {status}")
        self.outcome = f"file_http_{status}"


@contextlib.contextmanager
def opened(url: str, hosts: frozenset[str] = frozenset(), limits: HttpLimits = HttpLimits()) -> Iterator[HttpBody]:  # noqa: B008, it is frozen
    """Gives the body of a URL as a file to read; redirects may lead to its own host and to `hosts`.

    Raises Gone for 404 and 410, and UsageError for what does not answer as it should after all attempts.
    """
    body = HttpBody(url, hosts | {_host(url)}, limits)
    try:
        yield body
    finally:
        body.close()


class RangeReader:
    """Ranges of files of one service, over connections that stay open; to be closed."""

    def __init__(self, limits: HttpLimits = HttpLimits()) -> None:   # noqa: B008, it is frozen
        self._limits = limits
        self._session = _session()

    def read(self, url: str, begin: int, length: int) -> bytes:
        """Returns at most `length` bytes from `begin`; raises Gone, and UsageError as `opened` does."""
        body = HttpBody(url, frozenset({_host(url)}), self._limits, begin, begin + length, self._session)
        pieces: list[bytes] = []
        while piece := body.read(length):
            pieces.append(piece)
        return b"".join(pieces)

    def size(self, url: str) -> int:
        """Returns the bytes of a file; raises Gone, and UsageError where the service does not say."""
        body = HttpBody(url, frozenset({_host(url)}), self._limits, 0, 1, self._session)
        body.read(1)
        if body.total < 0:
            raise UsageError(f"{url}: the service does not say how large it is; give another address of the file")
        return body.total

    def close(self) -> None:
        """Ends the connections."""
        self._session.close()


def _session() -> requests.Session:
    for name in _IN_ITS_PLACE:
        if importlib.util.find_spec(name):
            raise UsageError(f"{name} is installed: it puts a client of its own in the place of urllib3, for every "
                             f"program of this environment; remove it and install urllib3 again")
    session = requests.Session()
    session.trust_env = False
    return session


class HttpBody:
    """A body under way, or the part of it from `begin` to before `end`; a cut connection goes on where it ended, and
    only in the same file."""

    def __init__(self, url: str, hosts: frozenset[str], limits: HttpLimits, begin: int = 0, end: int = -1,
                 session: requests.Session | None = None) -> None:
        self._url, self._hosts, self._limits = url, hosts, limits
        self._session = session or _session()
        self._end = end
        self.total = -1                    # bytes of the whole file, -1 where nobody says
        self._ends = time.monotonic() + limits.total_s
        self._at = begin                   # where the next byte lies
        self._size = -1                    # where the body ends, -1 where nobody says
        self._validator = ""               # strong ETag or date: what makes it the same file
        self._response: requests.Response | None = None

    def read(self, size: int, /) -> bytes:
        """Returns the next bytes, at most `size`, b"" at the end of the file."""
        if self._end >= 0 and self._at >= (self._end if self._size < 0 else self._size):
            self._response = None          # read to its end: the connection serves the next range
            return b""
        wait, fault = self._limits.first_wait_s, ""
        for attempt in range(self._limits.attempts):
            if attempt:
                if time.monotonic() + wait > self._ends:
                    break
                time.sleep(wait)
                wait = min(2 * wait, _MAX_WAIT_S)
            try:
                if self._response is None:
                    wait = max(self._open(), wait)
                if self._response is None:
                    fault = "it is not ready to answer"
                    continue
                piece: bytes = self._response.raw.read(size, decode_content=False)
            except _FAULTS as error:
                fault = str(error)[:300]
                self._hang_up()
                continue
            if not piece and self._at < self._size:
                fault = f"the body ends at {self._at} of {self._size} bytes"
                self._hang_up()
                continue
            self._at += len(piece)
            if self._at > self._limits.max_bytes:
                raise UsageError(f"{self._url}: larger than {self._limits.max_bytes} bytes; this is no archive file")
            if piece and time.monotonic() > self._ends:
                break
            return piece
        raise UsageError(f"{self._url}: cannot read it ({fault or f'longer than {self._limits.total_s:.0f} s'}); run "
                         f"the same command again, what is finished is not read twice")

    def close(self) -> None:
        """Ends the connection."""
        self._hang_up()
        self._session.close()

    def _hang_up(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _open(self) -> float:
        """Opens the body where we are; returns how long to wait where the service is busy."""
        headers = {"Accept-Encoding": "identity", "User-Agent": "imagebert-lait"}
        ranged = self._at > 0 or self._end >= 0
        if ranged:
            headers["Range"] = f"bytes={self._at}-{self._end - 1 if self._end >= 0 else ''}"
            if self._validator:
                headers["If-Range"] = self._validator
        response = self._answer(headers)
        if response.status_code in _PASSING:
            asked = response.headers.get("Retry-After", "")
            response.close()
            return min(float(asked), _MAX_WAIT_S) if asked.isascii() and asked.isdecimal() else 0.0
        if response.status_code in _GONE:
            response.close()
            raise Gone(self._url, response.status_code)
        if response.status_code not in (200, 206) or (response.status_code == 206) != ranged:
            response.close()
            changed = response.status_code == 200 and "the file is another than before, or no ranges are given"
            raise UsageError(f"{self._url}: HTTP {response.status_code}"
                             f"{f' ({changed})' if changed else ''}; check the address")
        self._accept(response)
        self._response = response
        return 0.0

    def _accept(self, response: requests.Response) -> None:
        length = response.headers.get("Content-Length", "")
        known = int(length) if length.isascii() and length.isdecimal() and len(length) < 16 else -1
        first = self._size < 0
        if response.status_code == 206:
            found = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
            if not found or int(found[1]) != self._at or (known >= 0 <= self._size and self._at + known != self._size):
                response.close()
                raise UsageError(f"{self._url}: answered another range than was asked for; run the same command again")
            self.total = int(found[2]) if found[2] != "*" else -1
        if not first:
            return
        self._size = self._at + known if known >= 0 else -1
        tag = response.headers.get("ETag", "")
        self._validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")

    def _answer(self, headers: dict[str, str]) -> requests.Response:
        url = self._url
        for _ in range(_MAX_REDIRECTS + 1):
            response: Any = self._session.get(url, headers=headers, stream=True, allow_redirects=False,
                                              timeout=(self._limits.connect_s, self._limits.read_s))
            if response.status_code not in _REDIRECTS:
                return response                              # type: ignore[no-any-return]
            response.close()
            url = urllib.parse.urljoin(url, response.headers.get("Location", ""))
            if _host(url) not in self._hosts or not url.startswith(("http://", "https://")):
                raise UsageError(f"{self._url}: redirects to {url[:200]!r}, a host that was not named; give its "
                                 f"address itself")
        raise UsageError(f"{self._url}: more than {_MAX_REDIRECTS} redirects; give the last address")


def _host(url: str) -> str:
    return urllib.parse.urlsplit(url).netloc.lower()
