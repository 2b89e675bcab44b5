"""kill -9 at seeded random points of every stage, then the same command again: the same shards?

    python -m benchmarks.kill [--points 20] [--images 200] [--stages crawl,images,...]

KILL_DEADLINE_S=4 in the environment gives each answer four seconds instead of one.

For each stage: the build up to the stage before it is copied, the stage is started in a process group of its own,
killed after a random share of its usual duration, and run again to its end, then the build is finished.  Checked: the
sha256 of every shard equals the undisturbed run's; no URL whose outcome was committed before the kill is asked for
again.  Printed: the points, and what was repeated.
"""
from __future__ import annotations

import argparse
import collections
import glob
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import tempfile
import time

from benchmarks.machine import write_result
from benchmarks.webserver import IMAGEBERT, requests_seen, synthetic_web

STAGES = ("crawl", "judge", "images", "features", "filter", "shards")
DEADLINE_S = int(os.environ.get("KILL_DEADLINE_S", "1"))
ENVIRONMENT = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}


def command_of(stage: str, ready: pathlib.Path, out: pathlib.Path) -> list[str]:
    """Returns the command that runs one stage of the demo's build."""
    words = {"shards": ["shards", "build"]}.get(stage, [stage])
    network = ["--web", str(ready)] if stage in ("crawl", "images", "dataset") else []
    # Small parts, so that something is committed at most points; short deadlines, for slowness is not the question: but
    # on a machine that is busy with other things an answer that misses one makes another dataset.
    groups = {"crawl": [""], "images": [""], "dataset": ["crawl.", "images."]}.get(stage, [])
    values = ("parts.rows=16", *(f"fetch.{name}={DEADLINE_S}"
                                 for name in ("page_timeout_s", "image_timeout_s", "slow_after_s")))
    settings = [word for group in groups for value in values for word in ("--set", group + value)]
    return [*IMAGEBERT, *words, "--run", "demo", *network, *settings, "--out", str(out)]


def run(stage: str, ready: pathlib.Path, out: pathlib.Path) -> float:
    """Runs a stage to its end; returns its wall time in seconds."""
    started = time.monotonic()
    done = subprocess.run(command_of(stage, ready, out), env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{stage} ended with {done.returncode}: {done.stderr[-2000:]}")
    return time.monotonic() - started


def shard_digests(out: pathlib.Path) -> dict[str, str]:
    """Returns name -> sha256 of every shard the current manifest names."""
    folder = json.loads((out / "dataset.json").read_text())["stages"]["shards"]
    manifest = json.loads((out / folder / "manifest.json").read_text())
    return {entry["name"]: entry["sha256"] for entry in manifest["tables"]["shards"]}


def url_of(row: dict[str, object]) -> str:
    """Returns the URL of a line of the access log."""
    return f"{row['scheme']}://{row['host']}{row['path']}"


def committed_urls(out: pathlib.Path) -> set[str]:
    """Returns the URLs whose outcome lies in a committed part."""
    import pyarrow.parquet as pq

    urls: set[str] = set()
    for marker in glob.glob(str(out / "*" / "*" / "**" / "part-*.json"), recursive=True):
        part = json.loads(pathlib.Path(marker).read_text())
        table = pathlib.Path(marker).parents[1] / part["log"]["name"]
        urls.update(pq.read_table(table, columns=["url"])["url"].to_pylist())
    return urls


def main() -> None:
    """Kills, resumes, compares; writes `results/kill.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--points", type=int, default=20)
    options.add_argument("--images", type=int, default=200)
    options.add_argument("--stages", default=",".join(STAGES))
    options.add_argument("--seed", type=int, default=1)
    args = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        with synthetic_web(folder, args.images) as ready:
            reference, before, durations = folder / "reference", {}, {}
            for stage in STAGES:
                before[stage] = folder / f"before-{stage}"
                if reference.exists():
                    shutil.copytree(reference, before[stage])
                else:
                    before[stage].mkdir()
                durations[stage] = run(stage, ready, reference)
            expected = shard_digests(reference)
            # A URL that a redirect leads to is asked for by every URL that leads there, killed or not.
            asked = collections.Counter(url_of(row) for row in requests_seen(folder))
            shared = {url for url, count in asked.items() if count > 1}
            print("durations", {stage: round(seconds, 1) for stage, seconds in durations.items()}, flush=True)
            for stage in args.stages.split(","):
                draw = random.Random(f"{args.seed}-{stage}")
                for point in range(args.points):
                    rows.append(one_point(stage, point, draw.random() * durations[stage], ready, folder, before[stage],
                                          expected, shared))
                    print(rows[-1], flush=True)
    bad = [row for row in rows if not row["same_shards"] or row["fetched_again"]]
    print(f"{len(rows)} kills, {len(bad)} bad")
    print(write_result("kill", f"python -m benchmarks.kill --points {args.points} --images {args.images} "
                                f"--stages {args.stages}",
                       {"kills": len(rows), "bad": len(bad), "deadline_s": DEADLINE_S, "rows": rows}))
    raise SystemExit(1 if bad else 0)


def one_point(stage: str, point: int, after_s: float, ready: pathlib.Path, folder: pathlib.Path, before: pathlib.Path,
              expected: dict[str, str], shared: set[str]) -> dict[str, object]:
    """Kills one run of a stage after `after_s` seconds and finishes the build; returns what came out."""
    out = folder / "killed"
    shutil.copytree(before, out)
    process = subprocess.Popen(command_of(stage, ready, out), env=ENVIRONMENT, start_new_session=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    committed, seen = committed_urls(out), len(requests_seen(folder))
    run("dataset", ready, out)
    again = {url_of(row) for row in requests_seen(folder)[seen:]}
    result = {"stage": stage, "point": point, "killed_after_s": round(after_s, 2),
              "committed_before": len(committed), "fetched_again": sorted((committed & again) - shared),
              "requests_after": len(again), "same_shards": shard_digests(out) == expected}
    shutil.rmtree(out)
    return result


if __name__ == "__main__":
    main()
