"""Samples and megabytes a core-second into tars: from addresses, against webdataset's and img2dataset's writers.

    python -m benchmarks.write [--samples 1000] [--rounds 3] [--peers DIR]

Ours reads every image by address (random order, no two beside each other) and the regions in pieces of 4 MiB (they lie
in the order of shards), holds them against their sha256, and writes the image tar with captions and provenance, the tar
of regions, index and table, all committed and synced.  `webdataset.TarWriter` and img2dataset's WebDatasetSampleWriter
are given images, captions and provenance in memory and write the tar (img2dataset also its own Parquet): they do less.
A process of one core a side, in turn.  With 20 ms before each read by address, wall time says what an object store
leaves of it.
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
from typing import Any

from benchmarks.machine import write_result
from benchmarks.peers import default_folder, peer
from crawl import storage
from filter.records import Best, ScoredText
from shards.addresses import plan_reads
from shards.records import EXTRACTED, Placed, RegionAddress, json_values
from shards.sample import sample_json
from shards.tokens import tokenizer_of
from shards.writer import tar_bytes, write_shard

VOCAB = b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nkite\nover\nthe\nsea\n"
REGIONS = 37_000                   # bytes: 36 regions of 1,024 u8 values
_GAP = 128 << 10                   # between stored images: no two share a read
_PEER = """
import json, sys, time
kind, folder, out, count = sys.argv[1:4] + [int(sys.argv[4])]
rows = []
for n in range(count):
    with open(f"{folder}/{n}.jpg", "rb") as image, open(f"{folder}/{n}.json", "rb") as meta:
        rows.append((image.read(), json.loads(meta.read())))
if kind == "img2dataset":
    import pyarrow as pa
    from img2dataset.writer import WebDatasetSampleWriter
    schema = pa.schema([pa.field("caption", pa.string()), pa.field("key", pa.string())])
    wall, cpu = time.perf_counter(), time.process_time()
    writer = WebDatasetSampleWriter(0, out, True, 5, schema, "jpg")
    for image, meta in rows:
        writer.write(image, meta["key"], meta["caption"], meta)
else:
    import webdataset
    wall, cpu = time.perf_counter(), time.process_time()
    writer = webdataset.TarWriter(f"{out}/00000.tar")
    for image, meta in rows:
        writer.write({"__key__": meta["key"], "jpg": image, "txt": meta["caption"], "json": meta})
writer.close()
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""


