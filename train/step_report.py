"""What a line of the metrics log says: the means of the steps since the line before, and where their time went."""
from __future__ import annotations

from typing import Any

from model.losses import ACCURACIES, LOSSES
from train.checkpoint import RunState
from train.flops import training_flops
from train.plan import StageConfig, TrainConfig
from train.schedule import learning_rate
from train.step import LOGGED, StepResult
from train.step_budget import StepBudget, verdict
from train.stream import Step


class StepReport:
    """Collects steps between two lines."""

    def __init__(self, config: TrainConfig, stage: StageConfig, state: RunState, world: int) -> None:
        self._config, self._stage, self._world = config, stage, world
        self._sums = list(state.pending) or [0.0] * len(LOGGED)
        self._steps = state.pending_steps
        self._last: StepResult | None = None
        self._samples = self._used = self._room = 0
        self._reading = self._packing = self._flops = 0.0

    @property
    def pending(self) -> tuple[tuple[float, ...], int]:
        """Returns sums of what no line has said yet, and of how many steps: part of the run's state."""
        return tuple(self._sums), self._steps

    def add(self, step: Step, result: StepResult) -> None:
        """Counts a step."""
        self._sums = [so_far + value for so_far, value in zip(self._sums, result.means, strict=True)]
        self._steps += 1
        self._last = result
        self._samples += step.samples
        self._reading, self._packing = self._reading + step.read_seconds, self._packing + step.pack_seconds
        for _, pack in step.packs:
            self._used, self._room = self._used + pack.tokens, self._room + len(pack.token_source)
            self._flops += training_flops(self._config.model, pack)

    def take(self, step: Step, budget: StepBudget) -> dict[str, Any]:
        """Returns the line after `step`, and begins the next.

        `time` is the only part that another run of the same plan need not repeat.
        """
        means = dict(zip(LOGGED, (value / self._steps for value in self._sums), strict=True))
        line: dict[str, Any] = {"step": step.number, "samples": step.samples_after}
        line |= {name: means[name] for name in LOSSES if getattr(self._stage.weights, name)}
        line |= {name: means[name] for name in ACCURACIES
                 if getattr(self._stage.weights, name.removesuffix("_accuracy"))}
        middle = step.samples_before + step.samples // 2
        line["learning_rate"] = learning_rate(self._stage.optimizer, middle, self._stage.samples)
        if self._last is not None:
            line |= {"gradient_norm": self._last.norm, "stayed_positive": self._last.stayed_positive}
        line["time"] = self._time(budget)
        self._sums, self._steps = [0.0] * len(LOGGED), 0
        self._clear()
        return line

    def _time(self, budget: StepBudget) -> dict[str, Any]:
        """Returns seconds by span, rates, and the share of the device's speed that useful operations take.

        Padding and operations are those of this rank's lanes; a rank's share is alike, so rates are times the world.
        """
        seconds, spans = budget.take()
        tflops = self._flops * self._world / max(seconds, 1e-9) / 1e12
        found = {"seconds": round(seconds, 3), "samples_per_second": round(self._samples / max(seconds, 1e-9), 1),
                 **{name: round(value, 3) for name, value in spans.items()},
                 "reading": round(self._reading, 3), "packing": round(self._packing, 3),
                 "held_up_by": verdict(seconds, spans, self._reading, self._packing),
                 "padding": round(1 - self._used / max(self._room, 1), 4), "tflops": round(tflops, 4)}
        if self._config.device_tflops:
            found["mfu"] = round(tflops / self._world / self._config.device_tflops, 4)
        return found

    def _clear(self) -> None:
        self._samples = self._used = self._room = 0
        self._reading = self._packing = self._flops = 0.0
