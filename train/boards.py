"""TensorBoard and Weights & Biases, for who wants to watch a run there: each shows what the logs of the run say.

    tensorboard        OUT/tensorboard, made anew from the kept lines when a run goes on
    wandb=PROJECT      one run of theirs for all lives of ours (its id lies in OUT/wandb.id)

Both count samples over all stages.  Neither is required: who asks for one without its package is told so at once.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

from crawl.config import as_dict
from crawl.errors import UsageError
from train.plan import TrainConfig

TENSORBOARD, WANDB = "tensorboard", "wandb"
WANDB_ID = "wandb.id"


class Board(Protocol):
    """Something that draws numbers over samples."""

    empty: bool                    # whether it has to be told what was before this life

    def draw(self, samples: int, values: dict[str, float]) -> None:
        """Takes the values that a run had after so many samples."""

    def close(self) -> None:
        """Writes what is still held back."""


def check_boards(boards: Sequence[str]) -> None:
    """Raises UsageError for a board that is not known, or whose package is not installed."""
    for board in boards:
        name, _, project = board.partition("=")
        if name not in (TENSORBOARD, WANDB) or (name == WANDB) != bool(project):
            raise UsageError(f"board {board!r}: it is {TENSORBOARD} or {WANDB}=PROJECT")
        if importlib.util.find_spec(name) is None:
            raise UsageError(f"--{name} needs the package {name}, which is not installed; run "
                             f"pip install 'imagebert-lait[{name}]', or leave --{name} out")


def open_boards(boards: Sequence[str], out: str, config: TrainConfig) -> list[Board]:
    """Returns the boards by name."""
    return [_TensorBoard(out) if board == TENSORBOARD else _Wandb(board.partition("=")[2], out, config)
            for board in boards]


class Drawn:
    """Draws lines of a run's logs."""

    def __init__(self, boards: Sequence[Board], config: TrainConfig) -> None:
        self._boards = tuple(boards)
        self._before = [sum(stage.samples for _, stage in config.stages()[:number])
                        for number in range(len(config.stages()))]

    def past(self, rows: Sequence[dict[str, Any]], below: str = "") -> None:
        """Takes the lines of earlier lives, for boards that do not have them."""
        for row in rows:
            self._draw(row, below, [board for board in self._boards if board.empty])

    def line(self, row: dict[str, Any], below: str = "") -> None:
        """Takes a line of a log; `below` comes between the stage and the name of a value."""
        self._draw(row, below, self._boards)

    def _draw(self, row: dict[str, Any], below: str, boards: Sequence[Board]) -> None:
        values: dict[str, float] = {}
        for name, value in row.items():
            for inner, one in (value.items() if isinstance(value, dict) else [("", value)]):
                if isinstance(one, int | float) and name not in ("stage_number", "samples"):
                    values["/".join(part for part in (row["stage"], below, name, inner) if part)] = float(one)
        for board in boards:
            board.draw(self._before[row["stage_number"]] + row["samples"], values)

    def close(self) -> None:
        """Writes what is still held back."""
        for board in self._boards:
            board.close()


class _TensorBoard:
    def __init__(self, out: str) -> None:
        from torch.utils.tensorboard import SummaryWriter
        self.empty = True
        folder = os.path.join(out, "tensorboard")
        shutil.rmtree(folder, ignore_errors=True)      # lines that a lost life drew are not in the log
        self._writer: Any = SummaryWriter(folder)  # type: ignore[no-untyped-call]

    def draw(self, samples: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, samples)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    def __init__(self, project: str, out: str, config: TrainConfig) -> None:
        import wandb
        path = os.path.join(out, WANDB_ID)
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.write(uuid.uuid4().hex[:16])
        with open(path) as file:
            identity = file.read().strip()
        self._run: Any = wandb.init(project=project, id=identity, name=os.path.basename(os.path.abspath(out)), dir=out,
                                    config=as_dict(config), resume="allow")
        self.empty = not self._run.resumed
        self._run.define_metric("*", step_metric="samples")

    def draw(self, samples: int, values: dict[str, float]) -> None:
        self._run.log({"samples": samples} | values)

    def close(self) -> None:
        self._run.finish()
