"""The size of one ImageBERT; what a checkpoint must agree with."""
from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class ModelConfig:
    """Sizes of the network; the defaults are the paper's (sections 2.1 to 2.7)."""

    vocab_size: int = 30522            # V, of the WordPiece vocabulary
    hidden: int = 768                  # D, model width
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072           # width inside a feed-forward block
    dropout: float = 0.1               # on embeddings and on both residual branches
    attention_dropout: float = 0.1     # on attention weights; the variable-length kernel needs 0 here
    feature_dim: int = 2048            # F, of one region's feature
    num_classes: int = 1600            # C, of the region extractor
    max_tokens: int = 144              # of one sequence: [CLS], regions, [SEP], word pieces, [SEP]
    max_positions: int = 512           # rows of the position table, as in BERT
    contrastive_dim: int = 0           # of the contrastive projections; 0 builds none
    global_region: bool = False        # one more token for the whole image (section 2.8; not in the paper's model)
    tags: int = 0                      # word pieces of region names shown beside the regions (Oscar); 0 shows none
    tag_names: tuple[str, ...] = ()    # of the region classes; a run takes them from its shards
    shared_layernorm: bool = False     # image embeddings use the text's LayerNorm (not stated by the paper)
    layer_norm_eps: float = 1e-12
    initial_range: float = 0.02        # standard deviation of new weights
    initial_temperature: float = 0.07  # of the contrastive loss; learned

    def __post_init__(self) -> None:
        for name in ("vocab_size", "hidden", "layers", "heads", "intermediate", "feature_dim", "num_classes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.hidden % self.heads:
            raise ValueError(f"hidden {self.hidden} is not a multiple of heads {self.heads}")
        if not 4 <= self.max_tokens <= self.max_positions:
            raise ValueError(f"max_tokens {self.max_tokens} is outside 4..max_positions ({self.max_positions})")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be in [0, 1)")
        for name in ("contrastive_dim", "tags"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 (none) or more")
        if self.initial_temperature <= 0:
            raise ValueError(f"initial_temperature is {self.initial_temperature}; it must be positive")


    @property
    def image_extra(self) -> int:
        """Returns the most tokens that an image's half has beside [CLS], its regions and their [SEP]."""
        return int(self.global_region) + (self.tags + 1 if self.tags else 0)


def base() -> ModelConfig:
    """Returns the paper's model: BERT-base with regions of 2048 values and 1600 classes."""
    return ModelConfig()


def demo(vocab_size: int, feature_dim: int, num_classes: int) -> ModelConfig:
    """Returns the small model of the demo, for the vocabulary and the extractor its data has.

    Without dropout: over so few steps it only slows learning (measured: MLM at 2.1 instead of 2.7 after 1000 steps).
    """
    return ModelConfig(vocab_size=vocab_size, hidden=64, layers=3, heads=2, intermediate=128, dropout=0.0,
                       attention_dropout=0.0, feature_dim=feature_dim, num_classes=num_classes, max_tokens=80,
                       max_positions=80, contrastive_dim=128)
