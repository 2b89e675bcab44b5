"""Is any of 200 hosts asked more often than it may be?  The server's own log decides.

    python -m benchmarks.politeness [--hosts 200] [--pages 8] [--shards 6] [--workers 2]

Runs `imagebert crawl` over several fetch shards and processes against the web of benchmarks/politeness_web.py: a round,
then half of a second one, kill -9, and the same command again.  Reports, for each kind of host, the smallest ratio of
the gap between two requests to the delay that was due, of all, across the end of the first round and across the kill:
at least 1 everywhere, or the command ends with 1.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

from benchmarks.machine import write_result
from benchmarks.politeness_web import KINDS, SECOND_ROUND, Delays, PolitenessWeb, Served, closest, serving
from benchmarks.webserver import IMAGEBERT

DELAYS = Delays(own_s=0.4, asked_s=1.0, retry_after_s=2)


def main() -> int:
    """Crawls, checks the log, writes `results/politeness.json`; returns 1 when a host was disturbed."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hosts", type=int, default=200)
    options.add_argument("--pages", type=int, default=8)
    options.add_argument("--shards", type=int, default=6)
    options.add_argument("--workers", type=int, default=2)
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, serving(PolitenessWeb(args.hosts, args.pages, DELAYS)) as web:
        seeds = pathlib.Path(folder, "seeds.txt")
        seeds.write_text("".join(f"{url}\n" for url in web.seeds))
        command = [
            *IMAGEBERT, "crawl", "--seeds", str(seeds), "--out", f"{folder}/out", "--allow-host", "*.test",
            "--connect-to", f"::127.0.0.1:{web.port}", "--min-delay", str(DELAYS.own_s), "--max-rounds", "2",
            "--workers", str(args.workers), "--set", f"shards={args.shards}", "--json"]
        started = time.monotonic()
        killed_at = kill_in_second_round(command, web, args.hosts * args.pages // 4)
        done = subprocess.run(command, capture_output=True, text=True)
        seconds = time.monotonic() - started
        if done.returncode:
            raise RuntimeError(f"the crawl ended with {done.returncode}: {done.stderr[-2000:]}")
        funnel = json.loads(done.stdout)["funnel"][0]
    second_round_at = min(line.begun for line in web.log if is_second(line))
    found = {"all": closest(web.log), "across the rounds": closest(web.log, second_round_at),
             "across the kill": closest(web.log, killed_at)}
    for where, kinds in found.items():
        for kind, one in kinds.items():
            print(f"{where:18} {kind:13} {one.ratio:8.4f} = {one.gap_s:.4f} s / {one.due_s:.1f} s at {one.host}, "
                  f"of {one.gaps} gaps")
    polite = set(found["all"]) == set(KINDS) and all(one.ratio >= 1.0 for one in found["all"].values())
    write_result("politeness", "make bench-politeness", {
        "hosts": args.hosts, "pages_a_host_and_round": args.pages, "rounds": 2, "shards": args.shards,
        "workers": args.workers, "delays": dataclasses.asdict(DELAYS), "requests": len(web.log),
        "seconds": round(seconds, 1), "outcomes": funnel["outcomes"], "no_host_disturbed": polite,
        "smallest_gap_by_delay": {where: {
            kind: dataclasses.asdict(one) | {"ratio": round(one.ratio, 4), "gap_s": round(one.gap_s, 4)}
            for kind, one in kinds.items()} for where, kinds in found.items()}})
    return 0 if polite else 1


def is_second(line: Served) -> bool:
    """Returns whether a request was for a page of the second round."""
    number = line.path.strip("/").split("/")[0]
    return number.isdigit() and int(number) >= SECOND_ROUND


def kill_in_second_round(command: list[str], web: PolitenessWeb, after: int) -> float:
    """Runs the crawl until so many pages of the second round were asked for, and kills it; returns when that was."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while sum(map(is_second, list(web.log))) < after:
        if process.poll() is not None:
            raise RuntimeError(f"the crawl ended with {process.returncode} before it could be killed")
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
