"""Samples a core-second with 100 regions of 2,048 values, read through the index, against webdataset on the same tars.

    python -m benchmarks.read [--samples 600] [--rounds 3]

A tar of random images (60 KB), captions, json and regions (u8: 205 KB, f16: 410 KB a sample), once with the regions in
the sibling tar and once in one tar with the rest.  What a trainer needs is read: caption and regions of every sample as
arrays.  Ours addresses each member singly, in random order; the first pass holds every member against its checksum, a
later one of the same reader does not.  `webdataset` streams the tars (of siblings both, side by side) without decoding,
and the regions are made arrays by `safetensors.numpy.load`.  One process and one core a side, in turn; cold: the page
cache was told to forget the files (posix_fadvise).
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from shards.index import INDEX_DTYPE, encode_index, hash64
from shards.manifest import ShardFile
from shards.reader import ShardReader
from shards.regions import Regions, pack
from shards.sample import member_names, regions_name
from shards.writer import Tar, note

UNITS = ("samples_per_cpu_second", "samples_per_second")
REGIONS, WIDTH, IMAGE = 100, 2048, 60_000
_WEBDATASET = """
import json, sys, time, warnings
import safetensors.numpy, webdataset
warnings.simplefilter("ignore")
wall, cpu, count, seen = time.perf_counter(), time.process_time(), 0, 0
tars = [webdataset.WebDataset(name, shardshuffle=False, empty_check=False) for name in sys.argv[1:]]
for ones in zip(*tars):
    assert len({one["__key__"] for one in ones}) == 1
    seen += int(safetensors.numpy.load(ones[-1]["regions.safetensors"])["feat"][0, 0]) + len(ones[0]["txt"].decode())
    count += 1
