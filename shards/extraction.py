"""Regions of the kept images by whichever extractor was chosen; the stage `regions` comes out."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from crawl import stages
from crawl.stages import Manifest
from shards.detect_run import detected_regions
from shards.patches import PatchesConfig
from shards.precomputed_run import precomputed_regions
from shards.reencode_run import REENCODED_STAGE
from shards.region_config import PATCHES, PRECOMPUTED, RegionsConfig, chosen
from shards.regions_run import codebook, regions

Run = Callable[[str, Callable[[Any], None]], None]


def extract_regions(out: str, config: RegionsConfig, patches: PatchesConfig, run: Run,
                    source: str = "filter") -> Manifest:
    """Returns the manifest of the regions of every kept image; finished stages return at once.

    Args:
        patches: settings of that extractor alone.
        source: the stage whose `best` rows say where the images are: filter, or reencoded.
    """
    config = chosen(out, config)
    if config.extractor == PATCHES:
        codebook(out, patches, run, source)
        # codebook.safetensors: the classes of patches, from training images only
        return regions(out, patches, run, source)
    if config.extractor == PRECOMPUTED:
        return precomputed_regions(out, config, run, source)
    return detected_regions(out, config, run, source)


def stored_source(out: str) -> str:
    """Returns the stage whose images the root's shards hold: reencoded where they were made of it, else filter."""
    folder = stages.current(out).get("shards")
    shards = stages.read_manifest(out, folder) if folder else None
    return REENCODED_STAGE if shards is not None and REENCODED_STAGE in shards.inputs else "filter"
