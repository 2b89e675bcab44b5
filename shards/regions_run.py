"""Stages `codebook` and `regions`: kept images are decoded and cut into regions, a measured part a bucket of `best`.

    OUT/codebook/<hash>/cells-00000-of-00008.npy, codebook.safetensors
    OUT/regions/<hash>/regions-00000-of-00004-<sha256>.bin      packed regions, one after the other
    OUT/regions/<hash>/regions-00000-of-00004.parquet           RegionAddress rows, one for each row of `best`
    OUT/regions/<hash>/known.json                               the earlier stage whose regions are kept

Pictures that the root's regions have already, by the same codebook, keep those: after a removal that took none of the
images the codebook was fitted on, nothing is decoded again.
"""
from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from crawl import progress, stages, storage
from crawl.config import as_dict, digest
from crawl.sandbox_client import Sandbox
from crawl.stages import Funnel, Manifest, Stage, funnel_of
from crawl.tables import FileEntry, read_table
from filter.records import Best
from shards import patches
from shards.addresses import Address, read_addresses
from shards.files import PartFile, encode_entry, read_entry
from shards.image_work import cell_sandbox
from shards.patches import PatchesConfig
from shards.records import EXTRACTED, RegionAddress, StoredBest, image_address, why_not_stored
from shards.reencode_run import best_record
from shards.region_stage import in_shard_order, known_regions, known_rows
from shards.regions import pack

Run = Callable[[str, Callable[[Any], None]], None]

CODEBOOK_FORMAT = 1
REGIONS_FORMAT = 2                 # 2: in the order of shards
CODEBOOK = "codebook.safetensors"
# Files of cells the codebook is fitted from: they cross the shuffle as names, and a killed run keeps them.
CELL_FILES = 8
# Rows whose images are read and packed at a time: bounds memory, and gives the read plan neighbours to join.
_WINDOW = 1024


def codebook(out: str, config: PatchesConfig, run: Run, source: str = "filter") -> Manifest:
    """Fits the k-means codebook on cells of training images; `extra` has its digest and how much it saw.

    Args:
        source: the stage whose `best` rows say where the images are: filter, or reencoded.
    """
    best = stages.current_manifest(out, source)
    stage = Stage.open(out, "codebook", CODEBOOK_FORMAT, config, {source: best.digest})
    done = stage.finished()
    if done is not None:
        return done
    from shards.transforms import FitCodebook
    run("codebook", lambda root: root | "Codebook" >> FitCodebook(
        out, best.paths("best"), best_record(source), stage.directory, config))
    data = storage.read_bytes(storage.join(stage.directory, CODEBOOK))
    fitted = json.loads(storage.read_bytes(storage.join(stage.directory, "codebook.json")))
    sha256 = hashlib.sha256(data).hexdigest()
    notes = [] if fitted["cells"] else ["the codebook saw no cell: no training image could be decoded"]
    return stage.commit({"codebook": [FileEntry(name=CODEBOOK, bytes=len(data), sha256=sha256)]}, (), notes=notes,
                        extra={"digest": sha256, **fitted})


def regions(out: str, config: PatchesConfig, run: Run, source: str = "filter") -> Manifest:
    """Extracts the regions of every kept image; `extra` says with what, how many features and classes."""
    kept = stages.current_manifest(out, source)
    fitted = stages.current_manifest(out, "codebook")
    stage = Stage.open(out, "regions", REGIONS_FORMAT, config, {source: kept.digest, "codebook": fitted.digest})
    done = stage.finished()
    if done is not None:
        return done
    best = kept.paths("best")
    extractor = digest({"name": patches.NAME, "config": as_dict(config), "codebook": fitted.extra["digest"]})
    known = known_regions(out, stage, source, len(best), extractor)
    from shards.transforms import ExtractRegions
    run("regions", lambda root: root | "Regions" >> ExtractRegions(
        out, best, best_record(source), stage.folder, config, storage.join(fitted.directory, CODEBOOK), known))
    tables = [read_entry(stage.directory, f"{_stem(bucket, len(best))}.json") for bucket in range(len(best))]
    parts = [read_entry(stage.directory, f"{_stem(bucket, len(best))}.part.json") for bucket in range(len(best))]
    counted = funnel_of("regions", "image", tables)
    return stage.commit({"regions": tables, "parts": parts}, [counted], notes=_lost(counted), extra={
        "extractor": patches.NAME, "feature_dim": config.feature_dim, "num_classes": config.num_classes,
        "max_regions": config.num_regions, "quantisation": patches.QUANTISATION,
        "extractor_digest": extractor})


def _lost(counted: Funnel) -> list[str]:
    lost = counted.rows_in - dict(counted.outcomes).get(EXTRACTED, 0)
    return [f"{lost} kept images are not stored: not decoded again, or no jpg, png or webp"] if lost else []


def _stem(bucket: int, buckets: int) -> str:
    return f"regions-{bucket:05d}-of-{buckets:05d}"


