"""The fetcher alone: TLS fetches of 20 KB a CPU-second, a new connection each, no resumption, and pages stored as WARC.

    python -m benchmarks.fetch_tls [--fetches 3000] [--pages 2000]

nginx (benchmarks/fetch_server.py) closes after each answer and keeps no session.  The first part is crawl.fetch.Client
with the dial guard and the resolver, nothing stored; the second is a whole fetch shard of pages of 100 KB with
robots.txt, WARC and gzip, over connections that are kept.  CPU-seconds are of the client's process after its imports.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np

from benchmarks.fetch_server import Server, nginx
from benchmarks.machine import write_result
from crawl.fetch import Client
from crawl.fetch_shard import fetch_shard
from crawl.frontier import FrontierRules, image_row
from crawl.policy import FetchPolicy, Network
from crawl.records import FetchRow, ImageFetch
from crawl.tables import write_table
from crawl.urls import url_key

HOSTS, RUNS, AT_ONCE = 200, 3, 32
_WORDS = ("a", "brown", "dog", "runs", "over", "the", "green", "field", "while", "rain", "falls", "on", "old", "roofs")


def fetch_alone(origin: str, bundle: str, count: int) -> dict[str, Any]:
    """Returns fetches a CPU-second of the client alone."""
    network = Network(allow_hosts=("*.test:*",), min_delay_s=0.0, max_in_flight=AT_ONCE, ca_file=bundle)
    began, done, ok = _cpu(), 0, 0
    with Client(FetchPolicy(), network) as client:
        started = 0
        while done < count:
            while started < count and not client.is_full:
                client.start(f"{origin.format(started % HOSTS)}/a.jpg?{started}", "image", 30.0, started)
                started += 1
            for _, answer in client.wait(0.5):
                done += 1
                ok += answer.outcome == "ok" and answer.status == 200
    return {"per_cpu_s": round(count / (_cpu() - began), 1), "ok": ok}


def fetch_pages(origin: str, bundle: str, count: int, out: str) -> dict[str, Any]:
    """Returns pages a CPU-second of a fetch shard, WARC parts included."""
    network = Network(allow_hosts=("*.test:*",), min_delay_s=0.0, max_in_flight=AT_ONCE, ca_file=bundle)
    urls = [f"{origin.format(number % HOSTS)}/{number % 40}.html?{number}" for number in range(count)]
    rows = [dataclasses.replace(image_row(ImageFetch(url_key(url), url), 1, FrontierRules()), kind="page")
            for url in urls]
    write_table(out, "list.parquet", FetchRow, sorted(rows, key=lambda row: (row.order_key, row.url_key)))
    began = _cpu()
    parts = list(fetch_shard(f"{out}/list.parquet", f"{out}/stage", out, FetchPolicy(), network, 0, "page"))
    stored = sum(dict(part.log.outcomes).get("ok", 0) for part in parts)
    return {"per_cpu_s": round(stored / (_cpu() - began), 1), "ok": stored,
            "warc_mb": round(sum(part.bytes.bytes for part in parts) / 1e6, 1)}


def measured(server: Server, what: str, scheme: str, count: int) -> dict[str, Any]:
    """Returns the median of some runs, each in a process of its own on the client's core."""
    runs = []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory() as out:
            command = [sys.executable, "-m", "benchmarks.fetch_tls", "--part", what, "--origin",
                       server.origin(scheme, 0), "--bundle", str(server.bundle), "--count", str(count), "--out", out]
            said = subprocess.run(server.client(command), check=True, capture_output=True, text=True, env=os.environ)
        runs.append(json.loads(said.stdout.splitlines()[-1]))
        print(what, scheme, runs[-1], flush=True)
    return {"count": count, "median_per_cpu_s": statistics.median(run["per_cpu_s"] for run in runs), "runs": runs}


def main() -> None:
    """Runs both parts, writes results/fetch_tls.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--fetches", type=int, default=3000, help="TLS fetches a run (default: %(default)s)")
    options.add_argument("--pages", type=int, default=2000, help="pages a run (default: %(default)s)")
    for name in ("part", "origin", "bundle", "out"):
        options.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options.add_argument("--count", type=int, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.part:
        print(json.dumps(fetch_alone(args.origin, args.bundle, args.count) if args.part == "alone"
                         else fetch_pages(args.origin, args.bundle, args.count, args.out)))
        return
    random = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "www").mkdir()
        (folder / "www" / "a.jpg").write_bytes(random.bytes(20_000))
        for number in range(40):
            text = "".join(f"<p>{' '.join(random.choice(_WORDS, 12))} {number}</p>\n" for _ in range(1400))
            (folder / "www" / f"{number}.html").write_text(f"<!doctype html><title>{number}</title>{text[:100_000]}")
        with nginx(folder / "n1", folder / "www", HOSTS, resumption=False, keepalive=False) as server:
            alone = measured(server, "alone", "https", args.fetches)
        with nginx(folder / "n2", folder / "www", HOSTS) as server:
            pages = {scheme: measured(server, "pages", scheme, args.pages) for scheme in ("http", "https")}
    result = {"tls_20_kb_new_connection_no_resumption": alone, "pages_of_100_kb_with_warc_gzip": pages}
    print(json.dumps(result, indent=1))
    write_result("fetch_tls", "make bench-fetch-tls", result)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
