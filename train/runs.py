"""Runs by name: each returns a whole, validated TrainConfig for the data it will see."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable

from model import config as sizes
from model.losses import LossWeights
from train.plan import DataFacts, StageConfig, TrainConfig
from train.schedule import OptimizerConfig

_CONTRASTIVE = LossWeights(0, 0, 0, 0, contrastive=1)


def demo(facts: DataFacts) -> TrainConfig:
    """Returns the run of `imagebert demo`: a small model that learns in minutes on 2 cores."""
    optimizer = OptimizerConfig(learning_rate=3e-3, beta2=0.98, warmup=0.05)
    return TrainConfig(
        name="demo",
        model=sizes.demo(facts.vocab_size, facts.feature_dim, facts.num_classes),
        plan=(
            # With the four losses alone ITM stays at 0.69 for about 100,000 sequences; aligned first, it falls at once.
            StageConfig("align", samples=57_600, optimizer=optimizer, weights=_CONTRASTIVE),
            StageConfig("pretrain", samples=144_000, optimizer=optimizer, weights=LossWeights(contrastive=1))),
        checkpoint_samples=48_000, regions=16, compute_threads=1)      # two threads gave nothing at this width


def lait_base(facts: DataFacts) -> TrainConfig:
    """Returns the paper's pre-training (section 4): BERT-base, LAIT and then Conceptual Captions with SBU.

    Batch 48 over 4 lanes, Adam at 1e-4, 17 epochs a stage, dropout 0.1 everywhere, a pair with two negatives.
    """
    del facts      # the paper's sizes are fixed; other data is refused
    lait = StageConfig("lait", epochs=17, data=("lait",), pairs=12, itm="triple")
    return TrainConfig(name="lait_base", model=sizes.base(), lanes=4,
                       plan=(lait, dataclasses.replace(lait, name="public", data=("public",))))


def lait_base_fast(facts: DataFacts) -> TrainConfig:
    """Returns `lait_base` for throughput: attention without dropout (the variable-length kernel), packs of 131,072
    tokens, one graph; the rate grows with the square root of the batch, which the paper says nothing of.
    """
    slow = lait_base(facts)
    # 131,072 tokens hold about 300 pairs of three sequences; the room in pairs is for shorter ones.
    faster = dataclasses.replace(slow.plan[0].optimizer, learning_rate=5e-4, beta2=0.98)
    return dataclasses.replace(
        slow, name="lait_base_fast", compile=True, checkpoint_samples=500_000, log_samples=50_000,
        model=dataclasses.replace(slow.model, attention_dropout=0.0),
        plan=tuple(dataclasses.replace(stage, pairs=512, tokens=131_072, optimizer=faster) for stage in slow.plan))


RUNS: dict[str, Callable[[DataFacts], TrainConfig]] = {
    "demo": demo, "lait_base": lait_base, "lait_base_fast": lait_base_fast}
