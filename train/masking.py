"""Which word pieces and regions are masked: drawn on the CPU from counters, shipped as index lists.

Section 3.1: a word piece with 15 %, of these 80 % [MASK], 10 % a random piece, 10 % unchanged; specials never (they are
not among a sample's words).  Section 3.2: a region with 15 %, of these 90 % zeroed, 10 % unchanged; MOC and MRFR share
the draw.
"""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from train.packing import Masks, Sample, SpecialTokens, no_masks
from train.randomness import (
    HIDE_REGIONS,
    MASK_REGIONS,
    MASK_WORDS,
    ONE_MODALITY,
    REPLACE_WORDS,
    WORD_IDS,
    below,
    mix,
    uniform,
)


@dataclasses.dataclass(frozen=True, slots=True)
class MaskingConfig:
    """Shares; the defaults are the paper's."""

    words: float = 0.15            # of word pieces that must be predicted
    word_hidden: float = 0.8       # of these, shown as [MASK]
    word_random: float = 0.1       # of these, shown as a random piece; the rest is shown unchanged
    regions: float = 0.15          # of regions that must be predicted
    region_hidden: float = 0.9     # of these, zeroed
    gated: bool = True             # predicted in matched pairs only: the paper's "conditional mask" (section 3.5)
    one_modality: bool = False     # a sample's words or its regions, never both (UNITER; not this paper's, section 3.5)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name not in ("one_modality", "gated") and not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; it is a share, 0 to 1")
        if self.word_hidden + self.word_random > 1:
            raise ValueError(f"word_hidden {self.word_hidden} + word_random {self.word_random} is more than 1")


def plan_masks(samples: Sequence[Sample], special: SpecialTokens, config: MaskingConfig,
               *counters: int) -> Masks:
    """Returns the masks of samples, a pure function of the counters and each sample's key."""
    plain = no_masks(samples)
    drawable = _drawable(special)
    word_keys, word_index = _keys(samples, [len(sample.words) for sample in samples])
    region_keys, region_index = _keys(samples, [len(sample.classes) for sample in samples])
    stream = mix(*counters)

    word_masked = uniform(stream, MASK_WORDS, word_keys, word_index) < config.words
    how = uniform(stream, REPLACE_WORDS, word_keys, word_index)
    drawn = drawable[below(len(drawable), stream, WORD_IDS, word_keys, word_index)]
    shown = np.where(how < config.word_hidden, special.mask,
                     np.where(how < config.word_hidden + config.word_random, drawn, plain.word_inputs))

    region_masked = uniform(stream, MASK_REGIONS, region_keys, region_index) < config.regions
    if config.one_modality:
        word_masked &= uniform(stream, ONE_MODALITY, word_keys) < 0.5
        region_masked &= uniform(stream, ONE_MODALITY, region_keys) >= 0.5
    region_hidden = uniform(stream, HIDE_REGIONS, region_keys, region_index) < config.region_hidden
    return Masks(word_inputs=np.where(word_masked, shown, plain.word_inputs), word_masked=word_masked,
                 region_visible=~(region_masked & region_hidden), region_masked=region_masked,
                 gated=config.gated)


@functools.lru_cache(maxsize=4)
def _drawable(special: SpecialTokens) -> NDArray[np.int64]:
    return np.setdiff1d(np.arange(special.vocab_size), np.array(special.never_drawn, np.int64))


def _keys(samples: Sequence[Sample], lengths: Sequence[int]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Returns for every word (or region) its sample's key hash and its number within the sample."""
    keys = np.array([sample.key_hash for sample in samples], np.uint64)
    return (np.repeat(keys, lengths),
            np.concatenate([np.arange(length) for length in lengths]) if lengths else np.empty(0, np.int64))
