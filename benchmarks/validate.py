"""Megabytes and samples a core-second that `validate` checks without decoding images, at 150 KB and 30 KB a sample.

    python -m benchmarks.validate [--samples 1500] [--rounds 3]

Every byte of tars, regions, indexes and tables: sha256 of files and of images, headers, KEY.json, index, word pieces,
regions.  With images decoded in their sandbox, of the same size, the figure is that of the decoder (bench-image-facts).
"""
from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from benchmarks.write import VOCAB, stored
from crawl.stages import Funnel, Stage
from shards.files import commit_small
from shards.manifest import load_shards
from shards.regions import Regions, pack
from shards.tokens import tokenizer_of
from shards.validate import total_bytes, validate
from shards.writer import write_shard


@dataclasses.dataclass(frozen=True)
class Config:
    """Stands for a stage's config."""

    size: int


def build(out: str, samples: int, size: int) -> str:
    """Writes a root with one shard of images and 16 regions of 64 values each; returns it."""
    placed = stored(out, samples, size)
    packed = pack(Regions(feat=np.zeros((16, 64), np.uint8), box=np.zeros((16, 4), np.float16),
                          cls=np.zeros(16, np.int16), conf=np.zeros(16, np.float16), scale=np.ones(16, np.float16)))
    pathlib.Path(out, "regions.bin").write_bytes(packed)
    same = {"offset": 0, "length": len(packed), "sha256": hashlib.sha256(packed).hexdigest(), "num_regions": 16}
    placed = [dataclasses.replace(one, regions=dataclasses.replace(one.regions, **same)) for one in placed]
    stage = Stage.open(out, "shards", 1, Config(size), {})
    tokenizer = tokenizer_of(VOCAB, "vocab.txt")
    written = write_shard(out, stage.directory, "train/lait-jpg-000000", placed, tokenizer)
    files = [*written.files, commit_small(stage.directory, "vocab.txt", VOCAB)]
    stage.commit({"shards": files}, [Funnel("shards", "sample", samples, (("train", samples),))], extra={
        "shards": [dataclasses.asdict(written.shard)], "feature_dim": 64, "num_classes": 1, "max_regions": 16,
        "quantisation": "u8_scale", "extractor": "none", "extractor_digest": "", "codebook": "", "vocab": "vocab.txt",
        "tokenizer_digest": tokenizer.digest})
    return out


def check(root: str) -> tuple[int, int, float, float]:
    """Returns samples, bytes, seconds and CPU-seconds of one validation."""
    shards = load_shards(root)
    wall, cpu = time.perf_counter(), time.process_time()
    faults = list(validate(shards, decode=False))
    assert not faults, faults[:3]
    return shards.samples("train"), total_bytes(shards), time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    """Writes results/validate.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=1500)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--one", help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        print(json.dumps(check(args.one)))
        return
    core = max(os.sched_getaffinity(0))
    result: dict[str, Any] = {"samples": args.samples, "rounds": args.rounds, "sizes": {}}
    for size in (150_000, 30_000):
        with tempfile.TemporaryDirectory() as folder:
            root, told = build(folder, args.samples, size), []
            for _ in range(args.rounds + 1):                 # the first fills the page cache
                ended = subprocess.run([sys.executable, "-m", "benchmarks.validate", "--one", root], check=True,
                                       capture_output=True, text=True,
                                       preexec_fn=lambda: os.sched_setaffinity(0, {core}))
                told.append(json.loads(ended.stdout))
        result["sizes"][str(size)] = {
            "samples_per_cpu_second": round(statistics.median(count / cpu for count, _, _, cpu in told[1:])),
            "mb_per_cpu_second": round(statistics.median(data / cpu / 1e6 for _, data, _, cpu in told[1:])),
            "mb_per_second": round(statistics.median(data / wall / 1e6 for _, data, wall, _ in told[1:]))}
        print(size, json.dumps(result["sizes"][str(size)]), flush=True)
    write_result("validate", "make bench-validate", result)


if __name__ == "__main__":
    main()
