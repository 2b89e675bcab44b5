"""Seconds to the first pack wherever a run resumes, at ten million index rows, and the memory that a row takes.

    python -m benchmarks.first_batch [--rows 10000000] [--places 6]

3,000 samples a shard with 100 regions of 2,048 values (u8).  Every shard has an index of its own (126 bytes a row, with
its own keys and hashes); the tars are one pair under many names, for what lies behind a row does not change how long it
takes to find.  Each time a new process opens the set, goes to a place drawn at random (epoch, window, offset of each of
4 lanes, windows of 64 shards) and makes the step there: 4 packs of 16,384 tokens, read, checked and packed.  The clock
begins when torch and ours are imported.  Memory is what the process holds of the opened set and its lanes (RssAnon;
mapped index pages are the page cache's, and given back when others need them).  Cold: the page cache was told to forget
the files.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import random
import statistics
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.loader import write_set
from benchmarks.machine import write_result
from benchmarks.read import REGIONS, WIDTH, forget, side

LANES, TOKENS, SAMPLES = 4, 16_384, 3000


def write_rows(folder: str, rows: int) -> int:
    """Writes a set of at least `rows` samples; returns how many shards it has."""
    write_set(folder, SAMPLES, "u8", shards=1)
    path = pathlib.Path(folder, "manifest.json")
    manifest = json.loads(path.read_text())
    first = manifest["extra"]["shards"][0]
    index = np.load(os.path.join(folder, first["index"]))
    keys, head = index["key"].copy(), os.path.getsize(os.path.join(folder, first["index"])) - index.nbytes
    with open(os.path.join(folder, first["index"]), "rb") as file:
        begin = file.read(head)
    shards = [first]
    for number in range(1, -(-rows // SAMPLES)):
        names = {what: f"{number:05d}-{first[what]}" for what in ("name", "regions", "index")}
        for what in ("name", "regions"):
            os.link(os.path.join(folder, first[what]), os.path.join(folder, names[what]))
        index["key"] = np.char.add(f"{number:05d}".encode(), keys.astype("S27"))
        index["image_hash"] += np.uint64(1)
        with open(os.path.join(folder, names["index"]), "wb") as file:
            file.write(begin)
            index.tofile(file)
        shards.append(first | names)
    manifest["extra"]["shards"] = shards
    manifest["tables"]["shards"] = [
        {"name": shard[what], "bytes": os.path.getsize(os.path.join(folder, shard[what])), "sha256": ""}
        for shard in shards for what in ("name", "regions", "index")]
    path.write_text(json.dumps(manifest))
    return len(shards)


def first_batch(folder: str, seed: int) -> dict[str, Any]:
    """Returns seconds and memory from nothing to the first step at a place that the seed draws."""
    from model.config import ModelConfig
    from shards.manifest import load_shards
    from shards.tokens import SPECIALS
    from train.data import TrainingData
    from train.order import LaneState
    from train.plan import StageConfig, TrainConfig
    from train.stream import PackStream, StageStart
    stage = StageConfig("pretrain", samples=10**10, pairs=1024, tokens=TOKENS)
    config = TrainConfig("bench", ModelConfig(vocab_size=30_000 + len(SPECIALS), feature_dim=WIDTH, num_classes=1600),
                         (stage,), lanes=LANES)
    draw = random.Random(seed)
    before, wall, cpu = _own_memory(), time.perf_counter(), time.process_time()
    data = TrainingData({"data": load_shards(folder)}, REGIONS)
    opened = time.perf_counter() - wall
    lanes = data.lanes(config, 0)
    memory = _own_memory() - before
    windows = -(-len(data.readers) // LANES // config.window)
    states = tuple(LaneState(draw.randrange(17), draw.randrange(windows - 1), draw.randrange(60_000))
                   for _ in lanes)
    step = next(iter(PackStream(data, config, 0, StageStart(draw.randrange(10**6), draw.randrange(10**8), states))))
    return {"states": [dataclasses.astuple(state) for state in states], "samples": step.samples,
            "opened": opened, "seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu,
            "rows": len(data.sizes.row), "bytes": memory}


def _own_memory() -> int:
    line = next(line for line in pathlib.Path("/proc/self/status").read_text().splitlines()
                if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


def main() -> None:
    """Writes results/first_batch.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=10_000_000)
    options.add_argument("--places", type=int, default=6)
    options.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(first_batch(args.one[0], int(args.one[1]))))
        return
    result: dict[str, Any] = {"lanes": LANES, "tokens": TOKENS, "samples_a_shard": SAMPLES}
    with tempfile.TemporaryDirectory() as folder:
        result["shards"] = write_rows(folder, args.rows)
        for state in ("warm", "cold"):
            found = []
            for seed in range(args.places + (state == "warm")):
                if state == "cold":
                    forget(folder)
                told = side(["-m", "benchmarks.first_batch", "--one", folder, str(seed)])
                if seed or state == "cold":              # the first warm turn fills the cache
                    found.append(told)
            result["rows"] = found[0]["rows"]
            result[state] = {what: [round(float(of([one[what] for one in found])), 2)
                                    for of in (statistics.median, max)] for what in ("seconds", "opened", "cpu")}
            result[state]["places"] = [one["states"] for one in found]
            result["bytes_a_row"] = round(max(one["bytes"] for one in found) / found[0]["rows"], 1)
            print(state, json.dumps(result[state]), result["bytes_a_row"], flush=True)
    write_result("first_batch", "make bench-first-batch", result | {"of_each": "[median, most]"})


if __name__ == "__main__":
    main()
