"""One step on one rank: its lanes forward and backward into one flat sum, which the ranks then share.

A step's gradient is, for each loss, the mean over those of its packs that the loss covers (a pack without a masked
region of a matched pair says nothing about MOC); how many they are is counted on the host, before anything is computed.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from crawl.errors import UsageError
from model.imagebert import ImageBert
from model.inputs import Pack
from model.losses import ACCURACIES, LOSSES, LossWeights, accuracies_of, losses_of
from train.hard_negatives import harder_pack
from train.precision import autocast, dtype_of
from train.randomness import DROPOUT, torch_seed
from train.ranks import FlatGradients, Ranks
from train.step_budget import StepBudget
from train.stream import Step

LOGGED = (*LOSSES, *ACCURACIES)
_SHOWN_KEYS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class StepResult:
    """What a step says about itself, the same on every rank."""

    means: tuple[float, ...]       # of LOGGED, over the packs each covers
    norm: float                    # of the gradient before clipping, without the loss scale
    stayed_positive: int
    stopping: int                  # ranks that were told to stop

    @property
    def itm_accuracy(self) -> float:
        """Returns ITM's, right and wrong pairs weighing the same."""
        return self.means[LOGGED.index("itm_accuracy")]

    @property
    def finite(self) -> bool:
        """Returns whether the gradient has no infinity and no NaN."""
        return math.isfinite(self.norm)


class StepGradient:
    """The summed gradient of a model, and the numbers summed with it."""

    def __init__(self, model: ImageBert, weights: LossWeights, seeds: tuple[int, int], precision: str = "auto",
                 compiled: bool = False) -> None:
        """`seeds` are the run's seed and the stage's number: dropout's counters."""
        self._model, self._weights, self._seeds = model, weights, seeds
        self._flat = FlatGradients(model, extra=len(LOGGED) + 2)
        self._device = self._flat.extra.device
        self._dtype = dtype_of(precision, self._device)
        self._hard = False
        self._fixed = compiled or self._device.type == "cuda"      # shapes that never change
        self._forward: Callable[[Pack], tuple[Tensor, Tensor]] = self._losses
        if compiled:
            self._forward = torch.compile(self._losses, fullgraph=True, dynamic=False)

    def run(self, step: Step, ranks: Ranks, scale: float, stopping: int, budget: StepBudget,
            hard: bool = False) -> None:
        """Computes this rank's lanes and sums over the ranks; the parameters' `grad` then hold the step's gradient.

        With `hard` the packs' random negatives give way to hard ones, where the stage has any.
        """
        self._flat.clear()
        self._hard = hard
        covered = ranks.total(step.covered)
        factors = [getattr(self._weights, name) * scale / max(count, 1)
                   for name, count in zip(LOSSES, covered, strict=True)]
        shares = [1 / max(count, 1) for count in (*covered, *(covered[LOSSES.index(name)] for name in _MEASURED))]
        for lane, pack in step.packs:
            if not pack.sequences:       # every sample of it was removed or left out
                continue
            with budget.span("compute"):      # of hard negatives; nothing without them
                chosen = self._chosen(step, lane, pack)
            with budget.span("copy"):
                ready = self._ready(chosen)
            with budget.span("compute"):
                add_gradients(self, step, lane, ready, factors, shares)
        self._flat.extra[-2] = step.stayed_positive
        self._flat.extra[-1] = stopping
        with budget.span("reduce"):
            self._flat.add_up(ranks)

    def finish(self, clip: float, scale: float) -> StepResult:
        """Takes the loss scale out of the gradient, clips it, and returns what the step says."""
        norm = self._flat.clip(clip, scale)
        *means, stayed, stopping = self._flat.extra.tolist()
        return StepResult(tuple(means), float(norm), int(stayed), int(stopping))

    def losses_by_lane(self, step: Step) -> dict[int, dict[str, float]]:
        """Returns the losses of each of this rank's lanes once more: for when their sum is not finite."""
        found = {}
        for lane, pack in step.packs:
            if not pack.sequences:
                continue
            torch.manual_seed(torch_seed(*self._seeds, step.number, lane, DROPOUT))
            with torch.no_grad():
                losses, _ = self._losses(self._ready(self._chosen(step, lane, pack)))
            found[lane] = dict(zip(LOSSES, losses.tolist(), strict=True))
        return found

    def _chosen(self, step: Step, lane: int, planned: Pack) -> Pack:
        """Returns the planned pack, or the one with hard negatives that the weights of now choose."""
        recipe = step.recipes.get(lane) if self._hard else None
        return planned if recipe is None else harder_pack(self._model, recipe, self._dtype)

    def _ready(self, pack: Pack) -> Pack:
        return pack.fixed().to(self._device) if self._fixed else pack.cropped()

    def _losses(self, pack: Pack) -> tuple[Tensor, Tensor]:
        with autocast(self._dtype, self._device):
            outputs = self._model(pack)
            losses = losses_of(outputs, pack)
        accuracies = accuracies_of(outputs, pack)
        return torch.stack([losses[name] for name in LOSSES]), torch.stack([accuracies[name] for name in ACCURACIES])

    def add(self, step: Step, lane: int, pack: Pack, factors: list[float], shares: list[float]) -> None:
        """Adds one lane's pack."""
        # Dropout depends on step and lane alone, not on which rank runs the lane.
        torch.manual_seed(torch_seed(*self._seeds, step.number, lane, DROPOUT))
        losses, accuracies = self._forward(pack)
        # A loss of factor 0 stays in the graph, so that every parameter has a gradient.
        (losses * losses.new_tensor(factors)).sum().backward()
        measured = torch.cat([losses.detach(), accuracies])
        self._flat.extra[:len(LOGGED)] += measured * measured.new_tensor(shares)


def add_gradients(gradient: StepGradient, step: Step, lane: int, pack: Pack, factors: list[float],
                  shares: list[float]) -> None:
    """Adds one lane's share: the smallest piece of work between two moments at which a run may die."""
    gradient.add(step, lane, pack, factors, shares)


def not_finite(gradient: StepGradient, step: Step, ranks: Ranks, where: str, kept: str) -> UsageError:
    """Returns the one line that says which loss of which samples is not finite; every rank returns the same."""
    found = [(lane, name, value, step.keys[lane]) for lane, losses in gradient.losses_by_lane(step).items()
             for name, value in losses.items() if not math.isfinite(value)]
    everywhere = sorted(ranks.gather(found))
    last = f"the last checkpoint is {kept}" if kept else "there is no checkpoint yet"
    way_out = f"{last}; use a lower learning_rate, a smaller clip, or leave these samples out"
    if not everywhere:
        return UsageError(f"{where}: the gradient is not finite, though every loss is; {way_out}")
    lane, name, value, keys = everywhere[0]
    more = f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else ""
    return UsageError(f"{where}: the loss {name} is {value} in lane {lane}, whose samples are "
                      f"{', '.join(keys[:_SHOWN_KEYS])}{more}; {way_out}")


_MEASURED = tuple(name.removesuffix("_accuracy") for name in ACCURACIES)
