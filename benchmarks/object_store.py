"""Shards on an S3 server on loopback, at 0 and 20 ms a round trip: read as a trainer does, read in order, written.

    python -m benchmarks.object_store --server gofakes3 [--samples 600] [--rounds 3]

The server is gofakes3, in Go, beside ours on this machine (moto's, in Python, reads a whole object for each range of
it): what it answers at all is measured in the same run (32 requests of 60 KB in flight), and is the limit of what needs
a request a sample.  20 ms is a relay that holds every byte back.  Samples have 60 KB of image and 100 regions of 2,048
u8 values (205 KB).

trainer: caption and regions of every sample in random order, through the window cache (8 MiB a range, read ahead).
in order: every member of every sample, as `imagebert shards` does.
written: image and regions by address from parts in the bucket (a range for each image, for none lie beside each other;
regions lie in the order of shards, 4 MiB a range), both tars, index and table into the bucket.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import read as read_benchmark
from benchmarks.machine import write_result
from benchmarks.s3_server import BUCKET, environment, s3_server
from benchmarks.write import VOCAB, stored
from crawl import object_store, storage
from shards import remote_tar, window_cache
from shards.addresses import plan_reads
from shards.index import MEMBERS
from shards.manifest import ShardFile
from shards.reader import ShardReader
from shards.tokens import tokenizer_of
from shards.window_cache import WindowCache
from shards.writer import write_shard

URL = f"s3://{BUCKET}/shards"
_IMAGE = 60_000                    # bytes, of written samples


class Requests:
    """Counts the ranges that are asked for."""

    def __init__(self) -> None:
        self.count, self._real = 0, object_store.get_range
        for module in (object_store, storage, remote_tar, window_cache):
            module.get_range = self._counted                 # type: ignore[attr-defined]

    def _counted(self, path: str, offset: int, length: int) -> bytes:
        self.count += 1
        return self._real(path, offset, length)


def lay_out(folder: str, samples: int) -> ShardFile:
    """Puts a shard with its table into the bucket; returns how a manifest lists it."""
    shard = read_benchmark.write(folder, samples, "u8", False)
    with ShardReader(folder, shard) as reader:
        rows = {"key": [reader.key(row) for row in range(samples)],
                "caption": [reader.caption(row) for row in range(samples)]}
    pq.write_table(pa.table(rows), f"{folder}/shard.parquet")
    shard = dataclasses.replace(shard, table="shard.parquet")
    for name in shard.files:
        storage.upload(f"{folder}/{name}", f"{URL}/{name}")
    return shard


def as_a_trainer(shard: ShardFile) -> None:
    """Reads caption and regions of every sample in random order."""
    cache = WindowCache(1 << 30)
    order = list(range(shard.samples))
    random.Random(2).shuffle(order)
    with ShardReader(URL, shard, cache=cache) as reader:
        reader.expect()
        for row in order:
            reader.regions(row)
            reader.caption(row)
    cache.close()


def in_order(shard: ShardFile) -> None:
    """Reads every member of every sample."""
    with ShardReader(URL, shard) as reader:
        for row in range(len(reader)):
            assert all(reader.member(row, name) for name in MEMBERS)


def written(folder: str, samples: int) -> Callable[[], None]:
    """Puts parts into the bucket; returns what writes a shard of them."""
    placed = stored(folder, samples, _IMAGE)
    for name in ("images.tar", "regions.bin"):
        storage.upload(f"{folder}/{name}", f"s3://{BUCKET}/{name}")
    assert len(plan_reads([one.image_address for one in placed])) == samples
    tokenizer = tokenizer_of(VOCAB, "vocab")
    return lambda: None if write_shard(f"s3://{BUCKET}", f"s3://{BUCKET}/out-{time.time_ns()}", "train/lait-jpg-000000",
                                       placed, tokenizer) else None


def ceiling(shard: ShardFile) -> float:
    """Returns how many requests for 60 KB the server answers a second, 32 in flight."""
    count, tar = 300, f"{URL}/{shard.name}"
    with ThreadPoolExecutor(32) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda number: object_store.get_range(tar, number * 1000, _IMAGE), range(count)))
        return count / (time.perf_counter() - begun)


def measure(samples: int) -> dict[str, Any]:
    """Returns what one process measures with the server that the environment names."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as parts:
        shard, write = lay_out(folder, samples), written(parts, samples)
        found["requests_of_60_kb_a_second"] = ceiling(shard)
        requests = Requests()
        for name, work in (("trainer", lambda: as_a_trainer(shard)), ("in order", lambda: in_order(shard)),
                           ("written", write)):
            requests.count = 0
            wall, cpu = time.perf_counter(), time.process_time()
            work()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            found[name] = {"samples_per_second": samples / wall, "samples_per_cpu_second": samples / cpu,
                           "requests_a_sample": requests.count / samples}
    return found


@contextlib.contextmanager
def held_back(port: int, latency_ms: int) -> Iterator[int]:
    """Yields the port by which a server is reached with a longer round trip."""
    if not latency_ms:
        yield port
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        near = probe.getsockname()[1]
    with subprocess.Popen([sys.executable, "-m", "benchmarks.delay", "--ms", str(latency_ms), "--listen", str(near),
                           "--to", str(port)]) as relay:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", near), 1):
                    break
                time.sleep(0.1)
            yield near
        finally:
            relay.kill()


def main() -> None:
    """Writes results/object_store.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=600)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--server", default="", help="gofakes3 or moto_server")
    options.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(measure(args.samples)))
        return
    result: dict[str, Any] = {"samples": args.samples, "rounds": args.rounds,
                              "server": os.path.basename(args.server), "load_before": round(os.getloadavg()[0], 1)}
    told: dict[int, list[dict[str, Any]]] = {0: [], 20: []}
    for _ in range(args.rounds):
        for latency, found in told.items():
            with tempfile.TemporaryDirectory() as folder, s3_server(pathlib.Path(folder), args.server) as port, \
                    held_back(port, latency) as near:
                ended = subprocess.run(
                    [sys.executable, "-m", "benchmarks.object_store", "--one", "--samples", str(args.samples)],
                    env=os.environ | environment(f"http://127.0.0.1:{near}"), stdout=subprocess.PIPE, text=True,
                    check=True)
                found.append(json.loads(ended.stdout.splitlines()[-1]))
                print(latency, found[-1], flush=True)
    result["latency_ms"] = {str(latency): medians(found) for latency, found in told.items()}
    write_result("object_store", "make bench-object-store", result)


def medians(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the median of every figure of some rounds."""
    first = found[0]
    return {name: medians([one[name] for one in found]) if isinstance(value, dict)
            else round(statistics.median(one[name] for one in found), 2) for name, value in first.items()}


if __name__ == "__main__":
    main()