def stored(folder: str, samples: int, size: int) -> list[Placed]:
    """Writes a part of images and a part of regions; returns the samples with their addresses, in hash order.

    Images lie as they arrived, no two of the shard beside each other; regions in the order of shards, as extractors lay
    them.
    """
    draw = random.Random(size)
    drawn = sorted((draw.randbytes(draw.randint(size // 2, size * 3 // 2)) for _ in range(samples)),
                   key=lambda image: hashlib.sha256(image).digest())
    placed = []
    with open(f"{folder}/images.tar", "wb") as images, open(f"{folder}/regions.bin", "wb") as regions:
        for number, image in enumerate(drawn):
            packed = draw.randbytes(REGIONS)
            sha256 = hashlib.sha256(image).hexdigest()
            best = Best(
                key=sha256[:32], image_sha256=sha256, caption=f"a kite over the sea, number {number}", source="alt",
                score=0.5, split="train", texts=(ScoredText("alt", "a kite over the sea", 0.5),) * 3,
                image_url=f"https://a.example/{number}.jpg", page_url=f"https://a.example/{number}.html",
                image_urls=(f"https://a.example/{number}.jpg",), num_occurrences=1, format="jpg", width=640, height=480,
                orientation=1, perceptual_hash="0" * 16, caption_hash="0" * 16, group_hash=sha256[:16], natural=0.5,
                page_language="en", permission="allow", signals=(), page_record_id="urn:uuid:0", page_sha256=sha256,
                page_fetched_at="2026-01-01T00:00:00.000000Z", image_fetched_at="2026-01-01T00:00:00.000000Z",
                part="images.tar", offset=images.tell(), length=len(image))
            regional = RegionAddress(best.key, EXTRACTED, "regions.bin", regions.tell(), REGIONS,
                                     hashlib.sha256(packed).hexdigest(), 36)
            images.write(image)
            images.seek(_GAP, os.SEEK_CUR)
            regions.write(packed)
            sizes = (len(image), len(best.caption.encode()), len(sample_json(json_values(best))))
            placed.append(Placed(best.key, best, regional, tar_bytes(sizes)))
    return placed


def write_ours(folder: str, size: int, samples: int, latency_s: float) -> dict[str, float]:
    """Writes one shard from addresses; returns seconds, CPU-seconds and reads a sample."""
    placed, out = stored(folder, samples, size), folder
    if latency_s:
        out = "memory://write"                     # an object store, as far as reading goes
        for name in ("images.tar", "regions.bin"):
            storage.commit_bytes(f"{out}/{name}", pathlib.Path(folder, name).read_bytes())
    reads, real = 0, storage.read_range

    def late(path: str, offset: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        time.sleep(latency_s)
        return real(path, offset, length)

    storage.read_range = late
    tokenizer = tokenizer_of(VOCAB, "vocab")
    assert len(plan_reads([one.image_address for one in placed])) == samples
    wall, cpu = time.perf_counter(), time.process_time()
    write_shard(out, f"{folder}/out", "train/lait-jpg-000000", placed, tokenizer)
    return {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "reads": reads / samples}


def lay_out(folder: str, size: int, samples: int) -> None:
    """Writes image and provenance files that the peers read into memory before their clock starts."""
    with tempfile.TemporaryDirectory() as parts:
        for number, one in enumerate(stored(parts, samples, size)):
            data = storage.read_range(f"{parts}/images.tar", one.best.offset, one.best.length)
            pathlib.Path(folder, f"{number}.jpg").write_bytes(data)
            pathlib.Path(folder, f"{number}.json").write_bytes(sample_json(json_values(one.best)))


def side(python: str, script: list[str]) -> Any:
    """Returns what one side prints, run on the last core alone."""
    core = max(os.sched_getaffinity(0))
    ended = subprocess.run([python, *script], capture_output=True, text=True, check=True,
                           preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    return json.loads(ended.stdout.splitlines()[-1])


def main() -> None:
    """Writes results/write.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--samples", type=int, default=1000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--peers", type=pathlib.Path, default=default_folder(), help="folder of the environments")
    options.add_argument("--one", nargs=2, type=float, help=argparse.SUPPRESS)
    args = options.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(write_ours(folder, int(args.one[0]), args.samples, args.one[1])))
        return
    result: dict[str, Any] = {"samples": args.samples, "rounds": args.rounds, "sizes": {}}
    for size in (30_000, 150_000):
        with tempfile.TemporaryDirectory() as folder:
            lay_out(folder, size, args.samples)
            told: dict[str, list[tuple[float, float]]] = {}
            reads = 0.0
            for _ in range(args.rounds):
                for latency in (0.0, 0.02):
                    ours = side(sys.executable, ["-m", "benchmarks.write", "--samples", str(args.samples), "--one",
                                                 str(size), str(latency)])
                    told.setdefault(f"ours, {latency * 1000:.0f} ms a read", []).append((ours["seconds"], ours["cpu"]))
                    reads = ours["reads"]
                for name, kind, environment in (("webdataset.TarWriter", "webdataset", "webdataset-1.0"),
                                                ("img2dataset", "img2dataset", "img2dataset")):
                    with tempfile.TemporaryDirectory() as out:
                        told.setdefault(name, []).append(tuple(side(
                            peer(environment, args.peers).program("python"),
                            ["-c", _PEER, kind, folder, out, str(args.samples)])))
        result["sizes"][str(size)] = {name: figures(times, args.samples, size + (REGIONS if name[:4] == "ours" else 0))
                                      for name, times in told.items()} | {"reads_a_sample": reads}
        print(size, json.dumps(result["sizes"][str(size)], indent=1), flush=True)
    write_result("write", "make bench-write", result)


def figures(times: list[tuple[float, float]], samples: int, size: int) -> dict[str, float]:
    """Returns medians; megabytes are of images and, in ours, regions."""
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    return {"samples_per_cpu_second": round(samples / cpu), "mb_per_cpu_second": round(samples * size / cpu / 1e6),
            "samples_per_second": round(samples / wall)}


if __name__ == "__main__":
    main()
