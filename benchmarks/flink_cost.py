"""What a cluster of deploy/ has used: CPU-seconds of its processes, and bytes that Flink says its jobs exchanged."""
from __future__ import annotations

import collections
import os
import pathlib
import resource

from deploy.cluster import Cluster


def cpu_s(cluster: Cluster | None) -> float:
    """Returns CPU-seconds so far of this process, of all that it waited for, and of a cluster with its workers."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    total = sum(one.ru_utime + one.ru_stime for one in used)
    if cluster is None:
        return total
    parents: dict[str, list[str]] = collections.defaultdict(list)
    ticks: dict[str, int] = {}
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents[fields[1]].append(folder.name)
            ticks[folder.name] = sum(map(int, fields[11:15]))      # its own, and of children that it waited for
    left = [str(one.pid) for one in cluster.attach().processes]
    while left:
        pid = left.pop()
        total += ticks.get(pid, 0) / os.sysconf("SC_CLK_TCK")
        left += parents[pid]
    return total


def exchanged(cluster: Cluster, since_ms: int) -> dict[str, int]:
    """Returns stage -> bytes that Flink's tasks wrote for other tasks, in jobs that began at or after a moment.

    A job is named after its stage (crawl/runner.py); that of one which ran twice counts twice.
    """
    found: collections.Counter[str] = collections.Counter()
    for job in cluster.flink("jobs/overview")["jobs"]:
        if job["start-time"] >= since_ms:
            vertices = cluster.flink(f"jobs/{job['jid']}")["vertices"]
            found[job["name"].split("-")[1]] += sum(one["metrics"]["write-bytes"] for one in vertices)
    return dict(found)
