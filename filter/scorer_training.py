"""Trains the scorer `weak` from labelled rows: (image URL, caption, 1 or 0), joined with a dataset's own tables."""
from __future__ import annotations

import csv
import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crawl.errors import UsageError
from crawl.records import Image
from crawl.stages import current_manifest
from crawl.tables import read_table
from filter.captions import normalise_caption
from filter.images import DECODED
from filter.pair_features import FEATURES, pair_features
from filter.records import ImageFacts, Judged

# Few, shallow trees: the labels are few.  One thread and no sampling, so that equal rows give an equal model.
_SETTINGS = {
    "objective": "binary", "learning_rate": 0.05, "num_leaves": 15, "max_depth": 5, "min_data_in_leaf": 20,
    "lambda_l2": 5.0, "feature_fraction": 1.0, "bagging_fraction": 1.0, "seed": 1, "num_threads": 1,
    "deterministic": True, "force_row_wise": True, "verbosity": -1}
_ROUNDS = 200
Labels = dict[tuple[str, str], int]


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """A model and how it was made."""

    model: str                         # LightGBM's text
    rows: int
    positive: int
    log_loss: float                    # on the rows it was trained on


def read_labels(path: str) -> Labels:
    """Returns (image URL, normalised caption) -> 1 or 0 of a CSV with the columns image_url, caption, label."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"image_url", "caption", "label"} <= rows[0].keys():
        raise UsageError(f"{path}: no columns image_url, caption and label")
    wrong = {row["label"] for row in rows} - {"0", "1"}
    if wrong:
        raise UsageError(f"{path}: label {sorted(wrong)[0]!r}; it is 1 where the caption describes the image, else 0")
    return {(row["image_url"], normalise_caption(row["caption"])): int(row["label"]) for row in rows}


def labelled_features(out: str, labels: Labels) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Returns features [N, F] and labels [N] of the labelled pairs whose image arrived and decodes."""
    urls = {url for url, _ in labels}
    judged, images, facts = (current_manifest(out, stage) for stage in ("judge", "images", "features"))
    sha256_of = {row.url_key: row.sha256 for path in images.paths("images") for row in read_table(path, Image)
                 if row.outcome == "ok" and row.url in urls}
    wanted = set(sha256_of.values())
    facts_of = {row.sha256: row for path in facts.paths("features") for row in read_table(path, ImageFacts)
                if row.sha256 in wanted and row.outcome == DECODED}
    values, targets = [], []
    for path in sorted(judged.paths("judged")):
        for row in read_table(path, Judged):
            fact = facts_of.get(sha256_of.get(row.image_key, ""))
            for caption in row.captions if fact is not None else ():
                label = labels.get((row.image_url, normalise_caption(caption.text)))
                if label is not None and not caption.reason and fact is not None:
                    values.append(pair_features(fact, row, caption))
                    targets.append(label)
    return np.array(values, dtype=np.float64).reshape(-1, len(FEATURES)), np.array(targets, dtype=np.int64)


def train(values: NDArray[np.float64], targets: NDArray[np.int64]) -> Trained:
    """Returns the trees fitted to labelled pairs; raises UsageError for labels of one kind only."""
    if len(set(targets.tolist())) != 2:
        raise UsageError(f"{len(targets)} labelled pairs were found in the dataset, all of one kind; "
                         f"give captions that describe their image and captions that do not")
    import lightgbm

    data = lightgbm.Dataset(values, label=targets, feature_name=list(FEATURES), free_raw_data=False)
    booster: Any = lightgbm.train(_SETTINGS, data, num_boost_round=_ROUNDS)
    p = np.clip(booster.predict(values, num_threads=1), 1e-9, 1 - 1e-9)
    loss = float(-(targets * np.log(p) + (1 - targets) * np.log(1 - p)).mean())
    return Trained(booster.model_to_string(), len(targets), int(targets.sum()), round(loss, 6))
