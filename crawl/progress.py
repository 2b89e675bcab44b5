"""The live view of a running job, for a progress bar and nothing else: counts that matter come from committed rows.

A step reports from the process it runs in; with several worker processes the bar shows the elapsed time only.
"""
from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import rich.columns
import rich.console
import rich.progress
import rich.progress_bar

_live: dict[str, tuple[int, int]] = {}


def report(step: str, done: int, total: int) -> None:
    """Says how far a step is; a total of 0 means that it is not known."""
    _live[step] = done, total


def add(step: str, count: int) -> None:
    """Says that `count` more of a step are done."""
    done, total = _live.get(step, (0, 0))
    _live[step] = done + count, total


def current() -> tuple[str, int, int] | None:
    """Returns the step that began last, how many are done and of how many; None before the first report."""
    return next(((step, *_live[step]) for step in reversed(_live)), None)


def clear() -> None:
    """Forgets the steps of the job before."""
    _live.clear()


class _Step(rich.progress.ProgressColumn):
    """How far the present step of the job is."""

    def render(self, task: rich.progress.Task) -> Any:
        now = current()
        if now is None:
            return ""
        step, done, total = now
        counted = f"{done:,} of {total:,} {step}" if total else f"{done:,} {step}"
        bar = rich.progress_bar.ProgressBar(total or None, done, width=30, pulse=not total)
        return rich.columns.Columns([bar, counted])


@contextlib.contextmanager
def shown(name: str) -> Iterator[None]:
    """Shows a running job and its elapsed time on standard error; one plain line where that is no terminal."""
    console = rich.console.Console(stderr=True)
    if not console.is_terminal:
        print(name, file=sys.stderr, flush=True)
    clear()
    bar = rich.progress.Progress(rich.progress.SpinnerColumn(), "{task.description}", _Step(),
                                 rich.progress.TimeElapsedColumn(), console=console, transient=True,
                                 disable=not console.is_terminal)
    with bar:
        bar.add_task(name, total=None)
        yield
