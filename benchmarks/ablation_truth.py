"""What the rules of one build did, counted against the truth of the synthetic web."""
from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from crawl.stages import Manifest
from crawl.tables import read_table
from demo.addresses import read_page_path
from demo.foreign import LANGUAGES
from demo.web import SyntheticWeb
from demo.yardstick import folded
from filter.dominance import REASONS
from filter.judging import FETCH
from filter.records import Best, Judged, Pair

_PLACE = frozenset(f"not_fetched_{reason}" for reason in REASONS) - {"not_fetched_page_language",
                                                                     "not_fetched_decorative"}
_NOT_ABOUT_ITS_PAGE = ("banner", "flat_logo")
_NO_RULE = ("kept", "worse_text")


class Counts:
    """Counts of one web or of several."""

    def __init__(self) -> None:
        self.language: Counter[str] = Counter()            # of pages: true, refused, both
        self.place: Counter[str] = Counter()               # of image URLs
        self.choice: Counter[str] = Counter()              # of kept images with several texts: all, right
        self.rejected: Counter[str] = Counter()            # texts and pairs by reason
        self.wrongly: Counter[str] = Counter()             # of them, true captions of a scene that is lost
        self.kinds: dict[str, Counter[str]] = defaultdict(Counter)     # kind of image -> how it ended

    def add(self, other: Counts) -> None:
        """Adds the counts of another web."""
        for mine, theirs in ((self.language, other.language), (self.place, other.place), (self.choice, other.choice),
                             (self.rejected, other.rejected), (self.wrongly, other.wrongly)):
            mine.update(theirs)
        for kind, ends in other.kinds.items():
            self.kinds[kind].update(ends)

    def told(self) -> dict[str, Any]:
        """Returns the counts as rates."""
        return {
            "page language, foreign pages": _rates(self.language),
            "place on the page, URLs of furniture": _rates(self.place),
            "kept images with several texts": {**self.choice, "true caption chosen":
                                               round(self.choice["right"] / max(1, self.choice["all"]), 4)},
            "by reason": {reason: {"rejected": count, "true captions of a scene that is lost": self.wrongly[reason],
                                   "precision": round(1 - self.wrongly[reason] / count, 4)}
                          for reason, count in self.rejected.most_common()},
            "by kind of image that is to go": {
                kind: {"images": ends.total(), "recall": round(1 - ends["kept"] / ends.total(), 4),
                       "ended": dict(ends.most_common(4))} for kind, ends in sorted(self.kinds.items())}}


def _rates(counts: Counter[str]) -> dict[str, float]:
    return {"refused": counts["refused"], "to_refuse": counts["true"],
            "precision": round(counts["both"] / max(1, counts["refused"]), 4),
            "recall": round(counts["both"] / max(1, counts["true"]), 4)}


def count_rules(judged: Manifest, kept: Manifest, web: SyntheticWeb) -> Counts:
    """Returns what the rules of a finished build did."""
    counts = Counts()
    best = list(_rows(kept, "best", Best))
    kept_scenes = {web.truth(one.image_url).scene_id for one in best}
    kept_urls = {url for one in best for url in (one.image_url, *one.image_urls)}
    candidates, pairs = list(_rows(judged, "judged", Judged)), list(_rows(kept, "pairs", Pair))
    _count_pages(counts, candidates, web)
    _count_place(counts, candidates, web)
    for one in best:
        if len(one.texts) > 1:
            counts.choice["all"] += 1
            counts.choice["right"] += folded(one.caption) in map(folded, web.truth(one.image_url).true_captions)
    for row in candidates:
        for caption in row.captions:
            if caption.reason:
                _count_text(counts, caption.reason, row.image_url, caption.text or caption.raw, web, kept_scenes)
    for pair in pairs:
        if pair.outcome not in _NO_RULE and not pair.outcome.startswith("not_arrived_"):
            _count_text(counts, pair.outcome, pair.image_url, pair.caption, web, kept_scenes)
    _count_kinds(counts, candidates, pairs, web, kept_urls)
    return counts


def _count_text(counts: Counts, reason: str, url: str, text: str, web: SyntheticWeb, kept: set[int | None]) -> None:
    truth = web.truth(url)
    counts.rejected[reason] += 1
    counts.wrongly[reason] += (truth.expected == "keep" and truth.scene_id not in kept
                               and folded(text) in map(folded, truth.true_captions))


def _count_pages(counts: Counts, rows: list[Judged], web: SyntheticWeb) -> None:
    refused: dict[str, bool] = {}
    for row in rows:
        refused[row.page_url] = refused.get(row.page_url, False) or row.outcome == "not_fetched_page_language"
    for url, out in refused.items():
        parts = urlsplit(url)
        host, read = web.numbers.get(parts.hostname or ""), read_page_path(web.config.profile, parts.path)
        if host is None or read is None or read.kind == "listing" or read.number >= web.articles_of[host]:
            continue
        foreign = web.article(host, read.number).kind.name in LANGUAGES
        counts.language.update(true=foreign, refused=out, both=foreign and out)


def _count_place(counts: Counts, rows: list[Judged], web: SyntheticWeb) -> None:
    """An image URL is refused by its place when each occurrence is, and none by anything else."""
    ends: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        ends[row.image_url].append(row.outcome)
    for url, outcomes in ends.items():
        if not any(outcome == FETCH or outcome in _PLACE for outcome in outcomes):
            continue
        slot = web.slot_at(url)
        furniture = slot is None or slot[1] == "s" or slot[0].kind.name in _NOT_ABOUT_ITS_PAGE
        out = all(outcome != FETCH for outcome in outcomes)
        counts.place.update(true=furniture, refused=out, both=furniture and out)


def _count_kinds(counts: Counts, rows: list[Judged], pairs: list[Pair], web: SyntheticWeb, kept: set[str]) -> None:
    reason = {pair.image_url: pair.outcome for pair in sorted(pairs, key=lambda pair: (pair.image_url, pair.pair_id))}
    for url, outcome in sorted({row.image_url: row.outcome for row in rows}.items()):
        slot = web.slot_at(url)
        if slot is None or slot[0].expected in ("keep", "duplicate") or slot[0].kind.expected == "keep":
            continue
        end = "kept" if url in kept else reason.get(url, outcome)
        counts.kinds[slot[0].kind.name][end] += 1


def _rows(manifest: Manifest, table: str, record: type) -> Iterator[Any]:
    for path in manifest.paths(table):
        yield from read_table(path, record)
