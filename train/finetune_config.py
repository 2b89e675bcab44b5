"""How a model is tuned for retrieval; the paper's settings and UNITER's hard negatives by name."""
from __future__ import annotations

import dataclasses

from model.config import ModelConfig
from train.schedule import OptimizerConfig
from train.wrong_pairs import BOTH, DRAWS, HARD, PACK, SIDES

BINARY, MULTICLASS, TRIPLET, SUM = "binary", "multiclass", "triplet", "sum"
SUMMED = (BINARY, MULTICLASS, TRIPLET)      # the combinations of section 6.4: each alone, and all three
LOSSES = (*SUMMED, SUM)
UNITER = "uniter"
PRESETS = (UNITER,)
_PAPER_WIDTH = 768


@dataclasses.dataclass(frozen=True, slots=True)
class FinetuneConfig:
    """How a model is tuned; batch and learning rate are the paper's (section 5.4)."""

    loss: str = BINARY
    negatives: int = 2             # wrong pairs of a right one: P - 1
    draw: str = PACK               # where they come from: pack, random, hard (train/wrong_pairs.py)
    pool: int = 399                # hard: of so many drawn at random the `negatives` highest are kept (UNITER's)
    sides: str = BOTH              # wrong captions, wrong images, or half of each (section 5.2)
    margin: float = 0.2            # of triplet, in logits (not stated; UNITER's)
    epochs: int = 130              # each image once, with one of its captions
    align_epochs: int = 0          # before these: contrastive, as in pre-training's `align` (not in the paper)
    batch: int = 24                # right pairs
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=5e-5)
    validate_epochs: int = 1       # between two validations
    patience: int = 0              # stop after so many validations without a better recall sum; 0 never stops early
    validation_images: int = 100
    validation_captions: int = 1   # of each image
    dropout: float | None = None   # of the whole network while it is tuned; None keeps the model's own
    regions: int = 100             # the most confident ones of an image
    seed: int = 1

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise ValueError(f"loss is {self.loss!r}; choose {', '.join(LOSSES)}")
        for name, least in (("negatives", 1), ("epochs", 1), ("batch", 2), ("validate_epochs", 1), ("regions", 1),
                            ("validation_images", 2), ("validation_captions", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be in [0, 1)")
        for name in ("align_epochs", "patience"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name, known in (("draw", DRAWS), ("sides", SIDES)):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; choose {', '.join(known)}")
        if self.draw == HARD and self.pool < self.negatives:
            raise ValueError(f"pool is {self.pool}, fewer than the {self.negatives} negatives that are kept of it")
        if self.margin < 0:
            raise ValueError(f"margin is {self.margin}; it must be 0 or more")


def config_for(model: ModelConfig, preset: str = "") -> FinetuneConfig:
    """Returns the paper's settings for its model; a narrower one learns faster and for fewer epochs (our choice).

    The preset `uniter` takes hard negatives as UNITER's released configs do: 399 drawn, 31 kept, the triplet loss.
    """
    if model.hidden >= _PAPER_WIDTH:
        config = FinetuneConfig(patience=10)
    else:
        rate = round(5e-5 * _PAPER_WIDTH / model.hidden, 6)
        config = FinetuneConfig(epochs=30, optimizer=OptimizerConfig(learning_rate=rate))
    if preset == UNITER:
        config = dataclasses.replace(config, loss=TRIPLET, draw=HARD, negatives=31, margin=0.2)
    return config