@dataclasses.dataclass(frozen=True, slots=True)
class CellSource:
    """A training image the codebook may see; sorts by hash."""

    order: str                     # hex of sha256(seed, key)
    key: str
    address: Address


def cell_source(best: Best, config: PatchesConfig) -> CellSource | None:
    """Returns a training image's place in the draw for the codebook.

    None for a test image, which it never sees, and for one that could not be encoded again.
    """
    if best.split != "train" or isinstance(best, StoredBest) and why_not_stored(best):
        return None
    order = hashlib.sha256(f"codebook:{config.seed}:{best.key}".encode()).hexdigest()
    return CellSource(order, best.key, image_address(best))


def cells_name(number: int) -> str:
    """Returns the name of a file of cells."""
    return f"cells-{number:05d}-of-{CELL_FILES:05d}.npy"


def write_cells(out: str, directory: str, number: int, sources: Sequence[CellSource], config: PatchesConfig) -> None:
    """Commits the chosen cells of some images, u8 (n, D); does nothing where they are committed."""
    path = storage.join(directory, cells_name(number))
    if storage.exists(path):
        return
    found: dict[int, np.ndarray] = {}
    read = read_addresses(out, [source.address for source in sources])
    with cell_sandbox(config) as box:
        for place, answer in box.map((place, None, data) for place, data in read):
            if isinstance(answer.result, np.ndarray):
                found[place] = answer.result[patches.chosen_cells(sources[place].key, config)]
    empty = np.zeros((0, config.feature_dim), np.uint8)
    buffer = io.BytesIO()
    np.save(buffer, np.concatenate([empty, *(found[place] for place in sorted(found))]), allow_pickle=False)
    storage.commit_bytes(path, buffer.getvalue())


def fit_cells(directory: str, config: PatchesConfig) -> None:
    """Fits the codebook on the committed files of cells and commits it."""
    cells = np.concatenate([np.load(io.BytesIO(storage.read_bytes(storage.join(directory, cells_name(number)))),
                                    allow_pickle=False) for number in range(CELL_FILES)])
    centroids = patches.fit_codebook(cells, config)
    storage.commit_bytes(storage.join(directory, CODEBOOK), patches.pack_codebook(centroids))
    storage.commit_bytes(storage.join(directory, "codebook.json"), json.dumps({"cells": len(cells)}).encode())


def extract_bucket(out: str, folder: str, best_path: str, record: type[Best], bucket: int, buckets: int,
                   config: PatchesConfig, codebook_path: str, known_path: str = "") -> None:
    """Commits the part and the address table of one bucket of `best`; does nothing where they are committed.

    The part has what the table of an earlier stage (`known_path`) has not, in the order of shards.  Its name holds its
    sha256, so that a bucket killed between part and table is simply done again, even by an extractor that does not give
    the same bits twice.
    """
    from crawl.transforms import write_bucket
    directory, stem = storage.join(out, folder), _stem(bucket, buckets)
    if storage.exists(storage.join(directory, stem + ".json")):
        return
    centroids = patches.unpack_codebook(storage.read_bytes(codebook_path))
    rows, new = known_rows(known_path), {}
    listed = list(read_table(best_path, record))
    with PartFile(directory) as part, cell_sandbox(config) as box:
        source = iter(in_shard_order(best for best in listed if best.key not in rows))
        while window := list(itertools.islice(source, _WINDOW)):
            for best, packed in zip(window, _packed(out, window, config, centroids, box), strict=True):
                if isinstance(packed, str):
                    rows[best.key] = RegionAddress(best.key, packed, "", 0, 0, "", 0)
                else:
                    new[best.key] = RegionAddress(best.key, EXTRACTED, "", part.append(packed), len(packed),
                                                  hashlib.sha256(packed).hexdigest(), config.num_regions)
                progress.add("images cut into regions", 1)
        entry = part.commit(lambda sha256: f"{stem}-{sha256[:12]}.bin")
    # Replaced, not committed: a bucket that is done again may have made another part.
    storage.replace_bytes(storage.join(directory, stem + ".part.json"), encode_entry(entry))
    name = storage.join(folder, entry.name)
    rows |= {key: dataclasses.replace(row, part=name) for key, row in new.items()}
    write_bucket(directory, "regions", bucket, buckets, RegionAddress, [rows[best.key] for best in listed])


def _packed(out: str, window: Sequence[Best], config: PatchesConfig, centroids: np.ndarray,
            box: Sandbox[np.ndarray | str]) -> Iterator[bytes | str]:
    """Yields the packed regions of each row, or why its image cannot be stored or decoded."""
    found: dict[int, bytes | str] = {place: why for place, best in enumerate(window) if (why := why_not_stored(best))}
    addresses = [image_address(best) for best in window]
    wanted = ((place, None, data) for place, data in read_addresses(out, addresses) if place not in found)
    for place, answer in box.map(wanted):
        if answer.result is None:
            found[place] = f"decode_{answer.reason}"
        elif isinstance(answer.result, str):
            found[place] = answer.result
        else:
            found[place] = pack(patches.regions_of(answer.result, centroids, config))
    for place in range(len(window)):
        yield found[place]
