"""A bar on stderr for work that is counted; nothing where no person looks."""
from __future__ import annotations

import sys
from types import TracebackType
from typing import Any


class Bar:
    """Counts units of `total` (0: not known) under a name; `shown=False`, or no terminal, shows nothing."""

    def __init__(self, name: str, total: int, shown: bool) -> None:
        self._bar: Any = None
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
            self._bar = Progress(TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(),
                                 TimeRemainingColumn(), TextColumn("{task.fields[text]}"),
                                 console=Console(stderr=True))
            self._task = self._bar.add_task(name, total=total or None, text="")

    def __enter__(self) -> Bar:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, count: int, text: str = "") -> None:
        """Counts units, and shows a few words beside the bar."""
        if self._bar is not None:
            self._bar.update(self._task, advance=count, **({"text": text} if text else {}))
