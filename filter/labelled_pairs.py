"""Pairs that a person or a known truth labelled, joined with a dataset's own tables: features and targets."""
from __future__ import annotations

import csv
import dataclasses
import hashlib
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from crawl.records import Image
from crawl.stages import current, current_manifest
from crawl.tables import read_table
from filter.captions import normalise_caption
from filter.images import DECODED
from filter.pair_features import FEATURES, pair_features
from filter.records import ClipFacts, ImageFacts, Judged

_BY_URL = {"image_url", "caption", "label"}
_BY_CONTENT = {"image_sha256", "text_sha256", "label"}


@dataclasses.dataclass(frozen=True, slots=True)
class PairLabels:
    """Labels of one file: (image URL or sha256, sha256 of the normalised caption) -> (1 or 0, source)."""

    by_url: bool
    labels: dict[tuple[str, str], tuple[int, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class LabelledPairs:
    """What training reads: a row a labelled pair that the dataset holds."""

    values: NDArray[np.float64]    # [N, len(FEATURES)]
    targets: NDArray[np.int64]     # 1 where the caption describes the image
    sources: tuple[str, ...]       # rows of one source are alike
    unknown: int                   # labels whose image or text the dataset does not hold


def text_sha256(caption: str) -> str:
    """Returns what names a caption: the sha256 of its normalised form, in hex."""
    return hashlib.sha256(normalise_caption(caption).encode()).hexdigest()


def read_labels(path: str) -> PairLabels:
    """Returns the labels of a CSV with image_url and caption, or image_sha256 and text_sha256, and label.

    A column source is optional; without it the file is one source.
    """
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = set(rows[0]) if rows else set()
    if not (columns >= _BY_URL or columns >= _BY_CONTENT):
        raise UsageError(f"{path}: no columns image_url, caption and label (or image_sha256, text_sha256, label)")
    wrong = {str(row["label"]) for row in rows} - {"0", "1"}
    if wrong:
        raise UsageError(f"{path}: label {sorted(wrong)[0]!r}; it is 1 where the caption describes the image, else 0")
    by_url = columns >= _BY_URL
    stem = pathlib.Path(path).stem
    return PairLabels(by_url, {
        (row["image_url"], text_sha256(row["caption"])) if by_url else (row["image_sha256"], row["text_sha256"]):
        (int(row["label"]), row.get("source") or stem) for row in rows})


def labelled_pairs(out: str, labels: PairLabels) -> LabelledPairs:
    """Returns the labelled pairs whose image arrived and decodes, each once, from its best occurrence by id.

    With the cosines of the root's stage `clip`, where a network ran.
    """
    cosines = _cosines(out)
    judged, images, facts = (current_manifest(out, stage) for stage in ("judge", "images", "features"))
    sha256_of = {row.url_key: row.sha256 for path in images.paths("images") for row in read_table(path, Image)
                 if row.outcome == "ok"}
    facts_of = {row.sha256: row for path in facts.paths("features") for row in read_table(path, ImageFacts)
                if row.outcome == DECODED}
    found: dict[tuple[str, str], tuple[str, tuple[float, ...]]] = {}
    for path in judged.paths("judged"):
        for row in read_table(path, Judged):
            fact = facts_of.get(sha256_of.get(row.image_key, ""))
            for caption in row.captions if fact is not None else ():
                if caption.reason or fact is None:
                    continue
                name = (row.image_url if labels.by_url else fact.sha256, text_sha256(caption.text))
                if name in labels.labels and (name not in found or row.occurrence < found[name][0]):
                    found[name] = (row.occurrence, pair_features(
                        fact, row, caption, cosines.get((fact.sha256, normalise_caption(caption.text)), math.nan)))
    names = sorted(found)
    return LabelledPairs(
        np.array([found[name][1] for name in names], dtype=np.float64).reshape(-1, len(FEATURES)),
        np.array([labels.labels[name][0] for name in names], dtype=np.int64),
        tuple(labels.labels[name][1] for name in names), len(labels.labels) - len(found))


def _cosines(out: str) -> dict[tuple[str, str], float]:
    """Returns (image, normalised caption) -> cosine, {} where no network ran in this root."""
    if "clip" not in current(out):
        return {}
    return {(row.sha256, identity): cosine for path in current_manifest(out, "clip").paths("clip")
            for row in read_table(path, ClipFacts)
            for identity, cosine in zip(row.identities, row.cosines, strict=True)}


def joined(parts: Sequence[LabelledPairs]) -> LabelledPairs:
    """Returns the pairs of several datasets as one; raises UsageError for none, or for labels of one kind only."""
    targets = np.concatenate([part.targets for part in parts])
    if len(set(targets.tolist())) != 2:
        raise UsageError(f"{len(targets)} labelled pairs were found in the dataset, all of one kind; "
                         f"give captions that describe their image and captions that do not")
    return LabelledPairs(np.concatenate([part.values for part in parts]), targets,
                         tuple(source for part in parts for source in part.sources),
                         sum(part.unknown for part in parts))
