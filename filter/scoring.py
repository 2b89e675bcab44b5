"""P(caption describes image), by a named scorer.

`prior`  a logistic model whose weights were set by hand; they stand below and in the manifest.
`weak`   gradient-boosted trees over the same features, trained by `imagebert scorer train` (paper section 1.4).

No model of `weak` is shipped.  Trained on the truth of the synthetic web (seed 1, 1,500 images) it reached precision
0.999 and recall 0.991 on seed 2 (prior: 0.994, 0.989), and of the 149 pairs that the prior keeps on the real sites
it kept 5: it had learned what drawn scenes are called.  Train it where labels of one's own pages are at hand.

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
from filter.pair_features import FEATURES, pair_features
from filter.records import Caption, ImageFacts, Judged, on_grid

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

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]]) -> list[float]:
        """Returns P(caption describes image) for each text, in order, on the grid."""


class PriorScorer:
    """The hand-set logistic model."""

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]]) -> list[float]:
        """Returns the probabilities of the hand-set model, on the grid."""
        return [self._score_one(dict(zip(FEATURES, pair_features(facts, row, caption), strict=True)))
                for row, caption in texts]

    def _score_one(self, values: dict[str, float]) -> float:
        logit = PRIOR_BIAS + math.fsum(weight * values[name] for name, weight in PRIOR_WEIGHTS.items())
        return on_grid(1 / (1 + math.exp(-logit)))


class WeakScorer:
    """Gradient-boosted trees from a text file."""

    def __init__(self, path: str) -> None:
        import lightgbm  # heavy; only where this scorer is asked for

        text = pathlib.Path(path).read_text(encoding="utf-8")
        self._trees: Any = lightgbm.Booster(model_str=text)
        if self._trees.feature_name() != list(FEATURES):
            raise UsageError(f"{path}: trained on other features; train it again with `imagebert scorer train`")

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]]) -> list[float]:
        """Returns the probabilities of the trees, on the grid."""
        if not texts:
            return []
        values = np.array([pair_features(facts, row, caption) for row, caption in texts])
        return [on_grid(p) if math.isfinite(p) else math.nan for p in self._trees.predict(values, num_threads=1)]


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
    raise UsageError(f"scorer {name!r} is not known; there are prior and weak")


def scorer_digest(name: str, path: str = "") -> str:
    """Returns the sha256 hex of what a scorer computes with: its weights or its model file."""
    scorer(name, path)
    if name == "prior":
        return digest({"bias": PRIOR_BIAS, "weights": PRIOR_WEIGHTS, "features": list(FEATURES)})
    return hashlib.sha256(pathlib.Path(path or WEAK_MODEL).read_bytes()).hexdigest()


def scorer_facts(name: str, path: str = "") -> dict[str, Any]:
    """Returns what the manifest says of the scorer that ran."""
    told: dict[str, Any] = {"name": name, "digest": scorer_digest(name, path)}
    return told | {"bias": PRIOR_BIAS, "weights": PRIOR_WEIGHTS} if name == "prior" else told
