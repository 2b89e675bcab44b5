"""The live view of a running job, for a progress bar and the log: counts that matter come from committed rows.

A step reports from the process it runs in; with several worker processes the bar shows the elapsed time only.
"""
from __future__ import annotations

import collections
import contextlib
import dataclasses
import sys
import time
from collections.abc import Iterator
from typing import Any

import rich.columns
import rich.console
import rich.progress
import rich.progress_bar
import rich.text

from crawl import run_log
from crawl.dns import DnsCost
from crawl.tally import Tally

_RATE_S = 15.0                     # the rate is that of so many last seconds
_LOG_S = 5.0
_HOSTS = 3


@dataclasses.dataclass(slots=True)
class Step:
    """One step of the present job."""

    name: str
    done: int = 0
    total: int = 0                 # 0 when it is not known
    hosts: tuple[tuple[str, int], ...] = ()                  # the busiest, and how many of the last URLs were theirs
    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)     # of this run
    names: DnsCost = dataclasses.field(default_factory=DnsCost)
    samples: collections.deque[tuple[float, int]] = dataclasses.field(default_factory=collections.deque)
    logged_at: float = 0.0

    def sample(self, now: float) -> None:
        """Takes the present count into the rate."""
        self.samples.append((now, self.done))
        while len(self.samples) > 2 and now - self.samples[0][0] > _RATE_S:
            self.samples.popleft()

    @property
    def rate(self) -> float:
        """Returns how many are done a second, over the last moments; 0.0 before there is one."""
        if len(self.samples) < 2 or self.samples[-1][0] <= self.samples[0][0]:
            return 0.0
        (start, before), (end, after) = self.samples[0], self.samples[-1]
        return (after - before) / (end - start)

    def line(self) -> str:
        """Returns the step as a person reads it."""
        text = f"{self.done:,} of {self.total:,} {self.name}" if self.total else f"{self.done:,} {self.name}"
        if self.rate:
            text += f", {self.rate:,.1f}/s"
        if self.hosts:
            text += ", busiest " + ", ".join(f"{host} {count}" for host, count in self.hosts[:_HOSTS])
        return shown_text(text)


_live: dict[str, Step] = {}
_shards: dict[str, dict[int, Tally]] = {}
_job = ""


def report(step: str, shard: int, tally: Tally) -> None:
    """Says how far one shard of a step is; the shards of a process are shown as one."""
    tallies = _shards.setdefault(step, {})
    tallies[shard] = tally
    live = _live.setdefault(step, Step(step))
    live.done, live.total = sum(t.done for t in tallies.values()), sum(t.total for t in tallies.values())
    live.outcomes = sum((t.outcomes for t in tallies.values()), collections.Counter())
    live.names = sum((t.names for t in tallies.values()), DnsCost())
    # A host lies in one shard.
    live.hosts = tuple(sorted((pair for t in tallies.values() for pair in t.busiest()),
                              key=lambda pair: (-pair[1], pair[0]))[:5])
    _moved(live)


def add(step: str, count: int) -> None:
    """Says that `count` more of a step are done."""
    live = _live.setdefault(step, Step(step))
    live.done += count
    _moved(live)


def current() -> Step | None:
    """Returns the step that began last; None before the first report."""
    return next((_live[step] for step in reversed(_live)), None)


def clear(job: str = "") -> None:
    """Forgets the steps of the job before."""
    global _job
    _live.clear()
    _shards.clear()
    _job = job


def _moved(live: Step) -> None:
    now = time.monotonic()
    live.sample(now)
    if now - live.logged_at >= _LOG_S:
        live.logged_at = now
        _log(live)


def _log(live: Step) -> None:
    run_log.event("progress", stage=run_log.stage_of(_job), job=_job, step=live.name, done=live.done, total=live.total,
                  rate=round(live.rate, 3), busiest=dict(live.hosts), outcomes=dict(live.outcomes),
                  names=dataclasses.asdict(live.names))


def shown_text(text: str) -> str:
    r"""Returns text of the web with everything but printable characters escaped: a terminal obeys the others (S14).

    >>> shown_text("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Step(rich.progress.ProgressColumn):
    """How far the present step of the job is."""

    def render(self, task: rich.progress.Task) -> Any:
        now = current()
        if now is None:
            return ""
        bar = rich.progress_bar.ProgressBar(now.total or None, now.done, width=30, pulse=not now.total)
        return rich.columns.Columns([bar, rich.text.Text(now.line())])


@contextlib.contextmanager
def shown(name: str) -> Iterator[None]:
    """Shows a running job and its elapsed time on standard error; one plain line where that is no terminal."""
    console = rich.console.Console(stderr=True)
    quiet = run_log.is_on_standard_error()
    if not console.is_terminal and not quiet:
        print(name, file=sys.stderr, flush=True)
    clear(name)
    run_log.event("job_started", stage=run_log.stage_of(name), job=name)
    bar = rich.progress.Progress(rich.progress.SpinnerColumn(), "{task.description}", _Step(),
                                 rich.progress.TimeElapsedColumn(), console=console, transient=True,
                                 disable=quiet or not console.is_terminal)
    with bar:
        bar.add_task(name, total=None)
        yield
    for live in list(_live.values()):
        _log(live)
        if live.names.line() and not quiet:
            print(f"{live.name}: {live.names.line()}", file=sys.stderr, flush=True)
    run_log.event("job_ended", stage=run_log.stage_of(name), job=name)
