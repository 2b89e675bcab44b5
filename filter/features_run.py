"""The stage features: every image that arrived is decoded once."""
from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from crawl.records import Image
from crawl.stages import Manifest, Stage, current_manifest, funnel_of
from filter.decode import MAX_PIXELS
from filter.judge_run import Run
from filter.natural import DATA, model
from filter.records import ImageFacts

FORMAT = 3                         # 2: md5; 3: other statistics for `natural`


@dataclasses.dataclass(frozen=True, slots=True)
class FeaturesConfig:
    """Settings of the stage features."""

    max_pixels: int = MAX_PIXELS       # of an image, before it is decoded; more is too_many_pixels
    buckets: int = 4                   # files of the table

    def __post_init__(self) -> None:
        for name in ("max_pixels", "buckets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


def features(out: str, config: FeaturesConfig, run: Run) -> Manifest:
    """Returns the manifest of the table `features`: ImageFacts, a row a distinct image that arrived."""
    images = current_manifest(out, "images")
    stage = Stage.open(out, "features", FORMAT, config,
                       {"images": images.digest, "natural": hashlib.sha256(DATA.read_bytes()).hexdigest()})
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.transforms import ReadTable, WriteTable, entries_of
    from filter.transforms import MeasureImages

    def build(root: Any) -> None:
        (root | "Images" >> ReadTable(images.paths("images"), Image)
         | "Measure" >> MeasureImages(out, config.max_pixels)
         | "Write" >> WriteTable(stage.directory, "features", ImageFacts, "sha256", config.buckets))

    run("features", build)
    entries = tuple(entries_of(stage.directory, "features", config.buckets))
    return stage.commit({"features": entries}, [funnel_of("features", "image", entries)],
                        extra={"natural": {"seen": model()["seen"]}})
