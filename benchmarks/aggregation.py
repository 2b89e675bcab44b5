"""The stage filter on rows alone: a million occurrences with hot keys, on two cores.

    python -m benchmarks.aggregation [--rows 1000000]

Rows are made from their number: captions by Zipf's law, one caption on a fifth of the rows, one image on a fifth of the
URLs, one host with 30 %, clusters of near-duplicates 5 %, flat images 1 %.  Then the whole of FilterPairs (scoring,
near-duplicates, bans, best text) with its tables written, by Beam's local runner and two worker processes.

Shuffled bytes are measured: what Beam's runner got, encoded, for every grouping.  Memory is sampled twice a second, of
the runner, which holds all that is shuffled, and of the largest worker.  With a fifth of the rows it is run twice
more, the hot keys ten times larger the second time: what a worker holds must not grow with a key.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib
import resource
import tempfile
import time
from collections import Counter
from typing import Any

import numpy as np

from benchmarks.aggregation_rows import MadeTables, Rows, made, zipf
from benchmarks.machine import write_result
from crawl.transforms import WriteTable, entries_of
from filter.filter_config import FilterConfig
from filter.near_duplicates import NearRules, bands, card_of, pack
from filter.records import Best, ImageOutcome, Pair
from filter.transforms import FilterPairs
from imagebert import beam_runner

_BUCKETS = 32


def run_once(rows: Rows) -> dict[str, Any]:
    """Returns time, memory, shuffled bytes and outcomes of one run; in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(rows, sender))
    process.start()
    runner = workers = 0.0
    while process.is_alive():
        own, children = _resident(process.pid or 0)
        runner, workers = max(runner, own), max(workers, children)
        time.sleep(0.5)
    process.join()
    if process.exitcode:
        raise SystemExit("a run failed")
    result: dict[str, Any] = receiver.recv()
    return result | {"peak_mib": {"runner, with all that is shuffled": round(runner), "largest worker": round(workers)}}


def _run(rows: Rows, sender: Any) -> None:
    from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
    shuffled: Counter[str] = Counter()
    append = GroupingBuffer.append

    def counted(buffer: Any, data: bytes) -> None:
        shuffled["bytes"] += len(data)
        append(buffer, data)

    GroupingBuffer.append = counted
    config = FilterConfig(buckets=_BUCKETS)
    records = {"pairs": (Pair, "pair_id"), "best": (Best, "key"), "image_outcomes": (ImageOutcome, "sha256")}
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        def build(root: Any) -> None:
            filtered = (root | MadeTables(rows)) | FilterPairs(config)
            for name, (record, key) in records.items():
                filtered[name] | f"Write {name}" >> WriteTable(folder, name, record, key, _BUCKETS)

        beam_runner(2, [])("filter", build)
        outcomes: Counter[str] = Counter()
        for entry in entries_of(folder, "image_outcomes", _BUCKETS):
            outcomes.update(dict(entry.outcomes))
        written = sum(path.stat().st_size for path in pathlib.Path(folder).iterdir())
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    sender.send({"rows": rows.total, "rows_of_each_hot_key": rows.hot, "wall_s": round(time.monotonic() - began, 1),
                 "cpu_s": round(sum(one.ru_utime + one.ru_stime for one in used), 1),
                 "shuffled_mb": round(shuffled["bytes"] / 1e6), "tables_mb": round(written / 1e6),
                 "images": dict(sorted(outcomes.items(), key=lambda pair: -pair[1]))})


def _resident(parent: int) -> tuple[float, float]:
    """Returns MiB of a process, and of the largest process below it."""
    parents, sizes, page = {}, {}, os.sysconf("SC_PAGE_SIZE")
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                sizes[int(folder.name)] = int((folder / "statm").read_text().split()[1]) * page / 2**20
            except (OSError, ValueError, IndexError):
                continue
    below = {parent}
    while more := {one for one, above in parents.items() if above in below and one not in below}:
        below |= more
    return sizes.get(parent, 0.0), max((sizes.get(one, 0.0) for one in below - {parent}), default=0.0)


def comparisons(rows: Rows, rules: NearRules) -> dict[str, Any]:
    """Returns how many pairs of cards meet, at most (images out before count too), and the largest group of a band."""
    counts: Counter[int] = Counter()
    images = 0
    for number in range(rows.total):
        if rows.kind(number) == "flat" or (number and rows.kind(number) == "hot image"):
            continue
        images += 1
        counts.update(bands(pack(card_of(made(rows, number)[2], 0.5)), rules))
    sizes = np.array(list(counts.values()))
    pairs = int((sizes * (sizes - 1) // 2).sum())
    return {"images": images, "met": pairs, "met_an_image": round(pairs / images),
            "of_all_pairs": round(pairs / (images ** 2 / 2), 6), "largest_band_group": int(sizes.max())}


def main() -> None:
    """Runs the large one and the two smaller ones, and writes results/aggregation.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    args = options.parse_args()
    fifth = args.rows // 5
    runs = {}
    for name, rows in (("all", Rows(args.rows, fifth)), ("a fifth of it, small keys", Rows(fifth, fifth // 25)),
                       ("a fifth of it, keys ten times larger", Rows(fifth, fifth * 10 // 25))):
        runs[name] = run_once(rows)
        print(json.dumps({name: runs[name]}, indent=1), flush=True)
    whole = Rows(args.rows, fifth)
    met = comparisons(whole, NearRules())
    captions = Counter(0 if whole.kind(number) == "hot caption" else
                       zipf(hashlib.sha256(b"row %d" % number).digest(), args.rows) for number in range(args.rows))
    print(write_result("aggregation", f"python -m benchmarks.aggregation --rows {args.rows}", {
        "runs": runs, "comparisons": met,
        "rows_of_the_commonest_captions": [count for _, count in captions.most_common(3)],
        "at_100_million_rows": at_scale(runs["all"], met, args.rows)}))


def at_scale(run: dict[str, Any], met: dict[str, Any], rows: int) -> dict[str, Any]:
    """Returns the arithmetic for 100 million rows: rows cost what they cost here, meetings grow with the square."""
    times = 100_000_000 / rows
    images = met["images"] * times
    rules = NearRules(bands=5)
    mean_group = images / 2 ** 13
    return {
        "cpu_hours_of_rows": round(run["cpu_s"] * times / 3600, 1),
        "shuffled_gb": round(run["shuffled_mb"] * times / 1000), "images": round(images), "near.bands": rules.bands,
        "mean_images_of_a_band_value": round(mean_group), "dealt_out_in_groups_of": rules.max_met,
        "comparisons": f"{images * 2 * rules.bands * (min(mean_group, rules.max_met) / 2 + rules.leaders):.2e}",
        "held_by_a_worker": "accumulators of fixed size, one group of about max_met + leaders cards of 73 bytes, "
                            "and the banned captions: at most rows / max_images_per_caption of them"}


if __name__ == "__main__":
    main()
