"""Memory of the fetch stage against the number of URLs in a shard: 10,000 against 200,000, and again when it resumes.

    python -m benchmarks.fetch_memory [--few 10000] [--many 200000]

One shard, one process; the server is nginx (benchmarks/fetch_server.py), each URL a small picture of 200 hosts.  A
third run resumes a shard of which everything is committed but the last part.  Writes results/fetch_memory.json.
"""
from __future__ import annotations

import argparse
import io
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from benchmarks.fetch_server import Server, nginx
from benchmarks.machine import write_result
from crawl.fetch_shard import fetch_shard
from crawl.frontier import FrontierRules, image_row
from crawl.policy import FetchPolicy, Network
from crawl.records import FetchRow, ImageFetch
from crawl.tables import plain_row, schema_of
from crawl.urls import url_key

HOSTS = 200
_CHUNK = 5_000


def write_list(path: pathlib.Path, origin: str, count: int) -> None:
    """Writes the fetch list of one shard, sorted by order_key, a row group of 8192 at a time."""
    keys = sorted((image_row(ImageFetch(url_key(url), url), 1, FrontierRules()).order_key, number)
                  for number, url in ((number, _url(origin, number)) for number in range(count)))
    with pq.ParquetWriter(path, schema_of(FetchRow)) as writer:
        for start in range(0, count, _CHUNK):
            rows = list(_rows(origin, [number for _, number in keys[start:start + _CHUNK]]))
            writer.write_table(pa.Table.from_pylist(rows, schema=schema_of(FetchRow)))


def _rows(origin: str, numbers: list[int]) -> Iterator[dict[str, Any]]:
    for number in numbers:
        url = _url(origin, number)
        yield plain_row(image_row(ImageFetch(url_key(url), url), 1, FrontierRules()))


def _url(origin: str, number: int) -> str:
    return f"{origin.format(number % HOSTS)}/a.jpg?{number}"


def fetch(out: str) -> None:
    """Fetches the shard of OUT/list.parquet in this process; prints rows, CPU seconds and the peak in MiB."""
    network = Network(allow_hosts=("*.test:*",), min_delay_s=0.0, max_in_flight=64)
    rows = sum(part.log.rows for part in fetch_shard(f"{out}/list.parquet", f"{out}/stage", out, FetchPolicy(), network,
                                                     0, "image"))
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"rows": rows, "cpu_s": round(used.ru_utime + used.ru_stime, 1),
                      "peak_mib": round(used.ru_maxrss / 1024, 1)}))


def run(server: Server, out: pathlib.Path) -> dict[str, Any]:
    """Returns what `fetch` printed, from a process of its own."""
    began = time.monotonic()
    said = subprocess.run(server.client([sys.executable, "-m", "benchmarks.fetch_memory", "--fetch", str(out)]),
                          check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}).stdout
    value: dict[str, Any] = json.loads(said.splitlines()[-1])
    return value | {"wall_s": round(time.monotonic() - began, 1)}


def main() -> None:
    """Runs the three, writes the result."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--few", type=int, default=10_000, help="rows of the first run (default: %(default)s)")
    options.add_argument("--many", type=int, default=200_000, help="rows of the second run (default: %(default)s)")
    options.add_argument("--fetch", metavar="OUT", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.fetch:
        fetch(args.fetch)
        return
    buffer = io.BytesIO()
    Pillow.new("RGB", (64, 64), "teal").save(buffer, "JPEG")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        (folder / "www").mkdir()
        (folder / "www" / "a.jpg").write_bytes(buffer.getvalue())
        with nginx(folder / "nginx", folder / "www", HOSTS) as server:
            for name, count in (("few", args.few), ("many", args.many)):
                out = folder / name
                out.mkdir()
                write_list(out / "list.parquet", server.origin("http", 0), count)
                result[name] = run(server, out)
                print(name, result[name], flush=True)
            parts = sorted((folder / "many" / "stage").rglob("part-*.json"))
            parts[-1].unlink()
            result["many, resumed before its last part"] = run(server, folder / "many")
    result["ratio_many_to_few"] = round(result["many"]["peak_mib"] / result["few"]["peak_mib"], 3)
    print(json.dumps(result, indent=1))
    write_result("fetch_memory", "make bench-fetch-memory", result)


if __name__ == "__main__":
    main()
