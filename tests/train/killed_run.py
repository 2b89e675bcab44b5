"""A training run whose ranks write down what they consume and of which one may die by SIGKILL at a moment told before.

    python -m tests.train.killed_run SHARDS OUT RANKS RANK KIND MOMENT

KIND is `gradient` (before the MOMENT-th gradient that the rank computes in this life), `save` (before the MOMENT-th
thing that the writer of checkpoints does to the disk) or `never`.
"""
from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from tests.train.made_shards import small_config
from train import checkpoint, loop, step

# 4 steps and 20 steps of 24 samples; an epoch is 4 steps, a checkpoint comes every second step.
CONFIG = small_config(align=96, pretrain=480, lanes=4, checkpoint_samples=48, log_samples=24)
_SHARDS, _OUT, _RANKS, _RANK, _KIND, _MOMENT = sys.argv[1:7] if len(sys.argv) > 6 else ("", "", "0", "", "never", "0")
_seen = {"gradient": 0, "save": 0}


def _rank() -> str:
    return multiprocessing.current_process().name.replace("MainProcess", "rank-0")


def _moment(kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def counted(*arguments: Any, **named: Any) -> Any:
        _seen[kind] += 1
        if (kind, _rank(), _seen[kind]) == (_KIND, _RANK, int(_MOMENT)):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "gradient":
            _, taken, lane, *_ = arguments
            with open(f"{_OUT}.{_rank()}.jsonl", "a") as file:
                file.write(json.dumps([_stage, taken.number, lane, taken.keys[lane]]) + "\n")
        return real(*arguments, **named)

    return counted


class _Stage(loop.StageRun):
    def __init__(self, *arguments: Any) -> None:
        global _stage
        super().__init__(*arguments)
        _stage = self._name


_stage = ""
if len(sys.argv) > 6:      # the ranks import this file, too
    loop.StageRun = _Stage  # type: ignore[misc]
    step.add_gradients = _moment("gradient", step.add_gradients)
    for name in ("save_file", "_write_json", "_sync"):
        setattr(checkpoint, name, _moment("save", getattr(checkpoint, name)))

if __name__ == "__main__":
    loop.train(CONFIG, _SHARDS, _OUT, ranks=int(_RANKS), resume=True)
