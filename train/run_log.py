"""What a run says of itself: metrics.jsonl, probe.jsonl, and the boards that draw both."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from train.boards import Drawn, open_boards
from train.metrics import PROBES, MetricsLog
from train.plan import TrainConfig


class RunLog:
    """The logs of a run, opened by its first rank."""

    def __init__(self, out: str, keep_before: tuple[int, int], config: TrainConfig, boards: Sequence[str] = ()) -> None:
        """`keep_before` is (stage number, step): lines of this step and later ones are of a life that was lost."""
        self._metrics = MetricsLog(out, keep_before)
        self._probes = MetricsLog(out, keep_before, PROBES) if config.probe_samples else None
        self._drawn = Drawn(open_boards(boards, out, config), config)
        self._drawn.past(self._metrics.kept)
        self._drawn.past(self._probes.kept if self._probes else (), "probe")

    def line(self, row: dict[str, Any]) -> None:
        """Takes the means of the steps since the line before."""
        self._metrics.write(row)
        self._drawn.line(row)

    def probe(self, row: dict[str, Any]) -> None:
        """Takes what was measured on held-out pairs."""
        if self._probes is not None:
            self._probes.write(row)
        self._drawn.line(row, "probe")

    def close(self) -> None:
        """Closes the files and the boards."""
        for log in (self._metrics, self._probes):
            if log is not None:
                log.close()
        self._drawn.close()
