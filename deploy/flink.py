"""A real Flink cluster on this machine, without Docker: JobManager, TaskManagers, job server, Python workers.

    python -m deploy.flink up --home /tmp/flink          install what is missing, start, write HOME/state.json
    imagebert dataset ... -- $(python -m deploy.flink options --home /tmp/flink --parallelism 2)
    python -m deploy.flink status --home /tmp/flink
    python -m deploy.flink down --home /tmp/flink

    python -m deploy.flink run job-manager --home /tmp/flink     one process in the foreground: what a container runs
"""
from __future__ import annotations

import argparse
import os
import pathlib
import sys

from crawl.errors import UsageError
from deploy.cluster import Cluster
from deploy.install import check_java, install
from deploy.processes import is_running
from deploy.settings import FILE, read_settings


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit status, 2 after one clear line."""
    parser = argparse.ArgumentParser(prog="python -m deploy.flink", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("install", "up", "run", "options", "status", "restart", "down"))
    parser.add_argument("name", nargs="?", help="restart, run: job-server, worker-pool, task-manager-0, job-manager")
    parser.add_argument("--home", type=pathlib.Path, default=pathlib.Path(".flink"), metavar="DIR",
                        help="where it is installed, logs, and keeps state.json (default: %(default)s)")
    parser.add_argument("--settings", type=pathlib.Path, default=FILE, metavar="FILE",
                        help="ports, memory, slots and versions (default: deploy/flink.env)")
    parser.add_argument("--parallelism", type=int, default=2, metavar="N", help="of a job (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        return _run(args)
    except UsageError as error:
        print(f"deploy.flink: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print(f"deploy.flink: {error.filename}: {error.strerror}; make room, give yourself the right to write there, "
              "or name another --home", file=sys.stderr)
        return 2


def _run(args: argparse.Namespace) -> int:
    cluster = Cluster(args.home, read_settings(args.settings))
    if args.command == "install":
        check_java()
        args.home.mkdir(parents=True, exist_ok=True)
        for folder in install(args.home.absolute(), cluster.settings):
            print(folder)
    elif args.command == "up":
        state = cluster.up()
        print(f"Flink {cluster.settings.flink_version}: http://127.0.0.1:{state.ports['rest']}, "
              f"{len(state.processes)} processes, logs in {cluster.home / 'logs'}")
    elif args.command == "run":
        command, environment = cluster.run(args.name or "")
        sys.stdout.flush()
        os.execvpe(command[0], command, environment)      # its signals are this process's
    elif args.command == "options":
        print(" ".join(cluster.options(args.parallelism)))
    elif args.command == "restart":
        names = [one.name for one in cluster.attach().processes if one.name != "job-manager"]
        if args.name not in names:
            raise UsageError(f"restart {args.name}: name one of {', '.join(names)}")
        cluster.restart(args.name)
    elif args.command == "down":
        print(f"{cluster.down()} processes stopped")
    else:
        for one in cluster.attach().processes:
            print(f"{one.name:<16} pid {one.pid:<8} {'running' if is_running(one) else 'ended'}")
        print(" ".join(f"{name} {value}" for name, value in cluster.overview().items() if name != "flink-commit"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
