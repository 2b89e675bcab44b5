"""How close together were two requests to one server, as the servers saw it?

    python -m benchmarks.politeness [--hosts 200] [--shards 8] [--workers 2]

A loopback server plays many registrable domains of seven classes and logs when each request arrived.  `imagebert crawl`
visits them in two rounds.  For every pair of consecutive requests to one domain the least allowed gap is known: the
pause that was asked for, longer after a 503 with Retry-After or a 500.  Printed for each class: the smallest
gap / allowed gap, which must not fall below 1 but for the clocks' and the server's own delay.
"""
from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import dataclasses
import json
import pathlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator

from benchmarks.machine import write_result
from benchmarks.webserver import IMAGEBERT
from crawl.urls import politeness_key

DELAY_S = 0.3                      # --min-delay
CRAWL_DELAY_S = 1.0
RETRY_AFTER_S = 2
TOLERANCE = 0.1                    # of a gap: an arrival is logged when the server comes to it
CLASSES = ("plain", "crawl_delay", "retry_after", "failing", "redirects_away", "two_hosts", "robots_elsewhere")
PAGES = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One line of the server's log."""

    at: float                      # s, monotonic, when its headers had arrived
    host: str
    path: str
    status: int
    retry_after_s: float


def class_of(host: str) -> str:
    """Returns which class a host is of, by its number."""
    return CLASSES[int(politeness_key(f"http://{host}/").removesuffix(".test")[1:]) % len(CLASSES)]


