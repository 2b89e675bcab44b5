"""`make flink-demo`: the dataset build on a Flink cluster of this machine, compared with the same build without one."""
from __future__ import annotations

import argparse
import pathlib
import sys
import tempfile

from crawl.errors import UsageError
from deploy.builds import build, facts_of
from deploy.cluster import Cluster
from deploy.settings import FILE, read_settings


def main(argv: list[str] | None = None) -> int:
    """Starts the cluster, builds twice, compares, stops everything; returns 0 for equal builds, 2 after one line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.demo", description=__doc__)
    parser.add_argument("--home", type=pathlib.Path, default=pathlib.Path(".flink"), metavar="DIR",
                        help="where the cluster is installed and logs (default: %(default)s)")
    parser.add_argument("--settings", type=pathlib.Path, default=FILE, metavar="FILE", help="see deploy/flink.env")
    parser.add_argument("--images", type=int, default=60, metavar="N", help="size of the web (default: %(default)s)")
    parser.add_argument("--parallelism", type=int, default=2, metavar="N", help="of a job (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        cluster = Cluster(args.home, read_settings(args.settings))
        try:
            state = cluster.up()
            print(f"Flink {cluster.settings.flink_version} is up: http://127.0.0.1:{state.ports['rest']}", flush=True)
            with tempfile.TemporaryDirectory(prefix="flink-demo-") as temporary:
                return _compare(cluster, args, pathlib.Path(temporary))
        finally:
            print(f"{cluster.down()} processes stopped")
    except (UsageError, RuntimeError) as error:
        print(f"deploy.demo: {' '.join(str(error).splitlines()[-1:])}", file=sys.stderr)
        return 2


def _compare(cluster: Cluster, args: argparse.Namespace, folder: pathlib.Path) -> int:
    there = build(folder / "flink", args.images, ["--", *cluster.options(args.parallelism)])
    print(f"imagebert dataset on Flink, parallelism {args.parallelism}: {there:.0f} s", flush=True)
    here = build(folder / "local", args.images, [])
    print(f"imagebert dataset in one process: {here:.0f} s")
    found, wanted = facts_of(folder / "flink" / "out"), facts_of(folder / "local" / "out")
    for line in found.differences(wanted):
        print(line)
    equal = found == wanted
    print(f"{len(found.funnel)} funnel lines, {len(found.digests)} tables, {len(found.shards)} files of the shards: "
          f"{'all equal' if equal else 'not equal'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
