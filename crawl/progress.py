"""The live view of a running job, for a progress bar and nothing else: counts that matter come from committed rows.

A step reports from the process it runs in; with several worker processes the bar shows the elapsed time only.
"""
from __future__ import annotations

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