class Servers:
    """All the servers behind one port."""

    def __init__(self, hosts: int) -> None:
        self.names = [f"h{number:03d}.test" for number in range(hosts)]
        self.log: list[Request] = []
        self.port = 0
        self._asked: collections.Counter[tuple[str, str]] = collections.Counter()

    def answer(self, host: str, path: str) -> tuple[int, dict[str, str], str]:
        """Returns status, headers and body."""
        kind, own = class_of(host), politeness_key(f"http://{host}/")
        self._asked[host, path] += 1
        first = self._asked[host, path] == 1
        other = self.names[(self.names.index(own) * 37 + 11) % len(self.names)]
        if path == "/robots.txt":
            if kind == "robots_elsewhere":
                return 301, {"Location": f"http://{other}/robots-of-{own}.txt"}, ""
            rule = f"Crawl-delay: {CRAWL_DELAY_S}" if kind == "crawl_delay" else "Allow: /"
            return 200, {}, f"User-agent: *\n{rule}\n"
        if path.startswith("/robots-of"):
            return 200, {}, "User-agent: *\nAllow: /\n"
        if path.startswith("/.well-known"):
            return 404, {}, ""
        if kind == "retry_after" and path == "/2" and first:
            return 503, {"Retry-After": str(RETRY_AFTER_S)}, ""
        if kind == "failing" and path in ("/1", "/3") and first:
            return 500, {}, ""
        if kind == "redirects_away" and path != "/":
            return 302, {"Location": f"http://{other}/from/{own}{path}"}, ""
        links = "" if path != "/" else "".join(
            f'<a href="http://{"www." if kind == "two_hosts" and page % 2 else ""}{own}/{page}">{page}</a>'
            for page in range(1, PAGES + 1))
        return 200, {"Content-Type": "text/html"}, f"<!doctype html><title>{path}</title>{links}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answers the requests of one connection."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                at = time.monotonic()
                lines = head.decode("latin-1").split("\r\n")
                host = next(line for line in lines if line.lower().startswith("host:"))[5:].strip().partition(":")[0]
                path = lines[0].split(" ")[1]
                status, headers, body = self.answer(host, path)
                self.log.append(Request(at, host, path, status, float(headers.get("Retry-After", 0))))
                headers |= {"Content-Length": str(len(body))}
                writer.write((f"HTTP/1.1 {status} x\r\n" + "".join(
                    f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n" + body).encode())
                await writer.drain()
        writer.close()


@contextlib.contextmanager
def serving(hosts: int) -> Iterator[Servers]:
    """Yields running servers."""
    servers, loop, ready = Servers(hosts), asyncio.new_event_loop(), threading.Event()

    async def begin() -> asyncio.Server:
        server = await asyncio.start_server(servers.serve, "127.0.0.1", 0, backlog=512)
        servers.port = server.sockets[0].getsockname()[1]
        ready.set()
        return server

    def run() -> None:
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(begin())
        loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield servers
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def allowed_gap(host: str, before: Request, is_known: bool = True) -> float:
    """Returns the seconds that must pass at a domain after one request before the next.

    Args:
        is_known: its robots.txt has been asked for, by anybody: no crawler can obey a Crawl-delay it has not read.
    """
    delay = CRAWL_DELAY_S if class_of(host) == "crawl_delay" and is_known else DELAY_S
    return max(2 * delay if before.status == 500 else delay, before.retry_after_s)


def smallest_ratios(log: list[Request]) -> dict[str, float]:
    """Returns class -> the smallest (gap / allowed gap) over its domains."""
    by_key: dict[str, list[Request]] = collections.defaultdict(list)
    for request in sorted(log, key=lambda request: request.at):
        by_key[politeness_key(f"http://{request.host}/")].append(request)
    ratios: dict[str, float] = {}
    for key, requests in by_key.items():
        known = False
        for before, after in zip(requests, requests[1:], strict=False):
            known |= before.path == "/robots.txt"
            ratio = (after.at - before.at) / allowed_gap(key, before, known)
            ratios[class_of(key)] = min(ratio, ratios.get(class_of(key), ratio))
    return {name: round(ratios[name], 3) for name in sorted(ratios)}


def measure(hosts: int, shards: int, workers: int) -> dict[str, object]:
    """Crawls the servers; returns counts and the smallest ratio of each class."""
    with tempfile.TemporaryDirectory() as folder, serving(hosts) as servers:
        seeds = pathlib.Path(folder, "seeds.txt")
        seeds.write_text("".join(f"http://{name}/\n" for name in servers.names))
        begun = time.monotonic()
        done = subprocess.run(
            [*IMAGEBERT, "crawl", "--seeds", str(seeds), "--out", f"{folder}/out", "--allow-host", "*.test",
             "--connect-to", f"::127.0.0.1:{servers.port}", "--min-delay", str(DELAY_S), "--max-rounds", "2",
             "--workers", str(workers), "--set", f"shards={shards}", "--json"], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the crawl ended with {done.returncode}: {done.stderr[-2000:]}")
        return {"hosts": hosts, "shards": shards, "workers": workers, "requests": len(servers.log),
                "seconds": round(time.monotonic() - begun, 1), "pages": hosts * (PAGES + 1),
                "parsed": _parsed(done.stdout),
                "smallest_gap_over_allowed": smallest_ratios(servers.log)}


def _parsed(text: str) -> int:
    return sum(line["outcomes"].get("parsed", 0) for line in json.loads(text)["funnel"])


def main() -> None:
    """Crawls, prints the ratios, writes `results/politeness.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hosts", type=int, default=200)
    options.add_argument("--shards", type=int, default=8)
    options.add_argument("--workers", type=int, default=2)
    args = options.parse_args()
    result = measure(args.hosts, args.shards, args.workers)
    ratios = result["smallest_gap_over_allowed"]
    assert isinstance(ratios, dict)
    print(f"{result['requests']} requests to {args.hosts} domains in {result['seconds']} s, {args.shards} shards, "
          f"{args.workers} workers; the smallest gap / allowed gap:")
    for name, ratio in ratios.items():
        print(f"  {name:18} {ratio:.3f}")
    print(write_result("politeness", f"python -m benchmarks.politeness --hosts {args.hosts} --shards {args.shards} "
                                     f"--workers {args.workers}", result))
    raise SystemExit(min(ratios.values()) < 1 - TOLERANCE)


if __name__ == "__main__":
    main()
