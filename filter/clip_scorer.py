"""The scorer `clip`: P(caption describes image) from the cosine of open_clip's embeddings.

A cosine is no probability, and no published weights were at hand to fit one: the curve is set by hand around the usual
values of ViT-B/32 (texts of other pictures near 0.15, right ones near 0.3; LAION-400M cut at 0.3), so that `min_score`
0.4 cuts near 0.23.  `min_cosine` cuts by the cosine itself.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

from filter.records import Caption, ClipFacts, ImageFacts, Judged, on_grid

MIDDLE, SLOPE = 0.24, 40.0         # the cosine of P = 0.5, and the steepness there
NOT_RUN = math.nan                 # the cosine of a text that no network saw


class ClipScorer:
    """A logistic curve over the cosine; a text without one is given no number."""

    def score(self, facts: ImageFacts, texts: Sequence[tuple[Judged, Caption]],
              cosines: Sequence[float] = ()) -> list[float]:
        """Returns the probabilities, on the grid; NaN, so `score_not_finite`, where there is no cosine."""
        known = list(cosines) or [NOT_RUN] * len(texts)
        return [on_grid(1 / (1 + math.exp(-SLOPE * (cosine - MIDDLE)))) if math.isfinite(cosine) else math.nan
                for cosine in known]


def reject_cosine(cosine: float, least: float, ran: bool) -> str:
    """Returns why a text is out by its cosine, "" where it is not, or where no network ran (the manifest says so)."""
    if not ran or least <= 0:
        return ""
    if not math.isfinite(cosine):
        return "cosine_not_run"
    return "low_cosine" if cosine < least else ""


def cosines_of(clip: ClipFacts | None, identities: Sequence[str]) -> list[float]:
    """Returns the cosine of each normalised caption with the image, NaN where none was measured."""
    known = dict(zip(clip.identities, clip.cosines, strict=True)) if clip else {}
    return [known.get(identity, NOT_RUN) for identity in identities]
