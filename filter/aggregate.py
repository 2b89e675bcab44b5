"""The last step: one image (and the near-duplicates that gave way to it) -> one best text, an outcome for each row.

Paper section 1.5.  Pure: what comes out depends on the cases alone, not on their order.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

from crawl.records import ALLOW, DENY, UNKNOWN
from crawl.tables import stable_hash
from filter.captions import normalise_caption
from filter.cases import ImageCase, Text, pair_of, scored_texts
from filter.judging import source_rank
from filter.records import Best, ImageOutcome, Pair

KEPT = "kept"
_MAX_TEXTS = 32                    # stored with a sample
_MAX_URLS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class AggregateRules:
    """The limits of aggregation."""

    max_images_per_caption: int = 10   # a caption under more distinct images is dropped everywhere (ALIGN)
    placeholder_texts: int = 8         # one picture that is said to be so many things on different pages is nothing
    max_claims: int = 64               # occurrences kept for one image; the true count is stored
    test_share: float = 0.0            # of captions, by hash, whose images are the test split

    def __post_init__(self) -> None:
        if not 0 <= self.test_share <= 1:
            raise ValueError(f"test_share is {self.test_share}; it is a share, 0 to 1")
        for name in ("max_images_per_caption", "placeholder_texts", "max_claims"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What a group of one picture ends as."""

    pairs: tuple[Pair, ...]
    best: Best | None
    images: tuple[ImageOutcome, ...]


def settle(survivor: str, cases: Iterable[ImageCase], rules: AggregateRules) -> Settled:
    """Returns the outcome of every pair and every image of a group whose surviving image is given."""
    listed = sorted(cases, key=lambda case: (case.facts.sha256 != survivor, case.facts.sha256))
    main, losers = listed[0], listed[1:]
    if main.facts.sha256 != survivor:
        raise ValueError(f"the image {survivor} that others gave way to is not among them")
    if not main.alive():
        return Settled(tuple(pair_of(text, main.facts) for text in main.texts), None, _images(listed, _why_out(main)))
    if _is_placeholder(listed, rules):
        pairs = [pair_of(text, case.facts, text.outcome or "placeholder") for case in listed for text in case.texts]
        return Settled(tuple(pairs), None, _images(listed, "placeholder"))
    competing = _competing(main, losers)
    best = competing[0]
    pairs = [pair_of(best, main.facts, KEPT)]
    for case in listed:
        rest = "worse_text" if case is main else "near_duplicate"
        pairs += [pair_of(text, case.facts, text.outcome or rest) for text in case.texts
                  if text.pair_id != best.pair_id]
    return Settled(tuple(pairs), _best(best, competing, listed, rules), _images(listed, KEPT))


def _competing(main: ImageCase, losers: Sequence[ImageCase]) -> list[Text]:
    """The survivor's texts and those that only its near-duplicates have, best first; what it lost stays lost."""
    known = {text.identity for text in main.texts}
    others: dict[str, Text] = {}
    for text in sorted((text for case in losers for text in case.alive()), key=lambda text: text.rank):
        if text.identity not in known:
            others.setdefault(text.identity, text)
    return sorted([*main.alive(), *others.values()], key=lambda text: text.rank)


def _is_placeholder(cases: Sequence[ImageCase], rules: AggregateRules) -> bool:
    """Many pages, each with another strongest caption: the picture stands for something that is not there."""
    said: dict[str, tuple[tuple[int, str], str]] = {}
    for case in cases:
        for row, _ in case.claims.rows:
            for caption in row.captions:
                rank = (source_rank(caption.source), caption.text)
                if not caption.reason and (row.page_key not in said or rank < said[row.page_key][0]):
                    said[row.page_key] = (rank, normalise_caption(caption.text))
    return len({identity for _, identity in said.values()}) >= rules.placeholder_texts


def _why_out(case: ImageCase) -> str:
    """The image's own reason, or that of its best text."""
    return case.outcome or (case.texts[0].outcome if case.texts else "no_text")


def _images(cases: Sequence[ImageCase], outcome: str) -> tuple[ImageOutcome, ...]:
    return tuple(ImageOutcome(case.facts.sha256, outcome if place == 0 else "near_duplicate")
                 for place, case in enumerate(cases))


def split_of(identity: str, test_share: float) -> str:
    """Returns `test` or `train` by the hash of a normalised caption, so that equal captions are on one side."""
    return "test" if stable_hash(f"split\n{identity}") < test_share * 2 ** 64 else "train"


def _best(text: Text, competing: Sequence[Text], cases: Sequence[ImageCase], rules: AggregateRules) -> Best:
    main = cases[0]
    facts, row, image = main.facts, text.row, text.image
    # Bytes and their fetch belong to the survivor, even where the caption came with a near-duplicate.
    own = image if any(text.pair_id == other.pair_id for other in main.texts) else main.claims.rows[0][1]
    urls = {claim.image_url for case in cases for claim, _ in case.claims.rows} - {row.image_url}
    return Best(
        key=facts.sha256[:32], image_sha256=facts.sha256, caption=text.caption.text, source=text.caption.source,
        score=text.score, split=split_of(text.identity, rules.test_share), texts=scored_texts(competing[:_MAX_TEXTS]),
        image_url=row.image_url, page_url=row.page_url, image_urls=(row.image_url, *sorted(urls)[:_MAX_URLS]),
        num_occurrences=sum(case.claims.count for case in cases), format=facts.format, width=facts.width,
        height=facts.height, orientation=facts.orientation, perceptual_hash=facts.perceptual_hash,
        caption_hash=hashlib.sha256(text.identity.encode()).hexdigest()[:16], group_hash=facts.sha256[:16],
        natural=facts.natural, page_language=row.page_language, permission=_permission(row.permission, own.permission),
        signals=tuple(sorted({*row.signals, *own.signals}, key=dataclasses.astuple)),
        page_record_id=row.page_record_id, page_sha256=row.page_sha256, page_fetched_at=row.page_fetched_at,
        image_fetched_at=own.fetched_at, part=facts.part, offset=facts.offset, length=facts.length,
        extras=row.extras, drift=text.drift.verdict, drift_distance=text.drift.distance)


def _permission(*verdicts: str) -> str:
    if DENY in verdicts:
        return DENY
    return ALLOW if all(verdict == ALLOW for verdict in verdicts) else UNKNOWN
