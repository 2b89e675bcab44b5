"""The stage `images` against img2dataset, a core each, over HTTP and HTTPS.

    python -m benchmarks.fetch [--first 10000] [--others 2000] [--repeat 3] [--peers DIR]

Two works: `bytes`, the original bytes, sha256 and size; `resize`, 256 px with a border as JPEG (fetch_resize.py).
nginx has core 0, the client core 1.  The first cell is one run of 10,000 images over HTTP without latency; the others
are three of 2,000, the sides in turn; `marginal` is what the 8,000 more images of the first cell took each.  Our side
is `imagebert images` as a user runs it: robots.txt, tdmrep.json and ai.txt of every host, the address guard, header
check, sha256, tar parts with manifests; off is only what would make us wait (`--min-delay 0`, allowed because the
operator opened the hosts).  CPU-seconds are of the whole client process tree, its start included.  Writes
results/fetch.json.
"""
from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import pathlib
import statistics
import tempfile
from typing import Any

from benchmarks.fetch_images import write_images, write_list
from benchmarks.fetch_resize import likeness, our_pictures, their_pictures
from benchmarks.fetch_server import LATENCY_MS, Server, nginx
from benchmarks.fetch_sides import CONCURRENCY, Cost, ours, theirs
from benchmarks.machine import RESULTS, write_result
from benchmarks.peers import Peer, peer

HOSTS = 200
CELLS = (("bytes", "http", 0), ("bytes", "http", 0), ("bytes", "https", 0), ("bytes", "http", LATENCY_MS),
         ("bytes", "https", LATENCY_MS), ("resize", "http", 0), ("resize", "https", 0))
SIDES = ("ours", "img2dataset")


def cell(server: Server, folder: pathlib.Path, made: list[tuple[str, str, str]], work: str, scheme: str,
         latency_ms: int, repeat: int, other: Peer) -> dict[str, Any]:
    """Returns the medians of `repeat` alternating runs of both sides, and the ratio per CPU-second."""
    runs: dict[str, list[Cost]] = {side: [] for side in SIDES}
    alike: dict[str, float] = {}
    for number in range(repeat):
        with tempfile.TemporaryDirectory(dir=folder) as temporary:
            here = pathlib.Path(temporary)
            wanted = write_list(here / "urls.parquet", made, HOSTS, server.origin(scheme, latency_ms))
            for side in SIDES if number % 2 == 0 else reversed(SIDES):
                cost = (ours(server, here, here / "urls.parquet", wanted, work) if side == "ours"
                        else theirs(other, server, here, here / "urls.parquet", wanted, work))
                runs[side].append(cost)
                print(f"{work} {scheme:5} {latency_ms:3} ms {side:12} {cost}", flush=True)
            if work == "resize":
                alike = likeness(dict(our_pictures(str(here / "ours"))), dict(their_pictures(here / "theirs")),
                                 folder / "www")
    result: dict[str, Any] = {"work": work, "scheme": scheme, "latency_ms": latency_ms, "images": len(made),
                              "runs": repeat, "measured": datetime.date.today().isoformat(),
                              "load": round(os.getloadavg()[0], 1)}
    result |= {"psnr": alike} if alike else {}
    for side, costs in runs.items():
        result[side] = _summary(costs)
    result["ratio_per_cpu_s"] = round(result["img2dataset"]["cpu_s_per_1000"] / result["ours"]["cpu_s_per_1000"], 2)
    result["ratio_per_wall_s"] = round(result["ours"]["images_per_s"] / result["img2dataset"]["images_per_s"], 2)
    return result


def _summary(costs: list[Cost]) -> dict[str, Any]:
    images = costs[0].images
    wall, cpu = (statistics.median(getattr(cost, name) for cost in costs) for name in ("wall_s", "cpu_s"))
    return {"images_per_s": round(images / wall, 1), "cpu_s_per_1000": round(1000 * cpu / images, 3),
            "images_per_cpu_s": round(images / cpu, 1),
            "peak_mib": max(cost.peak_mib for cost in costs),
            "tail_s": statistics.median(cost.tail_s for cost in costs),
            "correct": min(cost.correct for cost in costs), "of": images,
            "each": [dataclasses.asdict(cost) for cost in costs]}


def _name(line: dict[str, Any]) -> tuple[Any, ...]:
    return line.get("work", "bytes"), line["scheme"], line["latency_ms"], line["images"]


def _marginal(many: dict[str, Any], few: dict[str, Any]) -> dict[str, float]:
    """Returns the CPU-milliseconds of one image more, without start: runs over many less runs over few."""
    each = {side: (many[side]["cpu_s_per_1000"] * many["images"] - few[side]["cpu_s_per_1000"] * few["images"])
            / max(1, many["images"] - few["images"]) for side in SIDES}
    return {f"{side}_cpu_ms": round(value, 3) for side, value in each.items()} | {
        "ratio": round(each["img2dataset"] / each["ours"], 2)}


def main() -> None:
    """Runs every cell and writes `results/fetch.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--first", type=int, default=10_000, help="images of the first cell (default: %(default)s)")
    options.add_argument("--others", type=int, default=2_000, help="images of the other cells (default: %(default)s)")
    options.add_argument("--repeat", type=int, default=3, help="runs of the other cells (default: %(default)s)")
    options.add_argument("--peers", type=pathlib.Path, help="folder of the peers' environments (benchmarks/peers.py)")
    options.add_argument("--result", default="fetch", help="name of the result file (default: %(default)s)")
    options.add_argument("--only", default="", help="cells to run again, as bytes:http:0,resize:http:0; the others "
                                                    "stay in the result as they were measured before")
    args = options.parse_args()
    only = {tuple(name.split(":")) for name in args.only.split(",") if name}
    other = peer("img2dataset", args.peers)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        made = write_images(folder / "www", max(args.first, args.others))
        with nginx(folder / "nginx", folder / "www", HOSTS) as server:
            cells = []
            for number, (work, scheme, latency_ms) in enumerate(CELLS):
                if only and (work, scheme, str(latency_ms)) not in only:
                    continue
                cells.append(cell(server, folder, made[:args.others if number else args.first], work, scheme,
                                  latency_ms, args.repeat if number else 1, other))
    for line in cells:
        print(f"{line['work']} {line['scheme']:5} {line['latency_ms']:3} ms: {line['ratio_per_cpu_s']} times per "
              f"CPU-second, {line['ratio_per_wall_s']} times per second; correct {line['ours']['correct']} and "
              f"{line['img2dataset']['correct']} of {line['images']}")
    marginal = _marginal(*cells[:2]) if len(cells) > 1 and cells[0]["images"] > cells[1]["images"] else {}
    known = {_name(line) for line in cells}
    path = RESULTS / f"{args.result}.json"
    if only and path.exists():
        earlier = json.loads(path.read_text())
        cells += [line for line in earlier["cells"] if _name(line) not in known]
        marginal = marginal or earlier["marginal"]
    print(write_result(args.result, f"python -m benchmarks.fetch --first {args.first} --others {args.others} "
                                    f"--repeat {args.repeat}" + (f" --only {args.only}" if only else ""),
                       {"hosts": HOSTS, "concurrency": CONCURRENCY, "cells": cells, "marginal": marginal,
                        "peer": other.versions()}))


if __name__ == "__main__":
    main()
