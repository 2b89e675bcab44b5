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
from filter.cases import Claims, ImageCase, Text, pair_of, scored_texts
from filter.judging import source_rank
from filter.records import Best, ImageOutcome, Pair

KEPT, NEAR_DUPLICATE = "kept", "near_duplicate"
_MAX_TEXTS = 32                    # stored with a sample
_MAX_URLS = 16


@dataclasses.dataclass(frozen=True, slots=True)
class AggregateRules:
    """The limits of aggregation."""

    max_images_per_caption: int = 10   # a caption under more distinct images is dropped everywhere (ALIGN)
    placeholder_texts: int = 8         # one picture that is said to be so many things on different pages is nothing
    max_claims: int = 64               # occurrences kept for one image; the true count is stored
    max_copies: int = 16               # near-duplicates whose texts and URLs go to the image they gave way to
    test_share: float = 0.0            # of captions, by hash, whose images are the test split

    def __post_init__(self) -> None:
        if not 0 <= self.test_share <= 1:
            raise ValueError(f"test_share is {self.test_share}; it is a share, 0 to 1")
        for name in ("max_images_per_caption", "placeholder_texts", "max_claims", "max_copies"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Copies:
    """Near-duplicates that gave way to one image: the best of them, and how many occurrences all have."""

    occurrences: int = 0
    cases: tuple[ImageCase, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """What an image ends as."""

    pairs: tuple[Pair, ...]
    best: Best | None
    image: ImageOutcome


def copies_of(case: ImageCase) -> Copies:
    """Returns an image that gave way as the image it gave way to sees it: few of its occurrences, and their number."""
    claims = Claims(case.claims.count, case.claims.rows[:_MAX_URLS])
    return Copies(case.claims.count, (dataclasses.replace(case, claims=claims),))


def best_copies(several: Iterable[Copies], rules: AggregateRules) -> Copies:
    """Returns the copies of one image put together, at most `max_copies` of them, in any order of the parts."""
    listed = list(several)
    cases = sorted((case for copies in listed for case in copies.cases), key=_copy_rank)
    return Copies(sum(copies.occurrences for copies in listed), tuple(cases[:rules.max_copies]))


def _copy_rank(case: ImageCase) -> tuple[bool, float, str]:
    alive = case.alive()
    return (not alive, -alive[0].score if alive else 0.0, case.facts.sha256)


def gave_way(case: ImageCase) -> Settled:
    """Returns what an image ends as that gave way to another; a text of it may be kept there, as a pair of that one."""
    return Settled(tuple(pair_of(text, case.facts, text.outcome or NEAR_DUPLICATE) for text in case.texts), None,
                   ImageOutcome(case.facts.sha256, case.outcome or NEAR_DUPLICATE))


def settle(main: ImageCase, copies: Copies, rules: AggregateRules) -> Settled:
    """Returns what an image ends as that gave way to none: its best text, or one that only a copy of it has."""
    competing = [] if main.outcome else _competing(main, copies.cases)
    if not competing:
        return Settled(tuple(pair_of(text, main.facts) for text in main.texts), None,
                       ImageOutcome(main.facts.sha256, _why_out(main)))
    listed = (main, *copies.cases)
    if _is_placeholder(listed, rules):
        return Settled(tuple(pair_of(text, main.facts, text.outcome or "placeholder") for text in main.texts), None,
                       ImageOutcome(main.facts.sha256, "placeholder"))
    best = competing[0]
    pairs = [pair_of(best, main.facts, KEPT)]
    pairs += [pair_of(text, main.facts, text.outcome or "worse_text") for text in main.texts
              if text.pair_id != best.pair_id]
    return Settled(tuple(pairs), _best(best, competing, listed, main.claims.count + copies.occurrences, rules),
                   ImageOutcome(main.facts.sha256, KEPT))


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


def split_of(identity: str, test_share: float) -> str:
    """Returns `test` or `train` by the hash of a normalised caption, so that equal captions are on one side."""
    return "test" if stable_hash(f"split\n{identity}") < test_share * 2 ** 64 else "train"


def _best(text: Text, competing: Sequence[Text], cases: Sequence[ImageCase], occurrences: int,
          rules: AggregateRules) -> Best:
    main = cases[0]
    facts, row, image = main.facts, text.row, text.image
    # Bytes and their fetch belong to the survivor, even where the caption came with a near-duplicate.
    own = image if any(text.pair_id == other.pair_id for other in main.texts) else main.claims.rows[0][1]
    urls = {claim.image_url for case in cases for claim, _ in case.claims.rows} - {row.image_url}
    return Best(
        key=facts.sha256[:32], image_sha256=facts.sha256, caption=text.caption.text, source=text.caption.source,
        score=text.score, split=split_of(text.identity, rules.test_share), texts=scored_texts(competing[:_MAX_TEXTS]),
        image_url=row.image_url, page_url=row.page_url, image_urls=(row.image_url, *sorted(urls)[:_MAX_URLS]),
        num_occurrences=occurrences, format=facts.format, width=facts.width,
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
