"""What the sub-commands print: tables and text on stdout, a progress bar on stderr."""
from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from shards.visible import visible

_WIDTH = 140                       # of tables where stdout is no terminal

def console() -> Any:
    """Returns a rich Console on stdout; lines are not cut where it is no terminal."""
    from rich.console import Console
    return Console() if sys.stdout.isatty() else Console(width=_WIDTH)


def text(value: Any) -> Any:
    """Returns text of the web for the terminal: no markup, no control characters."""
    from rich.text import Text
    return Text(visible(str(value)))


def table(*columns: str) -> Any:
    """Returns an empty rich Table: the first column to the left, the others to the right."""
    from rich import box
    from rich.table import Table
    empty = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(columns):
        empty.add_column(name, justify="right" if number else "left", overflow="fold")
    return empty


def rows(console: Any, columns: tuple[str, ...], values: list[tuple[str, ...]]) -> None:
    """Prints rows of untrusted text under column names; nothing when there is no row."""
    if values:
        filled = table(*columns)
        for column in filled.columns:
            column.justify = "left"
        for row in values:
            filled.add_row(*map(text, row))
        console.print(filled)


def lines(console: Any, *named: tuple[str, Any]) -> None:
    """Prints names and values in two columns."""
    width = max([len(name) for name, _ in named] + [0])
    for name, value in named:
        console.print(text(f"{name:<{width}}  {value}"), highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a bar of bytes on stderr, nothing where that is no terminal; yields what to call with bytes done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
    with Progress(TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(name, total=total)
        yield lambda count: bar.update(task, advance=count)


@contextlib.contextmanager
def may_be_cut() -> Iterator[None]:
    """Ends quietly when the reader of stdout has seen enough, as in `imagebert shards ls OUT | head`."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is left in the buffer goes nowhere: the interpreter flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
