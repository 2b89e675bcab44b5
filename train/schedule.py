"""The learning rate as a function of samples seen, and the optimizer it drives."""
from __future__ import annotations

import dataclasses

import torch
from torch import nn


@dataclasses.dataclass(frozen=True, slots=True)
class OptimizerConfig:
    """AdamW, linear warm-up, linear decay to 0; the paper states Adam at 1e-4 (section 4), the rest are defaults."""

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.01     # not on biases, LayerNorms and the temperature
    warmup: float = 0.1            # share of the stage's samples
    clip: float = 1.0              # greatest norm of the gradient

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.clip <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} and clip {self.clip} must be positive")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        if not 0 <= self.warmup <= 1 or self.weight_decay < 0:
            raise ValueError(f"warmup {self.warmup} is a share (0 to 1), weight_decay {self.weight_decay} is 0 or more")


def learning_rate(config: OptimizerConfig, samples: int, total: int) -> float:
    """Returns the rate of the step that starts after `samples` of the stage's `total`.

    Counting samples and not steps, the schedule does not change with the size of a step.

    >>> config = OptimizerConfig(learning_rate=1.0, warmup=0.5)
    >>> [learning_rate(config, samples, 8) for samples in (0, 2, 4, 6, 8)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    done = min(samples / total, 1.0)
    if done < config.warmup:
        return config.learning_rate * done / config.warmup
    return config.learning_rate * (1 - done) / max(1 - config.warmup, 1e-9)


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """Returns AdamW over all parameters, in two groups: with and without weight decay."""
    decayed = [parameter for parameter in model.parameters() if parameter.dim() >= 2]
    others = [parameter for parameter in model.parameters() if parameter.dim() < 2]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=(config.beta1, config.beta2), fused=True)
