"""What each stage costs as a build grows: one process, the whole way from pages to shards, counted a job at a time.

    python -m benchmarks.scale [--images 1000 10000] [--rows 100000 1000000]
    python -m benchmarks.scale --images 100000 --rows 10000000

Each size is a synthetic web of its own and a build over it; the first of several sizes is built twice more, with every
picture padded to 20 KB and to 200 KB, for what is shuffled must not grow with a picture.  `--rows` are sizes of jobs on
made rows alone (benchmarks/scale_rows.py), evenly spread and with one hot key.  Each result is put into
results/scale.json when there is one, in the place of an older one of its size, and scale.md is written anew.
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import multiprocessing
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import imagebert
from benchmarks.machine import RESULTS, write_result
from benchmarks.scale_counts import CountedRun
from benchmarks.scale_report import written
from benchmarks.scale_rows import JOBS, job
from crawl.policy import Network
from crawl.stages import current_manifest
from demo.images import DrawJob
from demo.server import WebServer
from demo.web import SyntheticWeb, WebConfig


class PaddedServer(WebServer):
    """A synthetic web whose pictures have at least so many bytes: what decoders do not read stands behind the end."""

    least = 0

    def body(self, found: Any) -> bytes:
        """Returns the bytes of an answer."""
        data = super().body(found)
        return data.ljust(self.least, b"\0") if isinstance(found.body, DrawJob) else data


def _serve(images: int, least: int, ends: Any) -> None:
    PaddedServer.least = least
    with PaddedServer(SyntheticWeb(WebConfig(seed=1, num_images=images)), pool=1) as server:
        ends.send(server.ready())
        ends.recv()


def _build(ready: dict[str, Any], ends: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out"
        out.mkdir()
        (out / "seeds.txt").write_text("".join(f"{url}\n" for url in ready["seeds"]))
        # No delay between requests: what is counted is work, and pauses cost none.
        network = Network(connect_to=tuple(ready["connect_to"]), ca_file=ready["ca_file"], allow_hosts=("*.test",),
                          min_delay_s=0.0)
        run = CountedRun(out)
        imagebert.build_dataset(str(out), str(out / "seeds.txt"), _patient(), network, run)
        shards = current_manifest(str(out), "shards")
        ends.send({"units": {f"{line.stage}: {line.unit}": line.rows_in for line in shards.funnel},
                   "image_bytes": sum(one.bytes for one in current_manifest(str(out), "images").tables["tars"]),
                   "stages": {name: dataclasses.asdict(cost) for name, cost in run.stages.items()}})


def _patient() -> imagebert.DatasetConfig:
    """Returns the demo's settings with long deadlines: on a busy machine nothing but the web's own faults fails."""
    config = imagebert.demo()
    fetch = dataclasses.replace(config.crawl.fetch, page_timeout_s=20.0, image_timeout_s=20.0, slow_after_s=15,
                                robots_timeout_s=20.0, connect_timeout_s=10.0)
    return dataclasses.replace(config, crawl=dataclasses.replace(config.crawl, fetch=fetch),
                               images=dataclasses.replace(config.images, fetch=fetch))


def _rows(name: str, kind: str, total: int, ends: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = CountedRun(pathlib.Path(folder))
        run(name, job(name, kind, total, pathlib.Path(folder)))
        ends.send({"job": name, "kind": kind, "rows": total,
                   "came_out": int((pathlib.Path(folder) / "came-out").read_text()),
                   "cost": dataclasses.asdict(run.stages[name])})


def _in_a_process(work: Any, *args: Any) -> dict[str, Any]:
    """Returns what a function sends, run in a process of its own so that nothing of another run is counted."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(*args, theirs))
    process.start()
    theirs.close()
    try:
        answer: dict[str, Any] = ours.recv()
    except EOFError:
        raise SystemExit(f"{work.__name__} ended without a result") from None
    process.join()
    return answer


@contextlib.contextmanager
def served(images: int, least: int = 0) -> Iterator[dict[str, Any]]:
    """Yields what a client must know of a running web whose pictures have at least so many bytes."""
    ours, theirs = multiprocessing.Pipe()
    web = multiprocessing.get_context("spawn").Process(target=_serve, args=(images, least, theirs))
    web.start()
    theirs.close()
    try:
        yield ours.recv()
    finally:
        with contextlib.suppress(OSError):
            ours.send("end")
        web.join()


def build_of(images: int, least: int = 0) -> dict[str, Any]:
    """Returns what a build over a web of so many images took."""
    with served(images, least) as ready:
        return {"images": images, "least_bytes_an_image": least, **_in_a_process(_build, ready)}


def rows_of(name: str, kind: str, total: int) -> dict[str, Any]:
    """Returns what one job on rows alone took, and how many rows came out of it."""
    return _in_a_process(_rows, name, kind, total)


def main() -> None:
    """Runs all of it; what is there is written after each."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, nargs="*", default=[1000, 10_000], help="sizes of the web")
    options.add_argument("--rows", type=int, nargs="*", default=[100_000, 1_000_000], help="of the jobs on rows alone")
    args = options.parse_args()
    padded = args.images[:1] if len(args.images) > 1 else []
    work: list[tuple[str, Callable[[], dict[str, Any]]]] = []
    work += [("builds", lambda size=size: build_of(size)) for size in args.images[:1]]
    work += [("builds", lambda size=size, least=least: build_of(size, least))
             for size in padded for least in (20_000, 200_000)]
    work += [("rows", lambda name=name, kind=kind, rows=rows: rows_of(name, kind, rows))
             for rows in args.rows for name, kind in JOBS]
    work += [("builds", lambda size=size: build_of(size)) for size in args.images[1:]]
    for kind, measure in work:
        _keep(kind, measure() | {"load": round(os.getloadavg()[2], 1)})


def _keep(kind: str, one: dict[str, Any]) -> None:
    """Puts a result into the file, and writes the page of what is there."""
    path = RESULTS / "scale.json"
    result = json.loads(path.read_text()) if path.exists() else {"builds": [], "rows": []}
    names = {"builds": ("images", "least_bytes_an_image"), "rows": ("job", "rows", "kind")}

    def order(value: dict[str, Any]) -> tuple[Any, ...]:
        return tuple(value[name] for name in names[kind])

    result[kind] = sorted([*(other for other in result[kind] if order(other) != order(one)), one], key=order)
    write_result("scale", "python -m benchmarks.scale", {name: result[name] for name in ("builds", "rows")})
    print(kind, *order(one), flush=True)
    if len({build["images"] for build in result["builds"]}) > 1:
        sites = json.loads((RESULTS / "sites.json").read_text())
        (RESULTS.parent / "scale.md").write_text(written(json.loads(path.read_text()), sites))


if __name__ == "__main__":
    main()
