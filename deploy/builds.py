"""A dataset build by the command itself, over a synthetic web of its own, and what two builds must have in common."""
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pyarrow.parquet as pq

from benchmarks.webserver import requests_seen, synthetic_web
from crawl.records import FetchLog
from crawl.stages import current, current_manifest
from crawl.tables import add_digests, read_table

# Recorded times are fixed, so that what was fetched twice compares equal.
ENVIRONMENT = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
_ADDRESS = frozenset({"part", "offset", "length"})
# Small parts, so that something is committed wherever a build is killed; deadlines that no answer of the web misses,
# also on a machine with other work: what a build finds must not depend on how busy that is.
_SETTINGS = ("crawl.parts.rows=16", "images.parts.rows=16", *(
    f"{stage}.fetch.{name}={value}" for stage in ("crawl", "images") for name, value in (
        ("connect_timeout_s", 60), ("robots_timeout_s", 120), ("page_timeout_s", 120), ("image_timeout_s", 120),
        ("slow_after_s", 60), ("shard_seconds", 7200))))
MIN_DELAY_S = 0.05                 # between two requests to one host
# Deadlines that a crowded machine keeps: what the demo's short ones make of an image that is drawn late is no fact of
# the web.  An answer in drops still has to end as too_slow.
PATIENT = [word for stage in ("crawl", "images") for name, value in (
    ("page_timeout_s", 120), ("image_timeout_s", 120), ("robots_timeout_s", 120), ("connect_timeout_s", 60),
    ("slow_after_s", 20)) for word in ("--set", f"{stage}.fetch.{name}={value}")]


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    """What is equal in two builds of one web: the whole of it, and nothing that depends on who built it."""

    funnel: tuple[str, ...]
    digests: dict[str, str]        # stage/table -> logical digest
    shards: dict[str, str]         # name -> sha256

    def differences(self, other: Facts) -> list[str]:
        """Returns a line for each funnel line, table and shard that is not the same."""
        lines = [f"funnel: {one} | {two}" for one, two in zip(self.funnel, other.funnel, strict=False) if one != two]
        for kind, mine, theirs in (("digest", self.digests, other.digests), ("sha256", self.shards, other.shards)):
            lines += [f"{kind} of {name}: {mine.get(name, 'missing')} | {theirs.get(name, 'missing')}"
                      for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
        return lines


def dataset_command(ready: pathlib.Path, out: pathlib.Path | str, options: list[str]) -> list[str]:
    """Returns `imagebert dataset` over the synthetic web; `options` are those of the build, and after `--` Beam's."""
    settings = [word for value in _SETTINGS for word in ("--set", value)]
    return [sys.executable, "-m", "imagebert", "dataset", "--run", "demo", "--web", str(ready), *settings,
            "--min-delay", str(MIN_DELAY_S), "--out", str(out), *options]


@contextlib.contextmanager
def building(folder: pathlib.Path, images: int, options: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Yields the process of a build of FOLDER/out over a fresh web; left, the build is ended and the web too."""
    with synthetic_web(folder, images) as ready, subprocess.Popen(
            dataset_command(ready, folder / "out", options), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def build(folder: pathlib.Path, images: int, options: list[str]) -> float:
    """Builds FOLDER/out over a fresh web, whose access log lies in FOLDER; returns seconds without the web's start."""
    with synthetic_web(folder, images) as ready:
        started = time.monotonic()
        run(dataset_command(ready, folder / "out", options))
        return time.monotonic() - started


def run(command: list[str]) -> None:
    """Runs a command to its end; raises RuntimeError with the last words of one that failed."""
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"imagebert ended with {done.returncode}: {done.stderr[-3000:]}")


def facts_of(out: pathlib.Path) -> Facts:
    """Returns what a finished build must have in common with every other of the same web."""
    manifests = {stage: current_manifest(str(out), stage) for stage in current(str(out))}
    digests = {f"{stage}/{name}": _digest(manifest.paths(name)) for stage, manifest in manifests.items()
               for name, entries in manifest.tables.items() if all(entry.digest for entry in entries)}
    return Facts(tuple(json.dumps(dataclasses.asdict(line)) for line in manifests["shards"].funnel), digests,
                 {entry.name: entry.sha256 for entry in manifests["shards"].tables["shards"]})


def _digest(paths: tuple[str, ...]) -> str:
    """Returns the logical digest of a table without its addresses: where bytes lie is the order they arrived in."""
    rows: list[int] = []
    for path in paths:
        for row in pq.read_table(path).to_pylist():
            rows.append(int.from_bytes(hashlib.sha256(repr(without_addresses(row)).encode()).digest(), "big"))
    return add_digests(rows)


def without_addresses(value: Any) -> Any:
    """Returns a value of a row without the addresses in it, at whatever depth.

    >>> without_addresses({"url": "a", "offset": 3, "captures": [{"url": "b", "part": "c", "length": 4}]})
    {'url': 'a', 'captures': [{'url': 'b'}]}
    """
    if isinstance(value, dict):
        return {name: without_addresses(one) for name, one in value.items() if name not in _ADDRESS}
    return [without_addresses(one) for one in value] if isinstance(value, list) else value


def asked_again(folder: pathlib.Path, before: set[str], since: int) -> list[str]:
    """Returns which of the URLs answered `before` the access log's line `since` were asked for after it."""
    seen = [f"{row['scheme']}://{row['host']}{row['path']}" for row in requests_seen(folder)]
    # A URL that redirects lead to is asked for by each of them, however the build went.
    return sorted(before & set(seen[since:]) - {url for url in seen[:since] if seen[:since].count(url) > 1})


def closest_requests(folder: pathlib.Path) -> tuple[float, str]:
    """Returns the shortest time from one request to the next of the same host, and the host, by the web's own log.

    A request is logged before it is answered, and the next may only follow MIN_DELAY_S after the answer: where two lie
    closer, somebody asked too soon, or two asked at once.
    """
    last: dict[object, float] = {}
    found = (float("inf"), "")
    for row in sorted(requests_seen(folder), key=lambda one: float(str(one["time"]))):
        host, at = row["host"], float(str(row["time"]))
        if host in last:
            found = min(found, (at - last[host], str(host)))
        last[host] = at
    return found


def committed_urls(out: pathlib.Path) -> set[str]:
    """Returns the URLs whose outcome lies in a committed part."""
    urls: set[str] = set()
    for marker in sorted(out.glob("*/*/**/part-*.json")):
        log = marker.parents[1] / json.loads(marker.read_text())["log"]["name"]
        urls.update(row.url for row in read_table(str(log), FetchLog))
    return urls
