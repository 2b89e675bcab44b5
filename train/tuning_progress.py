"""How far fine-tuning is, in one file: weights, the best weights, moments, and every epoch so far.

    OUT/progress.safetensors       model/NAME, best/NAME, optimizer/NAME/MOMENT; the rest as JSON in its metadata

It takes its name in one rename after every epoch, so a kill at any moment leaves a whole one, and is removed when the
tuned checkpoint is committed.
"""
from __future__ import annotations

import dataclasses
import json
import os

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from crawl.errors import UsageError
from model.imagebert import ImageBert
from train.checkpoint import optimizer_tensors, own_tensors

NAME = "progress.safetensors"
_STATE = "state"


@dataclasses.dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch did."""

    number: int                    # from 1
    loss: float                    # mean over the epoch's batches
    recall_sum: float              # recall@1, 5 and 10 in both directions on the validation images; -1 if not measured
    best: bool                     # the best so far


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """Where fine-tuning stands after an epoch."""

    stage: int = 0                 # align, tune
    number: int = 0                # epochs of the stage that are done
    epochs: tuple[Epoch, ...] = ()

    @property
    def best_sum(self) -> float:
        """Returns the best recall sum so far, -1 before any."""
        return max((epoch.recall_sum for epoch in self.epochs), default=-1.0)

    @property
    def since_best(self) -> int:
        """Returns how many validations came after the best one."""
        best = max((epoch.number for epoch in self.epochs if epoch.best), default=0)
        return sum(epoch.recall_sum >= 0 for epoch in self.epochs if epoch.number > best)


class ProgressFile:
    """The file of one run, which knows what the run is made from."""

    def __init__(self, out: str, identity: dict[str, str]) -> None:
        """`identity` names what must be the same to go on: config, data, checkpoint."""
        self._path, self._identity = os.path.join(out, NAME), identity

    def read(self) -> Progress | None:
        """Returns how far the run is, None for a new one; raises UsageError for progress of another run."""
        if not os.path.exists(self._path):
            return None
        try:
            with safe_open(self._path, "pt") as file:
                stored = json.loads((file.metadata() or {})[_STATE])
            progress = Progress(stored["stage"], stored["number"], tuple(Epoch(**one) for one in stored["epochs"]))
            identity = dict(stored["identity"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self._path}: cannot be read ({error}); remove it, and the run begins anew") from error
        other = next((name for name in self._identity if identity.get(name) != self._identity[name]), "")
        if other:
            raise UsageError(f"{self._path}: the run in this folder was begun with another {other}; give the same one "
                             f"to go on, or another --out")
        return progress

    def load(self, model: ImageBert, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Puts weights and moments back where they were; returns the best weights."""
        stored = load_file(self._path)
        with torch.no_grad():
            for name, tensor in own_tensors(model).items():
                tensor.copy_(stored[f"model/{name}"])
        for name, parameter in own_tensors(model).items():
            found = {key.rsplit("/", 1)[1]: tensor.to(parameter.device) for key, tensor in stored.items()
                     if key.startswith(f"optimizer/{name}/")}
            if found:
                optimizer.state[parameter] = found
        return {key.removeprefix("best/"): tensor for key, tensor in stored.items() if key.startswith("best/")}

    def save(self, progress: Progress, model: ImageBert, optimizer: torch.optim.Optimizer,
             best: dict[str, Tensor]) -> None:
        """Commits the state after an epoch."""
        groups = {"model": own_tensors(model), "best": best, "optimizer": optimizer_tensors(model, optimizer)}
        tensors = {f"{group}/{name}": tensor.detach().to("cpu", copy=True).contiguous()
                   for group, named in groups.items() for name, tensor in named.items()}
        state = json.dumps(dataclasses.asdict(progress) | {"identity": self._identity}, sort_keys=True)
        temporary = self._path + ".tmp"
        save_file(tensors, temporary, metadata={_STATE: state})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, self._path)

    def remove(self) -> None:
        """Removes the file of a finished run."""
        if os.path.exists(self._path):
            os.remove(self._path)
