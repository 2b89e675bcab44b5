"""A machine with nothing but the standard library, numpy, torch, safetensors and tokenizers, and no network.

Run as a program it trains and evaluates there: `python -m tests.train.minimal_machine SHARDS OUT [MODULE ...]`, the
modules imported, too.
"""
from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

LIBRARIES = {"numpy", "torch", "safetensors", "tokenizers"}
# What torch imports of its own requirements; fsspec is one too, but ours must not count on it.
OF_TORCH = {"typing-extensions", "sympy", "mpmath", "triton", "setuptools"}
ROOT = Path(__file__).parents[2]
READING = ("sample", "regions", "checksum", "index", "manifest", "reader", "tokens")
OURS = {"crawl", "shards", "model", "train", "tests"}


class OnlyThese:
    """Stands for all finders: a module of any other distribution is not found."""

    def __init__(self, finders: Sequence[MetaPathFinder]) -> None:
        self._finders = tuple(finders)
        self._absent = {top for top, names in packages_distributions().items()
                        if top not in OURS | set(sys.stdlib_module_names) and not any(map(_is_there, names))}

    def find_spec(self, name: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        """Returns where a module is, None for what a minimal machine has not."""
        if name.partition(".")[0] in self._absent:
            return None
        return next((spec for finder in self._finders if (spec := finder.find_spec(name, path, target))), None)


def _is_there(distribution: str) -> bool:
    plain = distribution.lower().replace("_", "-")
    return plain in LIBRARIES | OF_TORCH or plain.startswith(("nvidia-", "cuda-"))


def _no_network(*_: object) -> None:
    raise OSError("a minimal machine has no network")


def main(shards: str, out: str, *extra: str) -> None:
    """Imports all of train/, model/ and the reading half of shards/, trains ten steps, ranks the test split."""
    sys.meta_path[:] = [OnlyThese(sys.meta_path)]  # type: ignore[list-item]
    socket.socket.connect = _no_network  # type: ignore[assignment,method-assign]
    for package in ("train", "model"):
        for path in sorted((ROOT / package).glob("[a-z]*.py")):
            importlib.import_module(f"{package}.{path.stem}")
    for name in (*(f"shards.{module}" for module in READING), *extra):
        importlib.import_module(name)
    from tests.train.made_shards import small_config
    from train.checkpoint import read_state
    from train.evaluate_run import EvaluateConfig, evaluate
    from train.loop import train
    from train.retrieval import RetrievalConfig
    config = small_config(align=24, pretrain=96)       # 2 + 8 steps of 12 samples
    folder = train(config, shards, out)
    ranked = evaluate(out, shards, "", EvaluateConfig(retrieval=RetrievalConfig(folds=1, fold_size=12, rerank=0)))
    print(f"step {read_state(folder).step} of {read_state(folder).stage_name}, {len(ranked.rows)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
