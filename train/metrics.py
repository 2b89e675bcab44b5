"""The logs of a run: one JSON object a line, the truth about it; whatever else shows it is made from these lines."""
from __future__ import annotations

import json
import os
from typing import Any

from crawl.errors import UsageError

METRICS = "metrics.jsonl"
PROBES = "probe.jsonl"             # what was measured on held-out pairs


def read_metrics(out: str, name: str = METRICS) -> list[dict[str, Any]]:
    """Returns the lines of a run's log in order; empty when there is none."""
    path = os.path.join(out, name)
    if not os.path.exists(path):
        return []
    try:
        with open(path) as file:
            return [dict(json.loads(line)) for line in file if line.endswith("\n")]
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: damaged ({error}); the checkpoints are beside it and whole, remove this log to "
                         f"go on without it") from error


def first_and_last(rows: list[dict[str, Any]], stage: str) -> dict[str, tuple[float, float]]:
    """Returns each loss of a stage in its first and its last line.

    >>> first_and_last([{"stage": "align", "itm": 0.7}, {"stage": "align", "itm": 0.3}], "align")
    {'itm': (0.7, 0.3)}
    """
    own = [row for row in rows if row["stage"] == stage]
    names = [name for name in ("mlm", "moc", "mrfr", "itm", "contrastive") if own and name in own[0]]
    return {name: (own[0][name], own[-1][name]) for name in names}


class MetricsLog:
    """Appends lines; opened for a resume it first drops what the checkpoint does not know of."""

    def __init__(self, out: str, keep_before: tuple[int, int], name: str = METRICS) -> None:
        """`keep_before` is (stage number, step): lines of this step and later ones are of a life that was lost."""
        self._path = os.path.join(out, name)
        self.kept = [row for row in read_metrics(out, name) if (row["stage_number"], row["step"]) < keep_before]
        temporary = self._path + ".tmp"
        with open(temporary, "w") as file:
            file.writelines(json.dumps(row) + "\n" for row in self.kept)
        os.replace(temporary, self._path)
        self._file = open(self._path, "a", buffering=1)      # noqa: SIM115 (closed by close)

    def write(self, row: dict[str, Any]) -> None:
        """Appends one line."""
        self._file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
