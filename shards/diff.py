"""What differs between two sets of shards, sample by sample, and at which stage of the other build it was decided."""
from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from crawl.stages import Manifest
from shards.census import rows
from shards.manifest import ShardSet
from shards.samples import sample_rows
from shards.upstream import upstream

CHANGES = ("went", "came", "caption", "score")
_COLUMNS = ("key", "sha256", "caption", "score", "image_url", "image_urls")
_NO_ROOT = "unknown: the other set lies outside its dataset's root"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """One sample that differs."""

    change: str                    # went, came, caption, score
    key: str
    why: str                       # "stage: outcome" of the build without it (with another caption or score: of B)
    before: str                    # caption in A, "" for one that came
    after: str                     # caption in B, "" for one that went
    score_before: float
    score_after: float
    image_url: str


def diff(a: ShardSet, b: ShardSet) -> list[Change]:
    """Returns every sample of A that went, that came in B, or that changed its caption or score; by change, then key.

    A caption that changed counts as that, its score as well or not.  Holds a few columns of both sets in memory.
    """
    old, new = ({row["key"]: row for row in sample_rows(shards, _COLUMNS)} for shards in (a, b))
    went, came = sorted(old.keys() - new.keys()), sorted(new.keys() - old.keys())
    both = sorted(old.keys() & new.keys())
    captions = [key for key in both if old[key]["caption"] != new[key]["caption"]]
    scores = [key for key in both if old[key]["caption"] == new[key]["caption"]
              and old[key]["score"] != new[key]["score"]]
    in_b = Reasons(b, [old[key] for key in (*went, *captions)])
    in_a = Reasons(a, [new[key] for key in came])
    return ([_change("went", old[key], None, in_b.of_image(old[key])) for key in went]
            + [_change("came", None, new[key], in_a.of_image(new[key])) for key in came]
            + [_change("caption", old[key], new[key], in_b.of_caption(old[key])) for key in captions]
            + [_change("score", old[key], new[key], "filter: other score") for key in scores])


def summary(changes: Iterable[Change]) -> dict[str, dict[str, int]]:
    """Returns change -> reason -> count, most frequent first."""
    counts: dict[str, collections.Counter[str]] = {name: collections.Counter() for name in CHANGES}
    for one in changes:
        counts[one.change][one.why] += 1
    return {name: dict(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0])))
            for name, counted in counts.items()}


def _change(what: str, old: dict[str, Any] | None, new: dict[str, Any] | None, why: str) -> Change:
    some = old or new or {}
    return Change(what, some["key"], why, old["caption"] if old else "", new["caption"] if new else "",
                  old["score"] if old else 0.0, new["score"] if new else 0.0, some["image_url"])


class Reasons:
    """What one build did with samples of another: a pass over each of its tables, rows about these samples kept."""

    def __init__(self, shards: ShardSet, wanted: list[dict[str, Any]]) -> None:
        self._stages = upstream(shards.directory)
        self._removed = shards.removed_keys
        urls = {url for row in wanted for url in _urls(row)}
        sha256s = {row["sha256"] for row in wanted}
        self._judged = self._outcomes("judge", "judged", "image_url", urls)
        self._images = self._outcomes("images", "images", "url", urls)
        self._bytes = {row["sha256"] for row in self._rows("images", "images", ("sha256",))} & sha256s
        self._features = self._outcomes("features", "features", "sha256", sha256s)
        self._filter = self._outcomes("filter", "image_outcomes", "sha256", sha256s)
        self._pairs: dict[tuple[str, str], str] = {}
        pairs = collections.defaultdict[str, set[str]](set)
        for row in self._rows("filter", "pairs", ("image_sha256", "caption", "outcome")):
            if row["image_sha256"] in sha256s:
                self._pairs[row["image_sha256"], row["caption"]] = row["outcome"]
                pairs[row["image_sha256"]].add(row["outcome"])
        self._of_pairs = {sha256: _first(outcomes, "kept") for sha256, outcomes in pairs.items()}

    def of_image(self, row: dict[str, Any]) -> str:
        """Returns `stage: outcome` of the first stage behind which this build does not have the sample."""
        if row["key"] in self._removed:
            return "remove: tombstone"
        if not self._stages:
            return _NO_ROOT
        sha256 = row["sha256"]
        if sha256 not in self._bytes:
            return self._before_arrival(_urls(row))
        if self._features.get(sha256, "decoded") != "decoded":
            return f"features: {self._features[sha256]}"
        outcome = self._filter.get(sha256) or self._of_pairs.get(sha256) or "not seen"
        return f"filter: {outcome}" if outcome != "kept" else "shards: kept by the filter, not stored"

    def of_caption(self, row: dict[str, Any]) -> str:
        """Returns why this build did not choose the caption that the other one has."""
        if not self._stages:
            return _NO_ROOT
        outcome = self._pairs.get((row["sha256"], row["caption"]))
        return f"filter: {outcome}" if outcome else "judge: the text is not among the image's"

    def _before_arrival(self, urls: tuple[str, ...]) -> str:
        judged = [self._judged[url] for url in urls if url in self._judged]
        if not judged:
            return "crawl: no candidate with its URL" if "judge" in self._stages else "judge: its table is gone"
        if "fetch" not in judged:
            return f"judge: {min(judged)}"
        images = [self._images[url] for url in urls if url in self._images]
        if "ok" in images:
            return "images: other bytes at its URL"
        return f"images: {min(images)}" if images else "images: not asked for"

    def _outcomes(self, stage: str, table: str, name: str, wanted: set[str]) -> dict[str, str]:
        """Returns value -> outcome for the wanted values of a column; of several rows the one that came furthest."""
        found = collections.defaultdict[str, set[str]](set)
        for row in self._rows(stage, table, (name, "outcome")):
            if row[name] in wanted:
                found[row[name]].add(row["outcome"])
        return {value: _first(outcomes, "fetch", "ok", "decoded", "kept") for value, outcomes in found.items()}

    def _rows(self, stage: str, table: str, columns: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        manifest: Manifest | None = self._stages.get(stage)
        return rows(manifest, table, columns) if manifest else iter(())


def _urls(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(row["image_urls"])


def _first(outcomes: set[str], *best: str) -> str:
    return next((name for name in best if name in outcomes), min(outcomes))
