"""One image with everything said about it: the row that moves between the steps of aggregation.  Pixels never do."""
from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Container, Iterable, Sequence

from crawl import permission
from crawl.permission import PermissionRules
from crawl.records import Image
from crawl.suppress import SUPPRESSED, Suppression
from filter.captions import normalise_caption
from filter.clip_scorer import cosines_of, reject_cosine
from filter.drift import DRIFTED, DROP, UNASKED, Drift, DriftRules, drift_of
from filter.images import ImageRules, reject_image, reject_unsafe
from filter.judging import source_rank
from filter.near_duplicates import Card, card_of
from filter.records import Caption, ClipFacts, ImageFacts, Judged, Pair, ScoredText
from filter.scoring import PairScorer

ALIVE = ""                         # the outcome of a text that nothing has rejected yet
NO_SCORE = "score_not_finite"      # of a text that its scorer gave no number


@dataclasses.dataclass(frozen=True, slots=True)
class Text:
    """One distinct caption of one image, with its best occurrence."""

    pair_id: str
    identity: str                  # normalise_caption: what is counted and banned
    caption: Caption
    row: Judged                    # the best occurrence that carries it
    image: Image                   # how that occurrence's URL was fetched
    score: float
    outcome: str                   # ALIVE, or the first failing reason
    drift: Drift = UNASKED         # whether the image is the one that `row` was written for

    @property
    def rank(self) -> tuple[float, int, str]:
        """Returns the order of better texts: smaller is better."""
        return (-self.score, source_rank(self.caption.source), self.pair_id)


