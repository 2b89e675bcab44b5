"""What each stage costs as a build grows: one process, the whole way from pages to shards, counted a job at a time.

    python -m benchmarks.scale [--images 1000 3000] [--rows 20000 80000]

Each size is a synthetic web of its own and a build over it; then the first size twice more with every picture padded
to 20 KB and to 200 KB, for what is shuffled must not grow with a picture.  `--rows` are sizes of the stage filter on
made rows alone (benchmarks/aggregation_rows.py, no hot keys).  Writes results/scale.json and scale.md.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import pathlib
import tempfile
from typing import Any

import imagebert
from benchmarks.aggregation_rows import MadeTables, Rows
from benchmarks.machine import RESULTS, write_result
from benchmarks.scale_counts import CountedRun
from benchmarks.scale_report import written
from crawl.policy import Network
from crawl.stages import current_manifest
from crawl.transforms import WriteTable
from demo.images import DrawJob
from demo.server import WebServer
from demo.web import SyntheticWeb, WebConfig
from filter.filter_config import FilterConfig
from filter.records import Best, ImageOutcome, Pair
from filter.transforms import FilterPairs


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


def _rows(total: int, ends: Any) -> None:
    buckets = 8
    with tempfile.TemporaryDirectory() as folder:
        run = CountedRun(pathlib.Path(folder))

        def build(root: Any) -> None:
            filtered = (root | MadeTables(Rows(total, 0))) | FilterPairs(FilterConfig(buckets=buckets))
            for name, (record, key) in {"pairs": (Pair, "pair_id"), "best": (Best, "key"),
                                        "image_outcomes": (ImageOutcome, "sha256")}.items():
                filtered[name] | f"Write {name}" >> WriteTable(folder, name, record, key, buckets)

        run("filter", build)
        ends.send({"units": {"filter: pair": total},
                   "stages": {name: dataclasses.asdict(cost) for name, cost in run.stages.items()}})


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


def build_of(images: int, least: int = 0) -> dict[str, Any]:
    """Returns what a build over a web of so many images took."""
    ours, theirs = multiprocessing.Pipe()
    web = multiprocessing.get_context("spawn").Process(target=_serve, args=(images, least, theirs))
    web.start()
    try:
        return {"images": images, "least_bytes_an_image": least, **_in_a_process(_build, ours.recv())}
    finally:
        ours.send("end")
        web.join()


def main() -> None:
    """Runs all of it, and writes after each what there is."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, nargs="+", default=[1000, 3000], help="sizes of the web")
    options.add_argument("--rows", type=int, nargs="*", default=[20_000, 80_000], help="rows of the filter alone")
    args = options.parse_args()
    result: dict[str, Any] = {"builds": [], "padded": [], "rows": []}
    jobs = [("builds", lambda size=size: build_of(size)) for size in args.images[:1]]
    jobs += [("padded", lambda least=least: build_of(args.images[0], least)) for least in (20_000, 200_000)]
    jobs += [("rows", lambda rows=rows: _in_a_process(_rows, rows)) for rows in args.rows]
    jobs += [("builds", lambda size=size: build_of(size)) for size in args.images[1:]]
    words = " ".join(map(str, args.images)), " ".join(map(str, args.rows))
    for kind, work in jobs:
        result[kind].append(work())
        path = write_result("scale", f"python -m benchmarks.scale --images {words[0]} --rows {words[1]}", result)
        print(kind, json.dumps(result[kind][-1]["units"]), flush=True)
    sites = json.loads((RESULTS / "sites.json").read_text())
    report = RESULTS.parent / "scale.md"
    report.write_text(written(json.loads(path.read_text()), sites))
    print(path, report)


if __name__ == "__main__":
    main()