print(json.dumps([count, time.perf_counter() - wall, time.process_time() - cpu]))
"""


def regions_of(number: int, kind: str) -> bytes:
    """Returns the packed regions of a sample: random u8 features with scales, or random f16 ones."""
    draw = np.random.default_rng(number)
    feat = draw.integers(0, 256, (REGIONS, WIDTH), np.uint8) if kind == "u8" else \
        draw.random((REGIONS, WIDTH), np.float32).astype(np.float16)
    box = np.sort(draw.random((REGIONS, 2, 2)), axis=1).reshape(REGIONS, 4).astype(np.float16)
    return pack(Regions(feat=feat, box=box, cls=np.zeros(REGIONS, np.int16),
                        conf=np.linspace(1, 0, REGIONS).astype(np.float16),
                        scale=np.full(REGIONS, 0.01, np.float16) if kind == "u8" else None))


def write(folder: str, samples: int, kind: str, inline: bool, captions: Sequence[bytes] = (),
          tokens: Sequence[int] = (), first: int = 0) -> ShardFile:
    """Writes one shard as the writer lays it out; returns how a manifest lists it.

    Samples are numbered from `first`; without `captions` all have the same one.
    """
    index = np.zeros(samples, INDEX_DTYPE)
    draw = random.Random(1)
    image, provenance = draw.randbytes(IMAGE), json.dumps({"x": "1" * 1190}).encode()
    captions = captions or [b"a kite over the sea in the evening light"] * samples

    def put(tar: Tar, row: int, member: str, name: str, data: bytes) -> None:
        offset = tar.place(name, len(data))
        tar.write_at(offset, data)
        note(index, row, member, offset, len(data), zlib.crc32(data))

    stem = f"{kind}-{'one' if inline else 'two'}-{first:06d}"
    with Tar(folder) as tar, Tar(folder) as beside:
        for row in range(samples):
            key = hashlib.sha256(str(first + row).encode()).hexdigest()[:32]
            index[row]["key"], index[row]["num_regions"] = key.encode(), REGIONS
            index[row]["num_tokens"] = tokens[row] if tokens else 0
            index[row]["image_hash"] = index[row]["group_hash"] = hash64(str(first + row).encode())
            for member, name, data in zip(("image", "txt", "json"), member_names(key, "jpg"),
                                          (image, captions[row], provenance), strict=True):
                put(tar, row, member, name, data)
            put(tar if inline else beside, row, "regions", regions_name(key), regions_of(first + row, kind))
        tar.finish()
        beside.finish()
        entry = tar.commit(lambda _: f"{stem}.tar")
        if not inline:
            beside.commit(lambda _: f"{stem}.regions.tar")
    pathlib.Path(folder, f"{stem}.idx.npy").write_bytes(encode_index(index))
    return ShardFile(name=entry.name, split="train", ext="jpg", samples=samples, bytes=entry.bytes, sha256=entry.sha256,
                     regions=entry.name if inline else f"{stem}.regions.tar", index=f"{stem}.idx.npy", table="")


def read_ours(folder: str, shard: ShardFile, passes: int) -> tuple[int, float, float]:
    """Returns samples, seconds and CPU-seconds of the last of some passes in random order."""
    order = list(range(shard.samples))
    random.Random(2).shuffle(order)
    with ShardReader(folder, shard) as reader:
        for _ in range(passes):
            wall, cpu, seen = time.perf_counter(), time.process_time(), 0
            for row in order:
                seen += int(reader.regions(row).feat[0, 0]) + len(reader.caption(row))
    return len(order), time.perf_counter() - wall, time.process_time() - cpu


def forget(folder: str) -> None:
    """Tells the page cache to forget the files of a folder."""
    for name in os.listdir(folder):
        descriptor = os.open(os.path.join(folder, name), os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def side(script: list[str]) -> Any:
    """Returns what one side prints, run on the last core alone."""
    core = max(os.sched_getaffinity(0))
    ended = subprocess.run([sys.executable, *script], capture_output=True, text=True, check=True,
                           preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    return json.loads(ended.stdout.splitlines()[-1])


def rates(times: dict[str, list[list[float]]]) -> dict[str, dict[str, Any]]:
    """Returns the medians of turns, each (samples, seconds, CPU-seconds), by UNITS."""
    return {name: dict(zip(UNITS, (round(statistics.median(turn[0] / turn[clock] for turn in told))
                                   for clock in (2, 1)), strict=True)) for name, told in times.items()}


def measure(folder: str, shard: ShardFile, rounds: int) -> dict[str, Any]:
    """Returns medians of both sides, warm and cold."""
    plain = json.dumps({name: getattr(shard, name) for name in shard.__dataclass_fields__})
    tars = dict.fromkeys(os.path.join(folder, name) for name in (shard.name, shard.regions))
    sides = {"ours": ["-m", "benchmarks.read", "--one", folder, plain, "1"],
             "ours, a later pass": ["-m", "benchmarks.read", "--one", folder, plain, "2"],
             "webdataset": ["-c", _WEBDATASET, *tars]}
    found: dict[str, Any] = {}
    for state in ("warm", "cold"):
        if state == "cold":
            del sides["ours, a later pass"]                  # it finds the files in the cache
        times: dict[str, list[list[float]]] = {name: [] for name in sides}
        for turn in range(rounds + (state == "warm")):
            for name, script in sides.items():
                if state == "cold":
                    forget(folder)
                told = side(script)
                if turn or state == "cold":                  # the first warm turn fills the cache
                    times[name].append(told)
        found[state] = rates(times)
        for told in found[state].values():
            told["times_webdataset"] = {unit: round(told[unit] / found[state]["webdataset"][unit], 2) for unit in UNITS}
    return found


def main() -> None:
    """Writes results/read.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=600)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(read_ours(args.one[0], ShardFile(**json.loads(args.one[1])), int(args.one[2]))))
        return
    import webdataset
    result: dict[str, Any] = {"samples": args.samples, "regions": REGIONS, "values": WIDTH, "rounds": args.rounds,
                              "webdataset": webdataset.__version__, "tars": {}}
    for kind in ("u8", "f16"):
        for inline in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                shard = write(folder, args.samples, kind, inline)
                name = f"{kind}, {'one tar' if inline else 'sibling tar'}"
                result["tars"][name] = measure(folder, shard, args.rounds)
                print(name, json.dumps(result["tars"][name]), flush=True)
    write_result("read", "make bench-read", result)


if __name__ == "__main__":
    main()
