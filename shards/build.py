"""From kept pairs to shards: word pieces, regions, shards."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from crawl import stages
from crawl.errors import UsageError
from crawl.stages import Manifest
from shards.extraction import extract_regions
from shards.order import OrderConfig
from shards.patches import PatchesConfig
from shards.reencode import ReencodeConfig
from shards.reencode_run import reencoded
from shards.region_config import RegionsConfig
from shards.shards_run import shards
from shards.vocabulary import VocabConfig, vocab


@dataclasses.dataclass(frozen=True)
class ShardsConfig:
    """Everything that decides the bytes of the shards, given the kept pairs."""

    vocab: VocabConfig = dataclasses.field(default_factory=VocabConfig)
    patches: PatchesConfig = dataclasses.field(default_factory=PatchesConfig)
    order: OrderConfig = dataclasses.field(default_factory=OrderConfig)
    reencode: ReencodeConfig = dataclasses.field(default_factory=ReencodeConfig)
    regions: RegionsConfig = dataclasses.field(default_factory=RegionsConfig)


def build_shards(out: str, config: ShardsConfig, run: Callable[[str, Callable[[Any], None]], None]) -> Manifest:
    """Returns the manifest of the shards; every stage that is finished returns at once.

    Raises UsageError when the filter kept nothing to store.
    """
    config.reencode.check()
    filtered = stages.current_manifest(out, "filter")
    if not filtered.rows("best"):
        reasons = ", ".join(f"{name} {count}" for line in filtered.funnel for name, count in line.outcomes)
        raise UsageError(f"{out}: the filter kept no pair, so there is nothing to store "
                         f"({reasons or 'no pair came in'}); give more seeds, or loosen the rules with --set filter...")
    vocab(out, config.vocab, run)
    # vocab.txt: word pieces of the training captions, or the user's own

    source = "filter"
    if config.reencode.on:
        source = reencoded(out, config.reencode, run).stage
        # smaller JPEGs of the kept images, and where each is: regions are of what is stored

    extract_regions(out, config.regions, config.patches, run, source)
    # packed regions by patches, a detector or the files of others, and where each image's are

    return shards(out, config.order, run, source)
    # train/lait-jpg-000000.tar, .regions.tar, .idx.npy, .parquet
