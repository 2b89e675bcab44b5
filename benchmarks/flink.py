"""What Flink costs: a build at parallelism 2 beside the same by the in-process runner with 2 workers; what it moves.

    python -m benchmarks.flink --home .flink [--images 10000] [--padded 50] [--elements 1000000]

The builds are by the command itself over a web of its own each, and must be equal.  CPU-seconds are those of the
command and of all processes of the cluster.  Then the same web of `--padded` images with pictures of at least 20 KB
and at least 200 KB, on Flink: the bytes its tasks exchanged, a stage.  Then jobs of small elements through a spread, a
map and a grouping, of two sizes, whose difference is what an element costs.  Needs Java 17 and Maven; writes
results/flink.json.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import tempfile
import time
from typing import Any

from benchmarks.flink_cost import cpu_s, exchanged
from benchmarks.flink_elements import elements_cpu_s
from benchmarks.machine import write_result
from benchmarks.scale import served
from crawl.errors import UsageError
from deploy.builds import Facts, dataset_command, facts_of, run
from deploy.cluster import Cluster
from deploy.settings import FILE, read_settings


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


def an_element(count: int, workers: int, options: list[str], cluster: Cluster | None) -> float:
    """Returns the CPU-microseconds that one more element costs, between `count` of them and five times as many."""
    small, large = (elements_cpu_s(size, workers, options, cluster) for size in (count, 5 * count))
    return round((large - small) * 1e6 / (4 * count), 1)


def elements(count: int, cluster: Cluster) -> dict[str, float]:
    """Returns what an element costs on each engine."""
    elements_cpu_s(5 * count, 1, cluster.options(2), cluster)      # so that Java has compiled what it runs
    return {"flink, parallelism 2": an_element(count, 1, cluster.options(2), cluster),
            "in-process, 2 workers": an_element(count, 2, [], None),
            "in-process, 1 worker": an_element(count, 1, [], None)}


def both(images: int, cluster: Cluster) -> dict[str, Any]:
    """Returns what a build took on Flink and here, and where the two differ: nowhere."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        there, found = built(folder / "flink", images, 0, ["--", *cluster.options(2)], cluster)
        here, wanted = built(folder / "local", images, 0, ["--workers", "2"], None)
    return {"images": images, "flink, parallelism 2": there, "in-process, 2 workers": here,
            "seconds_times": round(there["seconds"] / here["seconds"], 2),
            "cpu_times": round(there["cpu_s"] / here["cpu_s"], 2), "differences": found.differences(wanted)}


def padded(images: int, cluster: Cluster) -> list[dict[str, Any]]:
    """Returns the bytes that were exchanged, a stage, with pictures of at least 20 KB and of at least 200 KB."""
    runs = []
    with tempfile.TemporaryDirectory() as temporary:
        for least in (20_000, 200_000):
            took, _ = built(pathlib.Path(temporary) / str(least), images, least, ["--", *cluster.options(2)], cluster)
            runs.append({"images": images, "least_bytes_an_image": least, "exchanged_bytes": took["exchanged_bytes"]})
    return runs


def main() -> None:
    """Runs all of it; what is there is written to results/flink.json after each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=pathlib.Path, default=pathlib.Path(".flink"), metavar="DIR",
                        help="where the cluster is installed and logs (default: %(default)s)")
    parser.add_argument("--images", type=int, default=10_000, help="of the web (default: %(default)s)")
    parser.add_argument("--padded", type=int, default=50, help="of the web with large pictures (default: %(default)s)")
    parser.add_argument("--elements", type=int, default=1_000_000, help="of the small job (default: %(default)s)")
    args = parser.parse_args()
    cluster = Cluster(args.home, read_settings(FILE))
    words = f"--images {args.images} --padded {args.padded} --elements {args.elements}"
    result: dict[str, Any] = {"flink": cluster.settings.flink_version,
                              "beam_runner": cluster.settings.beam_runner_version}
    try:
        cluster.up()
        for name, measure in (("cpu_us_an_element", lambda: elements(args.elements, cluster)),
                              ("build", lambda: both(args.images, cluster)),
                              ("padded", lambda: padded(args.padded, cluster))):
            result[name] = measure()
            print(name, json.dumps(result[name], indent=1), flush=True)
            write_result("flink", f"python -m benchmarks.flink {words}", result)
    except UsageError as error:
        raise SystemExit(f"benchmarks.flink: {error}") from error
    finally:
        cluster.down()


if __name__ == "__main__":
    main()
