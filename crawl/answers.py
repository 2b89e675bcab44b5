"""What came back for a URL: of one request, and after all its hops.  In memory only; crawl/records.py is kept."""
from __future__ import annotations

import dataclasses

REDIRECTS = frozenset({301, 302, 303, 307, 308})
NOT_YET = "not_yet"                # no request was made: ask again after `seconds`
OK_STATUSES = frozenset({200, 203})


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """How one request ended."""

    url: str
    outcome: str                   # ok: a whole answer, whatever its status; else a network or body outcome
    status: int                    # 0 without an answer
    status_line: str
    headers: tuple[tuple[str, str], ...]
    entity: bytes                  # transfer coding removed, content coding kept; empty unless outcome is ok and 200
    body: bytes                    # decoded
    cut: str                       # why the entity is not whole: "", length (our cap), disconnect
    truncated: bool                # it is not, or the body reached its cap in decoding
    ip: str
    dns_s: float                   # until the name's address was known; 0 where it was at hand
    seconds: float                 # the whole request, that included
    latency_s: float               # until the first byte of the answer

    def header(self, name: str) -> str:
        """Returns all values of a header joined by a comma, "" without one."""
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    @property
    def location(self) -> str:
        """Returns where a redirect points, "" for nowhere; servers send raw UTF-8 though headers are Latin-1."""
        value = next((value for key, value in self.headers if key.lower() == "location"), "")
        try:
            return value.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            return value


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """How a URL ended after all its hops."""

    url: str
    outcome: str                   # crawl/fetch_shard.py lists them
    redirects: tuple[str, ...]     # URLs passed on the way to final_url
    final_url: str
    answer: Answer                 # of the last hop


@dataclasses.dataclass(frozen=True, slots=True)
class SiteAnswer:
    """One answer for a file of a site itself: robots.txt, tdmrep.json, ai.txt, or a hop on the way to it."""

    fetched_at: str
    answer: Answer


def nothing(url: str, outcome: str, dns_s: float = 0.0) -> Answer:
    """Returns the answer of a request that was never made."""
    return Answer(url=url, outcome=outcome, status=0, status_line="", headers=(), entity=b"", body=b"", cut="",
                  truncated=False, ip="", dns_s=dns_s, seconds=dns_s, latency_s=0.0)
