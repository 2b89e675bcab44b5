"""For how long does committing a part stop the fetch loop?  Waited for, as once, and stored by a thread, as now.

    python -m benchmarks.commit [--mb-per-s 20,100]

A part of 256 MiB (2,500 images of 107 KB) goes to a disk whose fsync takes as long as a store of so many MB/s would.
The loop's turn is a pause of 5 ms, as when it waits for answers; the longest time between two turns is reported, and
that of a loop with nothing to commit.  Writes results/commit.json.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from unittest import mock

from benchmarks.machine import write_result
from crawl.parts import Part, PartLimits, PartWriter
from crawl.records import ImageLog

IMAGES, BYTES = 2_500, 107_400
TURN_S = 0.005


def full_part(folder: str) -> PartWriter:
    """Returns a writer whose open part has reached its limit."""
    writer = PartWriter(f"{folder}/images/x", folder, 7, 0, "image", PartLimits(), lambda name: b"")
    body = os.urandom(BYTES)
    for number in range(IMAGES):
        data = number.to_bytes(8, "big") + body
        row = ImageLog(str(number), f"http://a.test/{number}", "image", 0, "ok", 200, "", (), "", "", len(data), False,
                       (), "allow", "", 0, 0, hashlib.sha256(data).hexdigest(), "", 0, "jpg", 1, 1)
        writer.add(row, [], data)
    assert writer.is_full()
    return writer


def longest_pause(step: Callable[[], Part | None], seconds: float = float("inf")) -> float:
    """Returns the longest time between two turns of a loop that takes a step each time, until one gives a part."""
    began = before = time.monotonic()
    longest = 0.0
    done = None
    while done is None and before - began < seconds:
        time.sleep(TURN_S)
        done = step()
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest


def pauses(mb_per_s: float) -> dict[str, float]:
    """Returns the longest pauses with a store of this speed, in seconds."""
    fsync, found = os.fsync, {}

    def slow(descriptor: int) -> None:
        fsync(descriptor)
        time.sleep(os.fstat(descriptor).st_size / mb_per_s / 1e6)
    with mock.patch.object(os, "fsync", slow):
        for how in ("waited for", "by a thread"):
            with tempfile.TemporaryDirectory() as folder, full_part(folder) as writer:
                if how == "by a thread":
                    writer.seal()
                found[how] = round(longest_pause(writer.commit if how == "waited for" else writer.settle), 3)
    return found


def main() -> int:
    """Measures, prints, writes the result."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--mb-per-s", default="20,100")
    args = options.parse_args()
    found: dict[str, object] = {"nothing to commit": round(longest_pause(lambda: None, 3.0), 3)}
    found |= {f"{speed} MB/s": pauses(float(speed)) for speed in args.mb_per_s.split(",")}
    print(found)
    write_result("commit", "make bench-commit", {"part_mib": IMAGES * BYTES / 2**20, "longest_pause_s": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
