"""Stage `regions` of an extractor with weights: kept images in chunks, each a measured part of its own.

    OUT/regions/<hash>/chunk-00000-00003-<sha256>.bin              packed regions of the fourth chunk of bucket 0
    OUT/regions/<hash>/chunk-00000-00003.json                      its entry and addresses
    OUT/regions/<hash>/regions-00000-of-00004.parquet              RegionAddress rows, one for each row of `best`
    OUT/regions/<hash>/known.json                                  the earlier stage whose regions are kept

Pictures that the root's regions by the same extractor have already keep those: a changed filter costs what is new.

A chunk is so many rows of a bucket in the order of the shards.  It is also what goes through the model in one call, in
batches of pictures of equal size: so what shares a batch depends on the rows alone, not on the runner or its workers.
"""
from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from crawl import progress, stages, storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.stages import Manifest, Stage
from crawl.tables import FileEntry, read_table
from filter.records import Best
from shards.addresses import Address
from shards.files import PartFile, commit_small, encode_entry, entry_from
from shards.quantise import UnusableRegions, quantised
from shards.records import EXTRACTED, WITHOUT_REGIONS, RegionAddress, image_address, why_not_stored
from shards.reencode_run import best_record
from shards.region_config import RegionsConfig, read_class_names
from shards.region_stage import commit_without, facts_of, finish_regions, in_shard_order, known_regions, known_rows
from shards.regions import pack

Run = Callable[[str, Callable[[Any], None]], None]

FORMAT = 2                         # 2: in the order of shards
CHUNK_ROWS = 64                    # pictures that are decoded and held at once
NONE_FOUND = f"{WITHOUT_REGIONS}found"
_SETTINGS = ("architecture", "min_confidence", "min_regions", "min_side", "max_side", "grid", "batch")


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """Some rows of a bucket: their keys, where their images are, and why one is not stored."""

    bucket: int
    number: int
    keys: tuple[str, ...]
    addresses: tuple[Address, ...]
    reasons: tuple[str, ...]       # "" for an image that can be stored


