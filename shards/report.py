"""One HTML page that a person opens to judge a build: the funnel, what was kept, what was dropped and why.

Self-contained (no script, no link, no outside resource), a pure function of the committed stages: equal inputs give
equal bytes.  All text of the web is escaped and its unseen characters are written out.
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Any

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.funnel import image_requests
from crawl.sniff import is_served_otherwise
from crawl.stages import Manifest, current, current_manifest
from shards.census import HashSample, Sites, Tally, rows
from shards.page import PASSED, page
from shards.thumbnails import addresses_of, thumbnails

REPORT = "report.html"
STAGES = ("crawl", "judge", "images", "features", "clip", "filter", "vocab", "reencoded", "codebook", "regions",
          "shards")

CONTACT_SHEET = 60
PER_REASON = 12
PER_TEXT_REASON = 6
MAX_SITES_SHOWN = 40
_WORD_EDGES = (0, 4, 6, 8, 10, 12, 14, 16, 20, 25, 30, 40, 10_000)
_SIDE_EDGES = (0, 200, 300, 400, 500, 600, 800, 1000, 1200, 1600, 2400, 1_000_000)
_SCORE_STEPS = 16                 # a divisor of the grid
_SCORE_UNIT = 4096                 # scores lie on this grid (filter.records.SCORE_GRID)
_PAIR = ("caption", "raw", "source", "score", "page_url", "image_url", "width", "height")


@dataclasses.dataclass(frozen=True, slots=True)
class Gallery:
    """A reason, how many rows ended with it, and a few of them."""

    reason: str
    total: int
    shown: tuple[dict[str, Any], ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of a measure in bins."""

    title: str
    note: str                      # median and spread, in words
    bins: tuple[tuple[str, int], ...]

    @property
    def highest(self) -> int:
        """Returns the largest count, at least 1."""
        return max([count for _, count in self.bins] + [1])


def write_report(out: str) -> str:
    """Writes `report.html` into the current shards folder of a dataset root; returns its path.

    The page is a view of committed stages, not data: it may be written again, and is not named in the manifest.
    Raises UsageError when the root has no finished shards.
    """
    shards = current_manifest(out, "shards")
    path = storage.join(shards.directory, REPORT)
    storage.replace_bytes(path, render(out).encode())
    return path


def render(out: str) -> str:
    """Returns the report of a dataset root as HTML."""
    manifests = _manifests(out)
    # The shards repeat the notes and the funnel of the stages before them, for readers who have only the shards.
    notes = _once((name, note) for name, manifest in manifests.items() for note in manifest.notes)
    notes += [("report", line) for line in _lineage_faults(manifests)]
    funnel = list(dict.fromkeys(line for manifest in manifests.values() for line in manifest.funnel))
    sites, permissions = Sites(), _Permissions()
    for row in _rows(manifests, "crawl", "pages", ("url", "permission", "signals")):
        sites.of(row["url"]).pages += 1
        permissions.add("pages", row)
    unfetched = _candidates(manifests, sites)
    kept, histograms, first, last = _kept(manifests, sites, permissions)
    ranked = sites.ranked()
    failed, otherwise = _images(manifests)
    return page(
        manifests=manifests, notes=notes, funnel=funnel,
        configs={name: json.dumps(manifest.config, sort_keys=True, indent=2)
                 for name, manifest in manifests.items()},
        digests={name: digest(manifest.config)[:12] for name, manifest in manifests.items()},
        extra=manifests["shards"].extra, versions=manifests["shards"].extra.get("versions", {}),
        splits=_splits(manifests["shards"]), figures=_figures(manifests),
        permissions=permissions, kept=kept, histograms=histograms, fetched=(first, last),
        rejected=_rejected_pairs(manifests), unfetched=unfetched, failed=failed, served_otherwise=otherwise,
        requests=image_requests(funnel),
        sites=ranked[:MAX_SITES_SHOWN], more_sites=max(len(ranked) - MAX_SITES_SHOWN, 0), per_reason=PER_REASON)


def _manifests(out: str) -> dict[str, Manifest]:
    """Returns the finished stages of the root, in the order of the data; `shards` is always among them."""
    present = current(out)
    found = {name: current_manifest(out, name) for name in STAGES if name in present or name == "shards"}
    if not found:
        raise UsageError(f"{out}: no finished stage here; run `imagebert dataset --out {out}` first")
    return found


