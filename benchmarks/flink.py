"""What Flink costs: a build at parallelism 2 beside the same by the in-process runner with 2 workers; what it moves.

    python -m benchmarks.flink --home .flink [--images 10000] [--padded 50] [--elements 100000]

The builds are by the command itself over a web of its own each, and must be equal.  CPU-seconds are those of the
command and of all processes of the cluster.  Then the same web of `--padded` images with pictures of at least 20 KB
and at least 200 KB, on Flink: the bytes its tasks exchanged, a stage.  Then jobs of small elements through a spread, a
map and a grouping, of two sizes, whose difference is what an element costs.  Needs Java 17 and Maven; writes
results/flink.json.
"""
from __future__ import annotations

import argparse
import json
import multiprocessing
import pathlib
import tempfile
import time
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from benchmarks.flink_cost import cpu_s, exchanged
from benchmarks.machine import write_result
from benchmarks.scale import served
from crawl.errors import UsageError
from crawl.runner import beam_runner
from deploy.builds import Facts, dataset_command, facts_of, run
from deploy.cluster import Cluster
from deploy.settings import FILE, read_settings

_CHUNK = 1000
_KEYS = 4096


def built(folder: pathlib.Path, images: int, least: int, options: list[str], cluster: Cluster | None
          ) -> tuple[dict[str, Any], Facts]:
    """Returns what a build took, and what came out of it."""
    folder.mkdir()
    with served(images, least) as ready:
        (folder / "web.json").write_text(json.dumps(ready))
        began, before, since_ms = time.monotonic(), cpu_s(cluster), int(time.time() * 1000)
        run(dataset_command(folder / "web.json", folder / "out", options))
        took = {"seconds": round(time.monotonic() - began, 1), "cpu_s": round(cpu_s(cluster) - before, 1)}
    if cluster is not None:
        took["exchanged_bytes"] = exchanged(cluster, since_ms)
    return took, facts_of(folder / "out")


def _spread(start: int) -> list[tuple[int, int]]:
    return [(number % _KEYS, number) for number in range(start, start + _CHUNK)]


def _next(key: int, number: int) -> tuple[int, int]:
    return key, number + 1


def _sum(key: int, numbers: Iterable[int]) -> int:
    return sum(numbers)


def _elements(count: int, workers: int, options: list[str], sender: Any) -> None:
    def build(root: Any) -> None:
        (root | beam.Create(range(0, count, _CHUNK)) | beam.Reshuffle() | beam.FlatMap(_spread) | beam.MapTuple(_next)
         | beam.GroupByKey() | beam.MapTuple(_sum) | beam.CombineGlobally(sum))
    beam_runner(workers, options)("elements", build)
    sender.send("done")


def elements_cpu_s(count: int, workers: int, options: list[str], cluster: Cluster | None) -> float:
    """Returns the CPU-seconds of a job of so many small elements, in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    before = cpu_s(cluster)
    process = multiprocessing.get_context("spawn").Process(target=_elements, args=(count, workers, options, sender))
    process.start()
    sender.close()
    try:
        receiver.recv()
    except EOFError:
        raise SystemExit("a job of small elements failed") from None
    process.join()
    return cpu_s(cluster) - before


def an_element(count: int, workers: int, options: list[str], cluster: Cluster | None) -> float:
    """Returns the CPU-microseconds that one more element costs, between `count` of them and five times as many."""
    small, large = (elements_cpu_s(size, workers, options, cluster) for size in (count, 5 * count))
    return round((large - small) * 1e6 / (4 * count), 1)


def main() -> None:
    """Runs all of it, and writes results/flink.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=pathlib.Path, default=pathlib.Path(".flink"), metavar="DIR",
                        help="where the cluster is installed and logs (default: %(default)s)")
    parser.add_argument("--images", type=int, default=10_000, help="of the web (default: %(default)s)")
    parser.add_argument("--padded", type=int, default=50, help="of the web with large pictures (default: %(default)s)")
    parser.add_argument("--elements", type=int, default=100_000, help="of the small job (default: %(default)s)")
    args = parser.parse_args()
    cluster = Cluster(args.home, read_settings(FILE))
    result: dict[str, Any] = {"images": args.images, "flink": cluster.settings.flink_version,
                              "beam_runner": cluster.settings.beam_runner_version}
    try:
        cluster.up()
        on_flink = ["--", *cluster.options(2)]
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            there, found = built(folder / "flink", args.images, 0, on_flink, cluster)
            here, wanted = built(folder / "local", args.images, 0, ["--workers", "2"], None)
            result["build"] = {"flink, parallelism 2": there, "in-process, 2 workers": here,
                               "seconds_times": round(there["seconds"] / here["seconds"], 2),
                               "cpu_times": round(there["cpu_s"] / here["cpu_s"], 2),
                               "images_a_second": {name: round(args.images / one["seconds"], 2) for name, one in
                                                   (("flink", there), ("in-process", here))},
                               "differences": found.differences(wanted)}
            print(json.dumps(result["build"], indent=1), flush=True)
            result["padded"] = [{"images": args.padded, "least_bytes_an_image": least, "exchanged_bytes": built(
                folder / str(least), args.padded, least, on_flink, cluster)[0]["exchanged_bytes"]}
                for least in (20_000, 200_000)]
            print(json.dumps(result["padded"], indent=1), flush=True)
        result["cpu_us_an_element"] = {
            "flink, parallelism 2": an_element(args.elements, 1, on_flink[1:], cluster),
            "in-process, 2 workers": an_element(args.elements, 2, [], None),
            "in-process, 1 worker": an_element(args.elements, 1, [], None)}
        print(json.dumps(result["cpu_us_an_element"], indent=1), flush=True)
    except UsageError as error:
        raise SystemExit(f"benchmarks.flink: {error}") from error
    finally:
        cluster.down()
    print(write_result("flink", f"python -m benchmarks.flink --images {args.images} --padded {args.padded} "
                                f"--elements {args.elements}", result))


if __name__ == "__main__":
    main()
