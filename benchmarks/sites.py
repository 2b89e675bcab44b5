"""`imagebert dataset` over the eight real sites on loopback: the funnel, the time, the memory.

    python -m benchmarks.sites --shared ../shared [--keep DIR]
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from benchmarks.machine import peak_mib_of_children, write_result
from benchmarks.webserver import IMAGEBERT

SITES = 8


def free_ports(count: int) -> int:
    """Returns the first of `count` free neighbouring loopback ports."""
    for first in range(19000, 30000, count):
        try:
            for port in range(first, first + count):
                with socket.create_server(("127.0.0.1", port)):
                    pass
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports on loopback")


@contextlib.contextmanager
def served_sites(shared: pathlib.Path, folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, list[str]]]:
    """Yields the seeds file of the served sites, and the options by which a crawler may ask them."""
    port = free_ports(SITES)
    seeds = folder / "seeds.txt"
    server = subprocess.Popen([sys.executable, str(shared / "tools" / "serve_sites.py"), "--port", str(port),
                               "--seeds", str(seeds)], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        while not seeds.exists():
            time.sleep(0.1)
        network = ["--min-delay", "0.02"]
        for offset in range(SITES):
            network += ["--allow-host", f"127.0.0.1:{port + offset}"]
        yield seeds, network
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def main() -> None:
    """Serves the sites, builds, and writes `results/sites.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, required=True, help="folder that holds tools/ and data/sites")
    options.add_argument("--keep", type=pathlib.Path, help="leave the dataset here (default: a temporary folder)")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        out = args.keep or folder / "out"
        with served_sites(args.shared, folder) as (seeds, network):
            command = [*IMAGEBERT, "dataset", "--seeds", str(seeds), "--out", str(out), *network, "--json"]
            started = time.monotonic()
            answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            seconds = time.monotonic() - started
    for line in answer["funnel"]:
        print(f"{line['stage']:>9} {line['unit']:<14} {line['rows_in']:>7}  {line['outcomes']}")
    print("image requests", answer["image_requests"])
    print(write_result("sites", "python -m benchmarks.sites --shared ../shared", {
        "seconds": round(seconds, 1), "peak_mib": peak_mib_of_children(), "funnel": answer["funnel"],
        "image_requests": answer["image_requests"],
        "shards": answer["shards"] | {"folder": pathlib.Path(answer["shards"]["folder"]).name},
        "notes": answer["notes"]}))


if __name__ == "__main__":
    main()
