"""What every stage `regions` has, whatever extracted them: facts in its manifest, images without regions, names."""
from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from crawl import stages, storage
from crawl.errors import UsageError
from crawl.stages import Funnel, Manifest, Stage, funnel_of
from crawl.tables import FileEntry, read_table
from filter.records import Best
from shards.files import commit_small
from shards.order import OrderConfig, order_of
from shards.quantise import Found, quantised
from shards.records import EXTRACTED, WITHOUT_REGIONS, RegionAddress
from shards.region_config import RegionsConfig, read_class_names
from shards.regions import pack

CLASSES = "classes.txt"
_NONE = "none.bin"                 # the packed regions of an image that has none


@dataclasses.dataclass(frozen=True)
class StageFacts:
    """What of a RegionsConfig is the identity of a stage; no path, for equal files elsewhere give equal regions."""

    extractor: str
    quantise: str
    soft_classes: bool
    max_regions: int
    class_names: str               # digest of the names, "" without
    settings: tuple[str, ...] = () # of this extractor, "name=value"


def facts_of(config: RegionsConfig, **settings: Any) -> StageFacts:
    """Returns the identity of an extraction; `settings` are what this extractor reads besides."""
    names = hashlib.sha256(storage.read_bytes(config.class_names)).hexdigest() if config.class_names else ""
    return StageFacts(config.extractor, config.quantise, config.soft_classes, config.max_regions, names,
                      tuple(f"{name}={settings[name]}" for name in sorted(settings)))


def stem_of(bucket: int, buckets: int) -> str:
    """Returns the name of a bucket's files without their suffix."""
    return f"regions-{bucket:05d}-of-{buckets:05d}"


def in_shard_order(rows: Iterable[Best]) -> list[Best]:
    """Returns rows in the order of the shards (of the default seed), as their regions are to lie in a part.

    What a shard wants of a part lies in one piece then: a few reads, where rows in the order of keys would be one each.
    """
    return sorted(rows, key=lambda row: order_of(row.key, OrderConfig()))


def known_regions(out: str, stage: Stage, source: str, buckets: int, extractor_digest: str) -> tuple[str, ...]:
    """Returns the tables of the root's regions by the same extractor, a bucket each; none where there are none.

    Of original bytes only, which a key is the hash of: what a picture encoded again looks like, its key does not say.
    Decided once a stage (known.json), for parts hold what was left to do.
    """
    path = storage.join(stage.directory, "known.json")
    if not storage.exists(path):
        folder = stages.current(out).get("regions", "")
        before = stages.read_manifest(out, folder) if folder else None
        usable = before is not None and source == "filter" and source in before.inputs \
            and before.format == stage.format and before.extra["extractor_digest"] == extractor_digest \
            and len(before.tables["regions"]) == buckets
        storage.commit_bytes(path, json.dumps({"folder": folder if usable else ""}).encode())
    folder = json.loads(storage.read_bytes(path))["folder"]
    before = stages.read_manifest(out, folder) if folder else None
    if folder and before is None:
        raise UsageError(f"{storage.join(out, folder)}: its regions were to be kept, and it is gone; put it back, or "
                         f"remove {stage.directory} and run again")
    return before.paths("regions") if before else ()


def known_rows(path: str) -> dict[str, RegionAddress]:
    """Returns key -> address of what a bucket of an earlier stage has; of no name nothing."""
    rows = read_table(path, RegionAddress) if path else ()
    return {row.key: row for row in rows if row.outcome == EXTRACTED}


def commit_without(stage: Stage, form: str, feature_dim: int, outcome: str) -> RegionAddress:
    """Commits the regions of an image that has none; returns the row of such an image, its key left out."""
    none = quantised(Found(np.zeros((0, feature_dim)), np.zeros((0, 4)), np.zeros(0)), form, 0)
    data = pack(none)
    entry = commit_small(stage.directory, _NONE, data)
    return RegionAddress("", outcome, storage.join(stage.folder, _NONE), 0, len(data), entry.sha256, 0)


def finish_regions(stage: Stage, tables: Iterable[FileEntry], parts: Iterable[FileEntry], config: RegionsConfig,
                   facts: Mapping[str, Any]) -> Manifest:
    """Commits the stage: tables, parts, class names, and in `extra` what a reader must know of the features."""
    listed = list(tables)
    files: dict[str, list[FileEntry]] = {"regions": listed, "parts": list(parts)}
    if config.class_names:
        names = read_class_names(config.class_names, facts["num_classes"])
        text = "".join(f"{name}\n" for name in names)
        files["classes"] = [commit_small(stage.directory, CLASSES, text.encode())]
    counted = funnel_of("regions", "image", listed)
    return stage.commit(files, [counted], notes=notes_of(counted), extra={
        "max_regions": config.max_regions, "class_names": CLASSES if config.class_names else "", **facts})


def notes_of(counted: Funnel) -> list[str]:
    """Returns loud lines on images that are not stored, or stored without regions."""
    outcomes = dict(counted.outcomes)
    without = {name: count for name, count in outcomes.items() if name.startswith(WITHOUT_REGIONS)}
    lost = counted.rows_in - outcomes.get(EXTRACTED, 0) - sum(without.values())
    notes = [f"{lost} kept images are not stored: not decoded again, or no jpg, png or webp"] if lost else []
    return notes + [f"{count} of {counted.rows_in} kept images are stored without regions ({name}); trainers skip them"
                    for name, count in sorted(without.items())]
