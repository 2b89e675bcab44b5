"""Useful floating-point operations of a pack: real tokens only, from the heads that are built (training.md 2.1).

A multiplication with an addition counts as two.  Padding, empty places and what a checkpointed layer computes twice are
not useful and do not count.
"""
from __future__ import annotations

import numpy as np

from model.config import ModelConfig
from model.inputs import Pack


def forward_flops(config: ModelConfig, pack: Pack) -> float:
    """Returns the operations of one forward with all heads, on the pack's used part."""
    width, tokens = config.hidden, pack.tokens
    lengths = np.diff(pack.cu_seqlens[:pack.sequences + 1].cpu().numpy().astype(np.float64))
    layers = config.layers * (tokens * (8 * width ** 2 + 4 * width * config.intermediate)
                              + 4 * width * float((lengths ** 2).sum()))
    mlm = pack.masked_words * 2 * width * (width + config.vocab_size)
    regions = pack.masked_regions * 2 * width * (config.num_classes + config.feature_dim)
    itm = pack.sequences * 2 * width * (width + 1)
    contrast = 2 * pack.contrasts * 2 * width * config.contrastive_dim
    return layers + _projection(config, pack) + mlm + regions + itm + contrast


def training_flops(config: ModelConfig, pack: Pack) -> float:
    """Returns forward and backward: three times the forward, the visual projection twice (no gradient of its input).
    """
    return 3 * forward_flops(config, pack) - _projection(config, pack)


def _projection(config: ModelConfig, pack: Pack) -> float:
    return pack.distinct * 2 * config.hidden * config.feature_dim
