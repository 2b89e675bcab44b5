"""A web of many names on one loopback port whose log says, for each answer, how long its host must now be left alone.

Ten kinds of domains, by turns; each has `pages` pages /0, /1, ..., a page that each of them leads to, and a robots.txt:

    plain         nothing but pages: our own delay
    crawl_delay   Crawl-delay in its robots.txt, obeyed from the end of that answer on
    request_rate  Request-rate in its robots.txt
    retry_after   every third page is 429 with Retry-After when it is asked for first
    failing       every third page is 503 when it is asked for first: the delay doubles
    slow          answers take half the own delay
    redirecting   every page leads to a page of a target, most often one of another fetch shard
    two_names     every second page lies at www.: one domain, one pace
    rules_away    its robots.txt is a redirect to a target
    target        has pages of its own, and is asked for those of others
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import http.server
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

KINDS = ("plain", "crawl_delay", "request_rate", "retry_after", "failing", "slow", "redirecting",
         "two_names", "rules_away", "target")
SECOND_ROUND = 1_000               # page 7 leads to page 1007, which leads nowhere
_MOST_BACK_OFF = 4.0               # on hosts whose pace the operator set (crawl/politeness.py)


@dataclasses.dataclass(frozen=True, slots=True)
class Delays:
    """Seconds that hosts are left alone between the end of an answer and the next request."""

    own_s: float                   # --min-delay of the run
    asked_s: float                 # Crawl-delay and Request-rate
    retry_after_s: int


@dataclasses.dataclass(frozen=True, slots=True)
class Served:
    """A line of the access log; times are of the server's own monotonic clock."""

    host: str                      # registrable domain: whose server it is
    kind: str
    path: str
    begun: float                   # the request line was read
    ended: float                   # just before the answer was sent: nobody can have it earlier
    due_s: float                   # how long the host must be left alone from `ended` on


@dataclasses.dataclass(frozen=True, slots=True)
class Closest:
    """The two requests to hosts of one kind that were closest, measured by what they owed."""

    ratio: float                   # (begin of the second - end of the first) / what was due; at least 1 is polite
    gap_s: float
    due_s: float
    host: str
    gaps: int                      # how many there were


def closest(log: Iterable[Served], around: float | None = None) -> dict[str, Closest]:
    """Returns kind -> its closest two requests; kinds without two requests to one host are not in it.

    Requests that overlap give a negative ratio.  With `around`, only those count of which one began before that moment
    and the other after it.
    """
    hosts: dict[str, list[Served]] = collections.defaultdict(list)
    for line in log:
        hosts[line.host].append(line)
    found: dict[str, list[Closest]] = collections.defaultdict(list)
    for host, lines in sorted(hosts.items()):
        lines.sort(key=lambda line: line.begun)
        # Something asked for longer than one answer reaches over the answers after it.
        free_at = due_s = float("-inf")
        for before, after in zip(lines, lines[1:], strict=False):
            if before.ended + before.due_s >= free_at:
                free_at, due_s = before.ended + before.due_s, before.due_s
            gap_s = after.begun - (free_at - due_s)
            if around is not None and not before.begun < around <= after.begun:
                continue
            found[before.kind].append(Closest(gap_s / due_s, gap_s, due_s, host, 0))
    return {kind: dataclasses.replace(min(all_of_it, key=lambda one: one.ratio), gaps=len(all_of_it))
            for kind, all_of_it in sorted(found.items())}


class PolitenessWeb:
    """Hosts by number: `h000.test` is of the first kind, `h001.test` of the second, ..."""

    def __init__(self, hosts: int, pages: int, delays: Delays) -> None:
        self.log: list[Served] = []
        self.port = 0
        self._delays = delays
        self._names = {f"h{number:03d}.test": KINDS[number % len(KINDS)] for number in range(hosts)}
        self._pages = pages
        self._targets = [name for name, kind in self._names.items() if kind == "target"]
        self._asked: collections.Counter[tuple[str, str]] = collections.Counter()
        self._failed: collections.Counter[str] = collections.Counter()       # in a row
        self._asked_s: dict[str, float] = {}             # by a robots.txt that was sent

    @property
    def seeds(self) -> list[str]:
        """Returns the URLs of all pages."""
        return [f"http://{'www.' if kind == 'two_names' and page % 2 else ''}{name}/{page}"
                for name, kind in self._names.items() for page in range(self._pages)]

    def answer(self, host: str, path: str, begun: float) -> tuple[int, dict[str, str], bytes]:
        """Returns status, headers and body, and writes the log line; called for one request of a host at a time."""
        host = host.removeprefix("www.")
        kind = self._names[host]
        status, headers, body, retry_after_s = 404, {}, b"", 0
        if path == "/robots.txt" and kind == "rules_away":
            status, headers = 301, {"Location": f"http://{self._target(host, 0)}/rules-of-{host}"}
        elif path == "/robots.txt" or path.startswith("/rules-of"):
            status, body = 200, self._robots(host, kind)
        elif path.strip("/").split("/")[0].isdigit():
            self._asked[host, path] += 1
            page = int(path.strip("/").split("/")[0])
            status, body = 200, b"<!doctype html><title>t</title><p>A page."
            is_trouble = self._asked[host, path] == 1 and page % 3 == 1
            if page < SECOND_ROUND:
                body += f"<a href=/{page + SECOND_ROUND}>next</a>".encode()
            if kind == "redirecting":
                status, headers = 302, {"Location": f"http://{self._target(host, int(path[1:]))}{path}/from/{host}"}
            elif kind == "retry_after" and is_trouble:
                retry_after_s = self._delays.retry_after_s
                status, headers = 429, {"Retry-After": str(retry_after_s)}
            elif kind == "failing" and is_trouble:
                status = 503
            elif kind == "slow":
                time.sleep(self._delays.own_s / 2)
        self._failed[host] = self._failed[host] + 1 if status in (429, 503) else 0
        own_s = self._delays.own_s * min(_MOST_BACK_OFF, 2.0 ** self._failed[host])
        due_s = max(own_s, self._asked_s.get(host, 0.0), retry_after_s)
        self.log.append(Served(host, kind, path, begun, time.monotonic(), due_s))
        return status, headers, body

    def _target(self, host: str, page: int) -> str:
        return self._targets[(int(host[1:4]) * 31 + page) % len(self._targets)]

    def _robots(self, host: str, kind: str) -> bytes:
        asks = {"crawl_delay": f"Crawl-delay: {self._delays.asked_s}",
                "request_rate": f"Request-rate: 1000/{int(1000 * self._delays.asked_s)}"}.get(kind, "")
        if asks:
            self._asked_s[host] = self._delays.asked_s
        return f"User-agent: *\n{asks}\n".encode()


@contextlib.contextmanager
def serving(web: PolitenessWeb) -> Iterator[PolitenessWeb]:
    """Serves a web on a free loopback port, a thread a connection."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").partition(":")[0]
            status, headers, body = web.answer(host, self.path, time.monotonic())
            self.send_response(status)
            for name, value in {"Content-Type": "text/html", "Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            pass                                         # a client that hangs up

    server = Server(("127.0.0.1", 0), Handler)
    web.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