def _once(notes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Returns (stage, note) with each note under the first stage that has it."""
    first: dict[str, str] = {}
    for stage, note in notes:
        first.setdefault(note, stage)
    return [(stage, note) for note, stage in first.items()]


def _lineage_faults(manifests: dict[str, Manifest]) -> list[str]:
    """Returns a line for each stage that was built from another folder of its input than the current one."""
    return [f"{name} was not built from the {source} shown here: run `imagebert dataset` again, or read only "
            f"the parts on {name}"
            for name, manifest in manifests.items() for source, known in sorted(manifest.inputs.items())
            if source in manifests and manifests[source].digest != known]


def _rows(manifests: dict[str, Manifest], stage: str, table: str, columns: tuple[str, ...]) -> Any:
    return rows(manifests[stage], table, columns) if stage in manifests else iter(())


def _candidates(manifests: dict[str, Manifest], sites: Sites) -> list[Gallery]:
    """Counts candidate rows by site; returns samples of those that were not worth a download, by reason."""
    samples: dict[str, HashSample[dict[str, Any]]] = {}
    columns = ("occurrence", "outcome", "page_url", "image_url", "captions")
    for row in _rows(manifests, "judge", "judged", columns):
        line = sites.of(row["page_url"])
        line.candidates += 1
        if row["outcome"] in PASSED:
            line.asked += 1
        else:
            sample = samples.setdefault(row["outcome"], HashSample(PER_TEXT_REASON))
            sample.offer(row["occurrence"], row, favoured=bool(row["captions"]))
    return _galleries(samples)


def _rejected_pairs(manifests: dict[str, Manifest]) -> list[Gallery]:
    samples: dict[str, HashSample[dict[str, Any]]] = {}
    for row in _rows(manifests, "filter", "pairs", ("pair_id", "outcome", "image_sha256", *_PAIR)):
        if row["outcome"] not in PASSED:
            sample = samples.setdefault(row["outcome"], HashSample(PER_REASON))
            sample.offer(row["pair_id"], row, favoured=bool(row["image_sha256"]))
    galleries = _galleries(samples)
    shown = [row for gallery in galleries for row in gallery.shown]
    wanted = {row["image_sha256"] for row in shown if row["image_sha256"]}
    known = addresses_of(manifests["features"], wanted) if wanted and "features" in manifests else {}
    addresses = [known.get(row["image_sha256"]) for row in shown]
    pictures = thumbnails(manifests["filter"].out, addresses) if shown else ()
    for row, picture in zip(shown, pictures, strict=True):
        row["thumbnail"] = picture
    return galleries


def _images(manifests: dict[str, Manifest]) -> tuple[list[Gallery], int]:
    """Returns samples of the images that never came, by reason, and how many came as another type than was said."""
    otherwise = 0
    samples: dict[str, HashSample[dict[str, Any]]] = {}
    columns = ("url_key", "url", "outcome", "http_status", "final_url", "format", "width", "height", "num_bytes",
               "content_type")
    for row in _rows(manifests, "images", "images", columns):
        if row["outcome"] not in PASSED:
            samples.setdefault(row["outcome"], HashSample(PER_TEXT_REASON)).offer(row["url_key"], row)
        else:
            otherwise += is_served_otherwise(row.get("content_type", ""), row["format"])
    return _galleries(samples), otherwise


def _galleries(samples: dict[str, HashSample[dict[str, Any]]]) -> list[Gallery]:
    found = [Gallery(reason, sample.seen, sample.kept()) for reason, sample in samples.items()]
    return sorted(found, key=lambda gallery: (-gallery.total, gallery.reason))


def _kept(manifests: dict[str, Manifest], sites: Sites,
          permissions: _Permissions) -> tuple[tuple[dict[str, Any], ...], list[Histogram], str, str]:
    """Returns the contact sheet, the histograms, and the first and last time a kept image was fetched."""
    sheet: HashSample[dict[str, Any]] = HashSample(CONTACT_SHEET)
    words, sides, scores, languages = Tally(), Tally(), Tally(), dict[str, int]()
    first, last = "", ""
    columns = ("key", "caption", "source", "score", "page_url", "image_url", "width", "height", "part", "offset",
               "length", "page_language", "image_fetched_at", "permission", "signals", "num_occurrences", "split")
    for row in _rows(manifests, "filter", "best", columns):
        length = len(row["caption"].split())
        line = sites.of(row["page_url"])
        line.kept, line.words, line.score = line.kept + 1, line.words + length, line.score + row["score"]
        permissions.add("kept samples", row)
        sheet.offer(row["key"], row)
        words.add(length)
        sides.add(min(row["width"], row["height"]))
        scores.add(round(row["score"] * _SCORE_UNIT))
        language = row["page_language"] or "unknown"
        languages[language] = languages.get(language, 0) + 1
        when = row["image_fetched_at"]
        first, last = min(first or when, when), max(last, when)
    shown = sheet.kept()
    for row, picture in zip(shown, thumbnails(manifests["filter"].out, shown) if shown else (), strict=True):
        row["thumbnail"] = picture
    step = _SCORE_UNIT // _SCORE_STEPS
    histograms = [
        Histogram("Caption length", f"words; {_spread(words)}", _binned(words, _WORD_EDGES)),
        Histogram("Score", f"P(caption describes image), lower edges; {_spread(scores, _SCORE_UNIT)}",
                  tuple((f"{place / _SCORE_STEPS:.3f}", count) for place, count in enumerate(
                      scores.binned(range(0, _SCORE_UNIT + step, step))))),
        Histogram("Image size", f"shorter side, px; {_spread(sides)}", _binned(sides, _SIDE_EDGES)),
        Histogram("Page language", f"{len(languages)} of them", _most(languages, 12)),
    ]
    return shown, histograms, first, last


def _spread(tally: Tally, unit: int = 1) -> str:
    if not tally.total:
        return "none"
    low, middle, high = (f"{tally.quantile(share) / unit:.3g}" if unit > 1 else f"{tally.quantile(share):,}"
                         for share in (0.05, 0.5, 0.95))
    return f"median {middle}, 90 % within {low} to {high}"


def _binned(tally: Tally, edges: tuple[int, ...]) -> tuple[tuple[str, int], ...]:
    labels = [f"{low}+" if place == len(edges) - 2 else f"<{high}" if place == 0
              else str(low) if high == low + 1 else f"{low}–{high - 1}"
              for place, (low, high) in enumerate(zip(edges, edges[1:], strict=False))]
    return tuple(zip(labels, tally.binned(edges), strict=True))


def _most(counts: dict[str, int], limit: int) -> tuple[tuple[str, int], ...]:
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(count for _, count in ranked[limit:])
    return tuple(ranked[:limit]) + ((("others", rest),) if rest else ())


class _Permissions:
    """Verdicts and single signals, counted for pages and for kept samples."""

    def __init__(self) -> None:
        self.verdicts: dict[str, dict[str, int]] = {}
        self.signals: dict[tuple[str, str], dict[str, int]] = {}

    def add(self, what: str, row: dict[str, Any]) -> None:
        """Counts one row's verdict and its signals."""
        counts = self.verdicts.setdefault(what, {})
        counts[row["permission"]] = counts.get(row["permission"], 0) + 1
        for name, verdict in sorted({(signal["name"], signal["verdict"]) for signal in row["signals"]}):
            counts = self.signals.setdefault((what, name), {})
            counts[verdict] = counts.get(verdict, 0) + 1


def _figures(manifests: dict[str, Manifest]) -> list[tuple[str, int]]:
    """Returns the few counts a reader wants first."""
    named = (("pages", "crawl", "pages"), ("candidates", "judge", "judged"), ("image URLs", "images", "images"),
             ("pairs", "filter", "pairs"), ("samples kept", "filter", "best"))
    return [(label, manifests[stage].rows(table)) for label, stage, table in named
            if stage in manifests and table in manifests[stage].tables]


def _splits(shards: Manifest) -> list[tuple[str, str, int, int, int]]:
    """Returns split, image extension, number of shards, samples and bytes."""
    totals: dict[tuple[str, str], list[int]] = {}
    for shard in shards.extra["shards"]:
        line = totals.setdefault((shard["split"], shard["ext"]), [0, 0, 0])
        for place, count in enumerate((1, shard["samples"], shard["bytes"])):
            line[place] += count
    return [(split, ext, files, samples, size) for (split, ext), (files, samples, size) in sorted(totals.items())]
