"""Settings of the stage filter."""
from __future__ import annotations

import dataclasses
import re

from filter.aggregate import AggregateRules
from filter.clip_config import ClipConfig
from filter.drift import DriftRules
from filter.images import ImageRules
from filter.near_duplicates import NearRules

PRESET_NAME = re.compile(r"[a-z0-9][a-z0-9\-]{0,40}")


@dataclasses.dataclass(frozen=True, slots=True)
class FilterConfig:
    """Settings of the stage filter; `--set images.min_side=200` and the like change one."""

    images: ImageRules = ImageRules()
    near: NearRules = NearRules()
    aggregate: AggregateRules = AggregateRules()
    drift: DriftRules = DriftRules()
    clip: ClipConfig = ClipConfig()
    scorer: str = "prior"              # prior, weak, clip (filter/scoring.py)
    scorer_path: str = ""              # model of `weak`; empty: the shipped one
    preset: str = "lait"               # whose published rules these are (filter/presets.py, docs/presets.md)
    min_score: float = 0.4             # P(caption describes image); below: low_score
    min_cosine: float = 0.0            # of CLIP's embeddings of image and caption, where a network ran; 0: no such rule
    buckets: int = 4                   # files of each table

    def __post_init__(self) -> None:
        if not 0 <= self.min_score <= 1:
            raise ValueError(f"min_score is {self.min_score}; it is a probability, 0 to 1")
        if not 0 <= self.min_cosine <= 1:
            raise ValueError(f"min_cosine is {self.min_cosine}; choose 0 to 1")
        if not PRESET_NAME.fullmatch(self.preset):
            raise ValueError(f"preset is {self.preset!r}; a name of small letters, digits and hyphens")
        if self.buckets < 1:
            raise ValueError(f"buckets is {self.buckets}; it must be at least 1")