@dataclasses.dataclass(frozen=True, slots=True)
class Claims:
    """Occurrences of one image, the first by rank, and how many there are in truth."""

    count: int
    rows: tuple[tuple[Judged, Image], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ImageCase:
    """One image that arrived, its facts and its texts."""

    facts: ImageFacts
    outcome: str                   # ALIVE, or why the image itself was rejected
    texts: tuple[Text, ...]        # by rank, drifted ones last
    claims: Claims

    def alive(self) -> list[Text]:
        """Returns the texts that are still in the running, best first."""
        return [text for text in self.texts if text.outcome == ALIVE]


def claim_rank(claim: tuple[Judged, Image]) -> tuple[int, int, str]:
    """Returns the order in which occurrences of one image are kept: strongest text, main part, then by id."""
    row, _ = claim
    best = min((source_rank(caption.source) for caption in row.captions if not caption.reason), default=99)
    return (best, 0 if row.in_main else 1, row.occurrence)


def pair_id(image: str, identity: str) -> str:
    """Returns 32 hex digits of sha256(image sha256 or URL, normalised caption)."""
    return hashlib.sha256(f"{image}\n{identity}".encode()).hexdigest()[:32]


def distinct_texts(image: str, claims: Iterable[tuple[Judged, Image]],
                   drift: Callable[[Judged], Drift] = lambda row: UNASKED) -> list[Text]:
    """Returns each distinct normalised caption once, with the best occurrence that carries it, unscored.

    An occurrence whose image has drifted is the last to be chosen.
    """
    best: dict[str, tuple[tuple[bool, int, int, str, str], Text]] = {}
    for row, arrived in claims:
        drifted = drift(row)
        for caption in row.captions:
            if caption.reason:
                continue
            identity = normalise_caption(caption.text)
            rank = (drifted.verdict == DRIFTED, source_rank(caption.source), 0 if row.in_main else 1, row.occurrence,
                    caption.text)
            if identity not in best or rank < best[identity][0]:
                best[identity] = (rank, Text(pair_id(image, identity), identity, caption, row, arrived, 0.0, ALIVE,
                                             drifted))
    return [best[identity][1] for identity in sorted(best)]


def unarrived_reason(image: Image | None, rules: PermissionRules) -> str:
    """Returns why an occurrence has no image, "" when it has one that the rules permit; judge saw to the page's."""
    if image is None:
        return "not_arrived_not_fetched"
    if image.outcome != "ok":
        return f"not_arrived_{image.outcome}"
    return permission.reason(image.signals, image.permission, rules)


def unarrived_pairs(claims: Iterable[tuple[Judged, Image]], reason: str) -> list[Pair]:
    """Returns the pairs of an image URL that never arrived."""
    listed = sorted(claims, key=claim_rank)
    url = listed[0][0].image_url
    texts = distinct_texts(url, listed)
    return [pair_of(dataclasses.replace(text, outcome=reason), None) for text in texts]


def open_case(facts: ImageFacts, claims: Claims, rules: ImageRules, drift: DriftRules, min_score: float,
              scorer: PairScorer, forbidden: str = "", clip: ClipFacts | None = None,
              min_cosine: float = 0.0) -> ImageCase:
    """Returns the case of an image: its own verdict, its texts scored; a rejected image's texts carry its reason.

    `forbidden` is a reason against the image that comes before all rules; `clip` what a network said, where one ran.

    A text that was written for other bytes has no part in that: it is `drifted`, whatever the image is like.
    """
    texts = distinct_texts(facts.sha256, claims.rows, lambda row: drift_of(row.expected, facts, drift.radius))
    lost = [dataclasses.replace(text, outcome=DRIFTED) for text in texts
            if drift.action == DROP and text.drift.verdict == DRIFTED]
    texts = texts if not lost else [text for text in texts if text.drift.verdict != DRIFTED]
    reason = forbidden or reject_image(facts, rules) or reject_unsafe(clip.unsafe if clip else -1.0, rules)
    if reason is not None:
        rejected = (dataclasses.replace(text, outcome=reason) for text in texts)
        return ImageCase(facts, reason, (*rejected, *lost), claims)
    cosines = cosines_of(clip, [text.identity for text in texts])
    seen = (cosines,) if clip else ()
    scores = scorer.score(facts, [(text.row, text.caption) for text in texts], *seen)
    scored = [dataclasses.replace(
        text, score=score if math.isfinite(score) else 0.0,
        outcome=_by_score(score, min_score) or reject_cosine(cosine, min_cosine, clip is not None))
        for text, score, cosine in zip(texts, scores, cosines, strict=True)]
    return ImageCase(facts, ALIVE, (*sorted(scored, key=lambda text: text.rank), *lost), claims)


def removed_case(facts: ImageFacts, claims: Claims, suppressed: Suppression) -> ImageCase | None:
    """Returns the case, without a text, of an image that the suppress list names; None of any other.

    By its hashes, or because all the addresses it came from are listed; judge has dropped the single ones.
    """
    if suppressed.suppresses(facts.sha256[:32], facts.sha256, (), facts.perceptual_hash) or all(
            suppressed.names(row.page_url, row.image_url, image.final_url) for row, image in claims.rows):
        return ImageCase(facts, SUPPRESSED, (), claims)
    return None


def ban(case: ImageCase, banned: Container[str]) -> ImageCase:
    """Returns the case with every text that too many images share rejected."""
    texts = tuple(dataclasses.replace(text, outcome="shared_caption")
                  if text.outcome == ALIVE and text.identity in banned else text for text in case.texts)
    return dataclasses.replace(case, texts=texts)


def _by_score(score: float, least: float) -> str:
    """What is no number passes every comparison in one direction: it must not reach one."""
    if not math.isfinite(score):
        return NO_SCORE
    return ALIVE if score >= least else "low_score"


def best_card(case: ImageCase) -> Card | None:
    """Returns what the near-duplicate rule compares, None for an image that is out already."""
    alive = case.alive()
    return card_of(case.facts, alive[0].score) if alive else None


def pair_of(text: Text, facts: ImageFacts | None, outcome: str | None = None) -> Pair:
    """Returns the pair's row; without facts the image never arrived."""
    return Pair(
        pair_id=pair_id(facts.sha256 if facts else text.row.image_url, text.identity),
        image_sha256=facts.sha256 if facts else "", image_url=text.row.image_url, page_url=text.row.page_url,
        occurrence=text.row.occurrence, source=text.caption.source, caption=text.caption.text, raw=text.caption.raw,
        score=text.score, outcome=text.outcome if outcome is None else outcome,
        width=facts.width if facts else text.image.width, height=facts.height if facts else text.image.height,
        drift=text.drift.verdict, drift_distance=text.drift.distance)


def scored_texts(texts: Sequence[Text]) -> tuple[ScoredText, ...]:
    """Returns texts as the sample stores them."""
    return tuple(ScoredText(text.caption.source, text.caption.text, text.score) for text in texts)
