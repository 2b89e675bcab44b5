"""P(caption describes image), by a named scorer.

`prior`  a logistic model whose weights were set by hand; they stand below and in the manifest.
`clip`   the cosine of open_clip's embeddings (filter/clip_scorer.py), where clip.weights are named.
`weak`   gradient-boosted trees over the same features, trained by `imagebert scorer train` (paper section 1.4).

No model of `weak` is shipped, and `prior` is the default, for on the labelled pairs of the eight real sites, each site
left out in turn, the prior orders better (`make bench-scorer`, benchmarks/results/scorer.json).  Train `weak` where
labels of one's own pages are at hand.

A scorer travels as its name and loads where it is used; its digest is an input of the filter stage.
"""
from __future__ import annotations

import functools
import hashlib
import math
import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from crawl.config import digest
from crawl.errors import UsageError
from filter.clip_scorer import MIDDLE, SLOPE, ClipScorer
from filter.pair_features import FEATURES, pair_features
from filter.records import Caption, ImageFacts, Judged, on_grid

_WEAK_HEAD = "imagebert weak scorer, version 1"
WEAK_MODEL = pathlib.Path(__file__).parent / "data" / "weak_scorer.txt"

# Hand-set: what each feature adds to the log-odds.  Own texts above near ones, sentences above labels, agreement with
# the file name and the colours in the picture; a caption that only repeats the page's title is about the page.
PRIOR_BIAS = -1.0
PRIOR_WEIGHTS = {
    "source_figcaption": 1.6, "source_alt": 1.4, "source_title": 0.9, "source_aria_label": 0.9, "source_table": 0.3,
    "source_image_caption": 1.4, "source_image_title": 0.9,
    "source_og_description": 0.2, "source_surrounding": -1.2, "source_heading": -1.6, "source_page_title": -2.0,
    "length_fit": 1.2, "function_share": 0.5, "unknown_share": -1.5, "capital_share": -0.8, "digit_share": -2.0,
    "distinct_share": 0.3, "person_share": -8.0,
    "cut_share": -0.5, "in_main": 0.2, "file_name_overlap": 0.8, "is_page_title": -0.8,
    "colours_found": 0.8, "colours_missing": -1.2, "sources_agreeing": 0.4,
}


class PairScorer(Protocol):
    """Anything that scores the captions of one image."""

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]],
              cosines: Sequence[float] = ()) -> list[float]:
        """Returns P(caption describes image) for each text, in order, on the grid; `cosines` where a network ran."""


class PriorScorer:
    """The hand-set logistic model."""

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]],
              cosines: Sequence[float] = ()) -> list[float]:
        """Returns the probabilities of the hand-set model, on the grid."""
        return [self._score_one(dict(zip(FEATURES, pair_features(facts, row, caption), strict=True)))
                for row, caption in texts]

    def _score_one(self, values: dict[str, float]) -> float:
        logit = PRIOR_BIAS + math.fsum(weight * values[name] for name, weight in PRIOR_WEIGHTS.items())
        return on_grid(1 / (1 + math.exp(-logit)))


class WeakScorer:
    """Gradient-boosted trees and their calibration from a text file that `weak_text` wrote."""

    def __init__(self, path: str) -> None:
        import lightgbm  # heavy; only where this scorer is asked for

        trees, self._slope, self._shift = read_weak(path)
        self._trees: Any = lightgbm.Booster(model_str=trees)
        names = self._trees.feature_name()
        unknown = [name for name in names if name not in FEATURES]
        if unknown:
            raise UsageError(f"{path}: trained on other features ({unknown[0]}); train it again with "
                             f"`imagebert scorer train`")
        self.reads_cosine = "cosine" in names
        self._columns = [FEATURES.index(name) for name in names]

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]],
              cosines: Sequence[float] = ()) -> list[float]:
        """Returns the calibrated probabilities of the trees, on the grid."""
        if not texts:
            return []
        seen = list(cosines) or [math.nan] * len(texts)
        values = np.array([pair_features(facts, row, caption, cosine)
                           for (row, caption), cosine in zip(texts, seen, strict=True)])[:, self._columns]
        return [_gridded(self._calibrated(float(p))) for p in self._trees.predict(values, num_threads=1)]

    def _calibrated(self, p: float) -> float:
        held = min(max(p, 1e-6), 1 - 1e-6) if p == p else p
        return 1 / (1 + math.exp(-(self._slope * math.log(held / (1 - held)) + self._shift)))


def _gridded(p: float) -> float:
    return on_grid(p) if math.isfinite(p) else math.nan


def weak_text(trees: str, slope: float, shift: float) -> str:
    """Returns a model of `weak` as text: what it is, its calibration, the digest of the trees, the trees."""
    seal = hashlib.sha256(trees.encode()).hexdigest()
    return f"{_WEAK_HEAD}\ncalibration {slope} {shift}\nsha256 {seal}\n{trees}"


def read_weak(path: str) -> tuple[str, float, float]:
    """Returns trees, slope and shift of a model file; raises UsageError for one that is none, old, or cut off."""
    try:
        head, calibration, seal, trees = pathlib.Path(path).read_text(encoding="utf-8").split("\n", 3)
        slope, shift = map(float, calibration.removeprefix("calibration ").split())
    except (ValueError, OSError) as error:
        raise UsageError(f"{path}: not a model of the scorer weak; make one with `imagebert scorer train`") from error
    if head != _WEAK_HEAD:
        raise UsageError(f"{path}: it begins {head[:40]!r}, not {_WEAK_HEAD!r}: made by another version; train it "
                         f"again with `imagebert scorer train`")
    if seal != f"sha256 {hashlib.sha256(trees.encode()).hexdigest()}":
        raise UsageError(f"{path}: cut off or changed since it was written; copy it again, or train it again")
    return trees, slope, shift


@functools.cache
def scorer(name: str, path: str = "") -> PairScorer:
    """Returns a scorer by name; `path` is the model of `weak`, the shipped one when empty."""
    if name == "prior":
        return PriorScorer()
    if name == "weak":
        model = path or str(WEAK_MODEL)
        if not pathlib.Path(model).is_file():
            raise UsageError(f"scorer weak: no model at {model!r}; train one with `imagebert scorer train`, "
                             f"or --set scorer=prior")
        return WeakScorer(model)
    if name == "clip":
        return ClipScorer()
    raise UsageError(f"scorer {name!r} is not known; there are prior, weak and clip")


def scorer_digest(name: str, path: str = "") -> str:
    """Returns the sha256 hex of what a scorer computes with: its weights or its model file."""
    scorer(name, path)
    if name == "prior":
        return digest({"bias": PRIOR_BIAS, "weights": PRIOR_WEIGHTS, "features": list(FEATURES)})
    if name == "clip":
        return digest({"middle": MIDDLE, "slope": SLOPE})
    return hashlib.sha256(pathlib.Path(path or WEAK_MODEL).read_bytes()).hexdigest()


def scorer_facts(name: str, path: str = "") -> dict[str, Any]:
    """Returns what the manifest says of the scorer that ran."""
    told: dict[str, Any] = {"name": name, "digest": scorer_digest(name, path)}
    return told | {"bias": PRIOR_BIAS, "weights": PRIOR_WEIGHTS} if name == "prior" else told
