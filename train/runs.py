"""Runs by name: each returns a whole, validated TrainConfig for the data it will see."""
from __future__ import annotations

from collections.abc import Callable

from model import config as sizes
from model.losses import LossWeights
from train.plan import DataFacts, StageConfig, TrainConfig
from train.schedule import OptimizerConfig


def demo(facts: DataFacts) -> TrainConfig:
    """Returns the run of `imagebert demo`: a small model that learns in minutes on 2 cores."""
    optimizer = OptimizerConfig(learning_rate=3e-3, beta2=0.98, warmup=0.05)
    return TrainConfig(
        name="demo",
        model=sizes.demo(facts.vocab_size, facts.feature_dim, facts.num_classes),
        # With the four losses alone ITM stays at 0.69 for about 100,000 sequences; aligned first, it falls at once.
        align=StageConfig(samples=57_600, optimizer=optimizer, weights=LossWeights(0, 0, 0, 0, contrastive=1)),
        pretrain=StageConfig(samples=144_000, optimizer=optimizer, weights=LossWeights(contrastive=1)),
        checkpoint_samples=48_000, regions=16, compute_threads=1)      # two threads gave nothing at this width


def base(facts: DataFacts) -> TrainConfig:
    """Returns the paper's pre-training (section 4): BERT-base, batch 48, Adam at 1e-4, 17 epochs of 10M pairs."""
    del facts      # the paper's sizes are fixed; other data is refused
    optimizer = OptimizerConfig()
    return TrainConfig(
        name="base", model=sizes.base(),
        align=StageConfig(samples=0),
        pretrain=StageConfig(samples=17 * 10_000_000, pairs=12, optimizer=optimizer),
        lanes=4)


RUNS: dict[str, Callable[[DataFacts], TrainConfig]] = {"demo": demo, "base": base}
