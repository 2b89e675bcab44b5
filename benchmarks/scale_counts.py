"""What one Beam job costs in this process: CPU, memory, bytes read, written and shuffled, the largest shuffle and key.

Shuffled bytes are what Beam's in-process runner gets, encoded, for every grouping: what an engine would move.  Read
and written are read(2) and write(2) of this process (/proc/self/io): files, and pipes to its sandboxes; no sockets,
which libcurl reads by recv(2).  CPU is that of this process and of its sandboxes, which end with their job.  Memory is
the largest resident size of this process while the job runs; the runner keeps in it all that is shuffled.
"""
from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import re
import resource
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.execution import BundleContextManager, GroupingBuffer


@dataclasses.dataclass
class Cost:
    """What a job took; two of one stage are added."""

    cpu_s: float = 0.0
    read: int = 0
    written: int = 0               # bytes that lie on the disk after it and did not before
    shuffled: int = 0
    groupings: dict[str, int] = dataclasses.field(default_factory=dict)     # name -> bytes
    largest_key_rows: int = 0
    largest_key_of: str = ""
    peak_mib: int = 0

    def __add__(self, other: Cost) -> Cost:
        most = max((self, other), key=lambda one: one.largest_key_rows)
        groupings = collections.Counter(self.groupings)
        groupings.update(other.groupings)
        return Cost(self.cpu_s + other.cpu_s, self.read + other.read, self.written + other.written,
                    self.shuffled + other.shuffled, dict(groupings), most.largest_key_rows, most.largest_key_of,
                    max(self.peak_mib, other.peak_mib))


class _Shuffles:
    """Counts what arrives at groupings; a grouping is found by its buffer."""

    def __init__(self) -> None:
        self.bytes: collections.Counter[int] = collections.Counter()
        self.names: dict[int, str] = {}
        self.keys: dict[int, int] = {}
        self._kept: list[Any] = []                 # so that no identity is used twice

    def watch(self) -> None:
        """Replaces three methods of Beam's runner, to the end of this process."""
        append, partition, get = GroupingBuffer.append, GroupingBuffer.partition, BundleContextManager.get_buffer

        def counted(buffer: Any, data: bytes) -> None:
            self.bytes[id(buffer)] += len(data)
            append(buffer, data)

        def measured(buffer: Any, parts: int) -> Any:
            if buffer._table:
                self.keys[id(buffer)] = max(map(len, buffer._table.values()))
            return partition(buffer, parts)

        def named(manager: Any, identity: bytes, transform: str) -> Any:
            buffer = get(manager, identity, transform)
            if isinstance(buffer, GroupingBuffer) and id(buffer) not in self.names:
                self.names[id(buffer)] = readable(identity.decode())
                self._kept.append(buffer)
            return buffer

        GroupingBuffer.append, GroupingBuffer.partition, BundleContextManager.get_buffer = counted, measured, named

    def taken(self) -> Iterator[tuple[str, int, int]]:
        """Yields name, bytes and rows of the largest key of every grouping since the last time."""
        for identity, count in self.bytes.items():
            yield self.names.get(identity, "?"), count, self.keys.get(identity, 0)
        self.bytes.clear()
        self.names.clear()
        self.keys.clear()
        self._kept.clear()


def readable(identity: str) -> str:
    """Returns a grouping's label out of what Beam calls its buffer.

    >>> readable("group:ref_AppliedPTransform_Write-pages-Gather_17")
    'Write-pages-Gather'
    """
    return re.sub(r"^group:(ref_AppliedPTransform_)?|_\d+$", "", identity)


class CountedRun:
    """Runs jobs in this process, one after the other, and keeps what each took."""

    def __init__(self, out: pathlib.Path) -> None:
        self.out = out
        self.stages: dict[str, Cost] = {}
        self._shuffles = _Shuffles()
        self._shuffles.watch()

    def __call__(self, name: str, build: Callable[[Any], None]) -> None:
        """Runs one job; its stage is what stands before the colon of its name."""
        before = _cpu_s(), _read(), _stored(self.out)
        pathlib.Path("/proc/self/clear_refs").write_text("5")         # the largest size counts from here on
        with beam.Pipeline(runner=FnApiRunner()) as root:
            build(root)
        after = _cpu_s(), _read(), _stored(self.out)
        cpu, read, written = (now - then for now, then in zip(after, before, strict=True))
        groupings = list(self._shuffles.taken())
        largest = max(groupings, key=lambda one: one[2], default=("", 0, 0))
        sizes: collections.Counter[str] = collections.Counter()
        for grouping, count, _ in groupings:
            sizes[grouping] += count
        stage = name.partition(":")[0]
        self.stages[stage] = self.stages.get(stage, Cost()) + Cost(
            cpu, int(read), int(written), sum(sizes.values()), dict(sizes), largest[2], largest[0], _peak_mib())


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _peak_mib() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def _read() -> int:
    return int(pathlib.Path("/proc/self/io").read_text().split()[1])


def _stored(out: pathlib.Path) -> int:
    return sum(os.stat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(out) for name in names)
