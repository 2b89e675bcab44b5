"""Both sides of the fetch benchmark: the project's real stage `images`, and img2dataset, over one list of URLs."""
from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import pyarrow.parquet as pq

from benchmarks.fetch_images import Wanted
from benchmarks.fetch_resize import PEER_WORK, take_all
from benchmarks.fetch_server import Server
from benchmarks.peers import Peer
from benchmarks.webserver import IMAGEBERT

CONCURRENCY = 64                   # requests at once, threads of the peer


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a run of one side took."""

    images: int
    wall_s: float                  # the whole process, its start included
    cpu_s: float                   # user and system, its children too
    peak_mib: float                # resident, of its largest process
    tail_s: float                  # from the moment 99 % of the images were served to the end of the process
    correct: int                   # rows that ended as they should, with the right sha256
    requests: int                  # as the server counted them
    wrong: dict[str, int]          # "expected -> found" of the others


def ours(server: Server, folder: pathlib.Path, table: pathlib.Path, wanted: Sequence[Wanted],
         work: str = "bytes") -> Cost:
    """Runs the stage `images`, and `reencoded` where the work is `resize`; what comes before is not measured."""
    out = folder / "ours"
    for command in (["candidates", "--table", str(table), "--language", "en"], ["judge"]):
        subprocess.run([*IMAGEBERT, *command, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
    network = ["--allow-host", "*.test:*", "--min-delay", "0", "--ca-file", str(server.bundle),
               "--max-in-flight", str(CONCURRENCY)]
    commands = [[*IMAGEBERT, "images", "--out", str(out), *network]]
    if work == "resize":
        commands.append([sys.executable, "-m", "benchmarks.fetch_resize", "--out", str(out)])
    cost = _measured(server, commands, folder / "ours.log", lambda: take_all(str(out)))
    from crawl.records import Image
    from crawl.stages import current_manifest
    from crawl.tables import read_table
    found = {row.url: (row.outcome, row.sha256) for path in current_manifest(str(out), "images").paths("images")
             for row in read_table(path, Image)}
    return _judged(cost, wanted, {url: (outcome, sha256 if outcome == "ok" else "")
                                  for url, (outcome, sha256) in found.items()})


def theirs(peer: Peer, server: Server, folder: pathlib.Path, table: pathlib.Path, wanted: Sequence[Wanted],
           work: str = "bytes") -> Cost:
    """Runs img2dataset as its authors advise, on one core: sha256 and EXIF stay on, as by default."""
    out = folder / "theirs"
    cost = _measured(server, [[
        peer.program("img2dataset"), f"--url_list={table}", "--input_format=parquet", "--url_col=url",
        "--caption_col=caption", "--output_format=webdataset", f"--output_folder={out}", "--processes_count=1",
        f"--thread_count={CONCURRENCY}", "--number_sample_per_shard=10000", "--enable_wandb=False",
        *(PEER_WORK if work == "resize" else ("--disable_all_reencoding=True",))]], folder / "theirs.log")
    rows = [row for path in sorted(out.glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return _judged(cost, wanted, {row["url"]: _peer_outcome(row) for row in rows})


def _peer_outcome(row: Mapping[str, str]) -> tuple[str, str]:
    if row["status"] == "success":
        return "ok", row["sha256"]
    if row["status"] == "failed_to_resize":
        return "not_an_image", ""
    message = row["error_message"] or ""
    for sign, outcome in (("404", "http_404"), ("Errno -2]", "dns_error"), ("Errno -5]", "dns_error"),
                          ("Errno -3]", "dns_failure")):
        if sign in message:
            return outcome, ""
    return row["status"], ""


def _measured(server: Server, commands: Sequence[Sequence[str]], log: pathlib.Path,
              between: Callable[[], None] = lambda: None) -> Cost:
    """Runs commands one after the other; what happens between two is not measured."""
    server.forget()
    environment = os.environ | {"SSL_CERT_FILE": str(server.bundle), "NO_ALBUMENTATIONS_UPDATE": "1",
                                "WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    environment.pop("SOURCE_DATE_EPOCH", None)
    wall_s = cpu_s = peak_mib = between_s = 0.0
    for number, command in enumerate(commands):
        if number:
            began = time.monotonic()
            between()
            between_s += time.monotonic() - began
        started = time.monotonic()
        with log.open("ab") as file:
            process = subprocess.Popen(server.client(command), env=environment, stdout=file, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
        wall_s += time.monotonic() - started
        cpu_s += usage.ru_utime + usage.ru_stime
        peak_mib = max(peak_mib, usage.ru_maxrss / 1024)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{command[:3]} ended with {process.returncode}: {log.read_text()[-2000:]}")
    ended = time.time() - between_s
    served = server.served()
    images = sorted(float(row[0]) for row in served if row[3].endswith(".jpg"))
    return Cost(images=len(images), wall_s=round(wall_s, 2), cpu_s=round(cpu_s, 2), peak_mib=round(peak_mib, 1),
                tail_s=round(ended - images[len(images) * 99 // 100], 2), correct=0, requests=len(served), wrong={})


def _judged(cost: Cost, wanted: Sequence[Wanted], found: Mapping[str, tuple[str, str]]) -> Cost:
    wrong: dict[str, int] = {}
    for one in wanted:
        outcome, sha256 = found.get(one.url, ("no row", ""))
        if (outcome, sha256) != (one.outcome, one.sha256):
            name = f"{one.outcome} -> {outcome}" + (", other bytes" if outcome == one.outcome else "")
            wrong[name] = wrong.get(name, 0) + 1
    return dataclasses.replace(cost, images=len(wanted), correct=len(wanted) - sum(wrong.values()), wrong=wrong)
