"""Where the seconds of a step go: waiting for data, copying, computing, summing over ranks, updating, saving, probing.

On a GPU the spans are timed by events on its stream, so that nothing waits for a clock.
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import torch

SPANS = ("wait", "copy", "compute", "reduce", "update", "save", "probe")
_NOTICED = 0.05      # share of the time from which waiting is what holds a run up


class StepBudget:
    """Sums seconds by span between two lines of the log."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = dict.fromkeys(SPANS, 0.0)
        self._events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []
        self._since = time.monotonic()

    @contextlib.contextmanager
    def span(self, name: str) -> Iterator[None]:
        """Counts what happens inside towards `name`, one of SPANS."""
        on_stream = self._cuda and name not in ("wait", "save", "probe")
        if on_stream:
            events = (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            events[0].record()
            yield
            events[1].record()
            self._events.append((name, *events))
            return
        begun = time.perf_counter()
        yield
        self._seconds[name] += time.perf_counter() - begun

    def take(self) -> tuple[float, dict[str, float]]:
        """Returns the seconds since the last take, in all and by span, and begins again."""
        if self._events:
            self._events[-1][2].synchronize()
            for name, begin, end in self._events:
                self._seconds[name] += begin.elapsed_time(end) / 1000
        now = time.monotonic()
        whole, seconds = now - self._since, self._seconds
        self._seconds, self._events, self._since = dict.fromkeys(SPANS, 0.0), [], now
        return whole, seconds


def verdict(whole: float, seconds: dict[str, float], reading: float, packing: float) -> str:
    """Returns in a word what holds a run up; `reading` and `packing` are seconds of the threads that read ahead.

    >>> verdict(10, {"wait": 2.0, "compute": 8.0}, reading=9, packing=1)
    'reading'
    >>> verdict(10, {"wait": 0.1, "compute": 8.0, "reduce": 1.9}, reading=9, packing=1)
    'compute'
    """
    if seconds["wait"] > _NOTICED * whole:
        return "reading" if reading >= packing else "packing"
    return max((name for name in seconds if name != "wait"), key=lambda name: seconds[name])
