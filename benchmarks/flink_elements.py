"""A job of small elements through a spread, a map and a grouping; workers of a cluster import it from here."""
from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from typing import Any

import apache_beam as beam

from benchmarks.flink_cost import cpu_s
from crawl.runner import beam_runner
from deploy.cluster import Cluster

_CHUNK = 1000
_KEYS = 4096


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