@dataclasses.dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of each row of a chunk: packed regions, b"" for none found, or a reason."""

    chunk: Chunk
    regions: tuple[bytes | str, ...]
    counts: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Weights:
    """What a worker opens a detector with: it travels, the network does not."""

    config: RegionsConfig
    sha256: str
    class_names: tuple[str, ...]


def detected_regions(out: str, config: RegionsConfig, run: Run, source: str) -> Manifest:
    """Extracts the regions of every kept image; `extra` says with what, how many features and classes.

    Raises UsageError without weights, or with weights of another model, before anything is written.
    """
    kept = stages.current_manifest(out, source)
    data = read_weights(config)
    sha256 = hashlib.sha256(data).hexdigest()
    stage = Stage.open(out, "regions", FORMAT, facts_of(
        config, weights=sha256, **{name: getattr(config, name) for name in _SETTINGS}), {source: kept.digest})
    done = stage.finished()
    if done is not None:
        return done
    weights = Weights(config, sha256, _names(config))
    from shards.detect_transforms import DetectRegions, opened
    detector = opened(weights, data)                       # what is wrong with the weights is said here
    facts = {"feature_dim": detector.feature_dim, "num_classes": detector.num_classes}
    if config.class_names:
        read_class_names(config.class_names, detector.num_classes)
    best, extractor = kept.paths("best"), digest({"name": config.extractor, "config": stage.config})
    without = commit_without(stage, config.quantise, detector.feature_dim, NONE_FOUND)
    known = known_regions(out, stage, source, len(best), extractor)
    run("regions", lambda root: root | "Regions" >> DetectRegions(
        out, best, best_record(source), stage.folder, weights, without, known))
    from crawl.transforms import entries_of
    tables = list(entries_of(stage.directory, "regions", len(best)))
    parts = [entry_from(one) for bucket in range(len(best))
             for one in json.loads(storage.read_bytes(storage.join(stage.directory, _parts_name(bucket, len(best)))))]
    quantisation = "f16" if config.quantise == "f16" else "u8_scale_zero" if detector.signed else "u8_scale"
    return finish_regions(stage, tables, parts, config, {
        "extractor": config.extractor, **facts, "quantisation": quantisation, "weights": sha256,
        "extractor_digest": extractor})


def read_weights(config: RegionsConfig) -> bytes:
    """Returns the bytes of the checkpoint; raises UsageError where none is named or there."""
    if not config.weights:
        raise UsageError(f"{config.extractor} needs --weights FILE, its published checkpoint: nothing is downloaded, "
                         f"and random weights are no detector; or take --extractor patches, which needs none")
    try:
        return storage.read_bytes(config.weights)
    except OSError as error:
        raise UsageError(f"--weights {config.weights}: cannot be read ({error.strerror or error}); name the checkpoint "
                         f"of {config.extractor}") from error


def _names(config: RegionsConfig) -> tuple[str, ...]:
    """Returns the class names that the extractor itself works with: those of clip."""
    if config.extractor != "clip" or not config.class_names:
        return ()
    lines = storage.read_bytes(config.class_names).decode(errors="replace").splitlines()
    return read_class_names(config.class_names, len(lines))


def _stem(bucket: int, number: int) -> str:
    return f"chunk-{bucket:05d}-{number:05d}"


def _parts_name(bucket: int, buckets: int) -> str:
    return f"parts-{bucket:05d}-of-{buckets:05d}.json"


def chunks_of(bucket: int, best_path: str, record: type[Best], known_path: str = "") -> Iterator[Chunk]:
    """Yields the chunks of what one bucket of `best` has beyond the known, in the order of shards."""
    known = known_rows(known_path)
    rows = iter(in_shard_order(best for best in read_table(best_path, record) if best.key not in known))
    for number in itertools.count():
        some = list(itertools.islice(rows, CHUNK_ROWS))
        if not some:
            return
        yield Chunk(bucket, number, tuple(best.key for best in some), tuple(map(image_address, some)),
                    tuple(map(why_not_stored, some)))


def is_committed(directory: str, chunk: Chunk) -> bool:
    """Returns whether a chunk was done before the run was stopped."""
    return storage.exists(storage.join(directory, f"{_stem(chunk.bucket, chunk.number)}.json"))


def packed_as(found: Any, config: RegionsConfig) -> tuple[bytes | str, int]:
    """Returns what a detector found in one picture as it is stored, and how many regions; b"" for none."""
    try:
        regions = quantised(found, config.quantise, config.max_regions, config.soft_classes)
    except UnusableRegions as error:
        return WITHOUT_REGIONS + error.reason, 0
    return (pack(regions), len(regions)) if len(regions) else (b"", 0)


def commit_chunk(out: str, folder: str, result: ChunkResult, without: RegionAddress) -> None:
    """Commits the part of a chunk and, after it, its addresses."""
    directory, stem = storage.join(out, folder), _stem(result.chunk.bucket, result.chunk.number)
    rows: list[RegionAddress] = []
    with PartFile(directory) as part:
        for key, packed, count in zip(result.chunk.keys, result.regions, result.counts, strict=True):
            if isinstance(packed, str) and packed.startswith(WITHOUT_REGIONS):
                rows.append(dataclasses.replace(without, key=key, outcome=packed))
            elif isinstance(packed, str):
                rows.append(RegionAddress(key, packed, "", 0, 0, "", 0))
            elif not packed:
                rows.append(dataclasses.replace(without, key=key))
            else:
                rows.append(RegionAddress(key, EXTRACTED, "", part.append(packed), len(packed),
                                          hashlib.sha256(packed).hexdigest(), count))
            progress.add("images cut into regions", 1)
        entry: FileEntry = part.commit(lambda sha256: f"{stem}-{sha256[:12]}.bin")
    name = storage.join(folder, entry.name)
    own = [dataclasses.replace(row, part=name) if row.outcome == EXTRACTED else row for row in rows]
    # Replaced, not committed: a chunk that is done again may have made another part.
    storage.replace_bytes(storage.join(directory, f"{stem}.json"), json.dumps({
        "part": json.loads(encode_entry(entry)), "rows": [dataclasses.astuple(row) for row in own]}).encode())


def finish_bucket(out: str, folder: str, bucket: int, buckets: int, best_path: str, record: type[Best],
                  known_path: str = "") -> None:
    """Commits the table of a bucket, from its chunks and the known, and the entries of its parts."""
    from crawl.transforms import write_bucket
    directory = storage.join(out, folder)
    rows, parts = known_rows(known_path), []
    for chunk in chunks_of(bucket, best_path, record, known_path):
        told = json.loads(storage.read_bytes(storage.join(directory, f"{_stem(bucket, chunk.number)}.json")))
        parts.append(told["part"])
        rows |= {row[0]: RegionAddress(*row) for row in told["rows"]}
    commit_small(directory, _parts_name(bucket, buckets), json.dumps(parts).encode())
    write_bucket(directory, "regions", bucket, buckets, RegionAddress,
                 [rows[best.key] for best in read_table(best_path, record)])
