"""The stage `images` behind a slow, failing resolver, against img2dataset: 2,000 names, two images each.

    python -m benchmarks.dns [--names 2000] [--peers DIR]

The name server is benchmarks/dns_server.py (50 ms, 900 ms, SERVFAIL, NXDOMAIN, silence).  Each client runs in a mount
namespace whose /etc/resolv.conf names it alone; both sides resolve as they do in use, the peer by glibc.  Right is an
image with its sha256 where its name has an address, `dns_error` where the name does not exist and `dns_failure`, due
again in the next round, where the resolver failed or was silent.  Writes results/dns.json.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.dns_server import KINDS, kind_of
from benchmarks.fetch_images import Wanted, write_images, write_list
from benchmarks.fetch_server import SERVER_CORE, Server, nginx
from benchmarks.fetch_sides import Cost, ours, theirs
from benchmarks.machine import write_result
from benchmarks.peers import peer

IMAGES_A_NAME = 2
_ADDRESS = "127.53.0.1"
_OUTCOMES = {"servfail": "dns_failure", "silent": "dns_failure", "nxdomain": "dns_error"}
_NUMBER = re.compile(r"//h(\d{4})\.")
_NAMES_LINE = re.compile(r"[\d,]+ names: .*")


@contextlib.contextmanager
def resolver(folder: pathlib.Path) -> Iterator[dict[str, int]]:
    """Yields what will hold, when it has ended, how often which kind of name was asked for."""
    counts, asked = folder / "asked.json", dict[str, int]()
    counts.unlink(missing_ok=True)
    process = subprocess.Popen(["taskset", "-c", SERVER_CORE, sys.executable, "-m", "benchmarks.dns_server",
                                "--address", _ADDRESS, "--to", "127.0.0.1", "--counts", str(counts)])
    try:
        deadline = time.monotonic() + 20
        while not counts.exists():
            if time.monotonic() > deadline or process.poll() is not None:
                raise RuntimeError(f"no name server at {_ADDRESS}:53")
            time.sleep(0.05)
        yield asked
    finally:
        process.terminate()
        process.wait(30)
    asked.update(json.loads(counts.read_text()))


def behind(server: Server, folder: pathlib.Path) -> Server:
    """Returns the server whose clients ask the slow resolver for every name."""
    files = {"hosts": "127.0.0.1 localhost\n", "resolv.conf": f"nameserver {_ADDRESS}\n",
             "nsswitch.conf": "hosts: files dns\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    return dataclasses.replace(server, etc={name: folder / name for name in files})


def expected(wanted: list[Wanted]) -> list[Wanted]:
    """Returns how each URL ends with this resolver."""
    return [dataclasses.replace(one, outcome=outcome, sha256="")
            if (outcome := _OUTCOMES.get(_kind(one.url))) else one for one in wanted]


def _kind(url: str) -> str:
    number = _NUMBER.search(url)
    assert number is not None
    return kind_of(int(number[1]))


def _summary(cost: Cost, wanted: list[Wanted], asked: dict[str, int], log: pathlib.Path) -> dict[str, Any]:
    reached = sum(one.outcome not in _OUTCOMES.values() for one in wanted)
    said = _NAMES_LINE.findall(log.read_text(errors="replace"))
    return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "reachable_images_per_s": round(reached / cost.wall_s, 1),
            "peak_mib": cost.peak_mib, "correct": cost.correct, "of": cost.images, "wrong": cost.wrong,
            "queries": asked} | ({"resolving": said[-1]} if said else {})


def main() -> None:
    """Runs both sides once and writes `results/dns.json`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--names", type=int, default=2_000, help="names (default: %(default)s)")
    options.add_argument("--peers", type=pathlib.Path, help="folder of the peers' environments (benchmarks/peers.py)")
    options.add_argument("--result", default="dns", help="name of the result file (default: %(default)s)")
    args = options.parse_args()
    other = peer("img2dataset", args.peers)
    result: dict[str, Any] = {"names": args.names, "load_before": round(os.getloadavg()[0], 1)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        made = write_images(folder / "www", IMAGES_A_NAME * args.names)
        with nginx(folder / "nginx", folder / "www", 1) as started:
            server = behind(started, folder)
            wanted = expected(write_list(folder / "urls.parquet", made, args.names, server.origin("http", 0)))
            result["images_of_a_kind"] = {kind: sum(_kind(one.url) == kind for one in wanted) for kind in KINDS}
            for side in ("ours", "img2dataset"):
                with resolver(folder) as asked:
                    cost = (ours(server, folder, folder / "urls.parquet", wanted) if side == "ours"
                            else theirs(other, server, folder, folder / "urls.parquet", wanted))
                log = folder / ("ours.log" if side == "ours" else "theirs.log")
                result[side] = _summary(cost, wanted, asked, log)
                print(side, json.dumps(result[side], indent=1), flush=True)
    print(write_result(args.result, f"python -m benchmarks.dns --names {args.names}", result))


if __name__ == "__main__":
    main()
