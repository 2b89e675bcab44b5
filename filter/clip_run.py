"""The stage `clip` of the filter: what an open_clip network says of every image that decodes, and of its texts.

Measured: a bucket of its table is committed once and reused.  What goes through the network together depends on the
rows and on `batch` alone, not on the runner; cosines and probabilities lie on the grid.  A changed threshold, scorer or
rule of images runs nothing again.
"""
from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from crawl.permission import PermissionRules
from crawl.records import Image
from crawl.stages import Manifest, Stage, funnel_of
from filter.clip_config import UNSAFE_NO_HEAD, UNSAFE_OFF, ClipConfig
from filter.judge_run import Run
from filter.records import ClipAsk, ImageFacts, Judged

FORMAT = 1
CLIP, ASKS = "clip", "asks"


@dataclasses.dataclass(frozen=True, slots=True)
class ClipWeights:
    """What a worker opens the network with: it travels, the network does not."""

    config: ClipConfig
    weights: str                   # sha256 of the checkpoint
    head: str                      # sha256 of the head, "" without


@dataclasses.dataclass(frozen=True, slots=True)
class _Settings:
    """What names the stage: files by their digests, for a path says nothing."""

    architecture: str
    weights: str
    unsafe_head: str
    batch: int
    buckets: int
    max_claims: int


def clip_weights(config: ClipConfig, scorer: str = "") -> ClipWeights | None:
    """Returns what names the network, None where no weights are set.

    Raises UsageError for files that are not there, and for a head or a scorer that stands without weights.
    """
    if not config.weights:
        for needs in ("scorer clip",) * (scorer == "clip") + ("clip.unsafe_head",) * bool(config.unsafe_head):
            raise UsageError(f"{needs} reads the embeddings of a network: name its checkpoint, --set "
                             f"clip.weights=FILE (nothing is downloaded)")
        return None
    return ClipWeights(config, hashlib.sha256(read_file(config.weights, "clip.weights")).hexdigest(),
                       hashlib.sha256(read_file(config.unsafe_head, "clip.unsafe_head")).hexdigest()
                       if config.unsafe_head else "")


def read_file(path: str, setting: str) -> bytes:
    """Returns the bytes of a file that a setting names; raises UsageError where it cannot be read."""
    try:
        return storage.read_bytes(path)
    except OSError as error:
        raise UsageError(f"{setting} {path!r}: cannot be read ({error.strerror or error}); nothing is downloaded: name "
                         f"a file of this machine, or leave it empty") from error


def clip_notes(config: ClipConfig, min_cosine: float) -> list[str]:
    """Returns a loud line for each rule that is off for want of weights."""
    notes = [] if config.unsafe_head else [UNSAFE_NO_HEAD if config.weights else UNSAFE_OFF]
    if min_cosine > 0 and not config.weights:
        notes.append(f"min_cosine {min_cosine}: not applied, for there are no weights of CLIP (--set clip.weights="
                     "CHECKPOINT); pairs whose text has nothing to do with their picture stay")
    return notes


def clip_extra(weights: ClipWeights | None) -> dict[str, Any]:
    """Returns what the manifest of the filter says of the network and of the unsafe filter."""
    if weights is None:
        return {"clip": {"ran": False}, "unsafe": {"ran": False}}
    return {"clip": {"ran": True, "architecture": weights.config.architecture, "weights": weights.weights},
            "unsafe": {"ran": bool(weights.head), "head": weights.head}}


def measured_clip(out: str, weights: ClipWeights, inputs: dict[str, Manifest], max_claims: int,
                  permission: PermissionRules, run: Run) -> Manifest:
    """Returns the manifest of the tables `asks` and `clip`, a row a distinct image that decodes and has a text."""
    config = weights.config
    stage = Stage.open(out, CLIP, FORMAT, _Settings(config.architecture, weights.weights, weights.head, config.batch,
                                                    config.buckets, max_claims),
                       {name: manifest.digest for name, manifest in inputs.items()})
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.transforms import ReadTable, WriteTable, entries_of
    from filter.clip_transforms import AskedOfClip, EmbedBuckets, opened
    opened(weights)                                        # what is wrong with the files is said here

    def ask(root: Any) -> None:
        ({"judged": root | "Judged" >> ReadTable(inputs["judge"].paths("judged"), Judged),
          "images": root | "Images" >> ReadTable(inputs["images"].paths("images"), Image),
          "features": root | "Features" >> ReadTable(inputs["features"].paths("features"), ImageFacts)}
         | "Asked" >> AskedOfClip(max_claims, permission)
         | "Write" >> WriteTable(stage.directory, ASKS, ClipAsk, "sha256", config.buckets))

    run("clip: texts of images", ask)
    asks = tuple(entries_of(stage.directory, ASKS, config.buckets))
    paths = tuple(storage.join(stage.directory, entry.name) for entry in asks)
    run("clip", lambda root: root | "Embed" >> EmbedBuckets(out, stage.folder, paths, weights))
    entries = tuple(entries_of(stage.directory, CLIP, config.buckets))
    return stage.commit({ASKS: asks, CLIP: entries}, [funnel_of(CLIP, "image", entries)],
                        extra={"weights": weights.weights, "unsafe_head": weights.head})
