"""What a person sees while a run learns: a bar on a terminal, a line now and then in a file."""
from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

_SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Shows a stage's samples and its latest losses on stderr; `shown=False` shows nothing."""

    def __init__(self, stage: str, total: int, done: int, shown: bool) -> None:
        self._stage, self._total, self._done = stage, total, done
        self._bar: Any = None
        self._lines = shown and not sys.stderr.isatty()
        self._last_line = time.monotonic()
        if shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar
            self._bar = Bar(TextColumn("{task.description:>10}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
                            TimeRemainingColumn(), TextColumn("{task.fields[losses]}"), console=Console(stderr=True))
            self._task = self._bar.add_task(stage, total=total, completed=done, losses="")

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, samples: int) -> None:
        """Counts samples."""
        self._done += samples
        if self._bar is not None:
            self._bar.update(self._task, completed=min(self._done, self._total))

    def losses(self, row: dict[str, float]) -> None:
        """Shows losses by name."""
        text = "  ".join(f"{name} {value:.3f}" for name, value in row.items())
        if self._bar is not None:
            self._bar.update(self._task, losses=text)
        elif self._lines and time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{self._stage} {self._done}/{self._total} samples  {text}", file=sys.stderr, flush=True)
