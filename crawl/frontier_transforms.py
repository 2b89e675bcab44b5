"""Beam wiring of a round's edge: what is known, what is due.  No rule lives here."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl.frontier import (
    DUE,
    FrontierRules,
    Quota,
    fetch_row,
    first_arrival,
    held_back,
    telling_links,
    update,
)
from crawl.records import STORED, CrawlEntry, FetchLog
from crawl.schedule import add_days, due_day
from crawl.suppress import Suppression
from crawl.tables import read_column
from crawl.transforms import by_url_key
from crawl.traps import prefix_of
from crawl.urls import site, url_key


@dataclasses.dataclass
class UpdateCrawl(beam.PTransform):
    """(crawldb, fetch list, fetch log, links, fingerprints) of a round -> crawldb of the next."""

    rules: FrontierRules
    sites: frozenset[str]
    round_number: int

    def expand(self, tables: tuple[Any, Any, Any, Any, Any]) -> Any:
        entries, asked, logs, links, contents = tables
        arrivals = (logs | "Redirected" >> beam.Filter(_is_redirected)
                    | "Arrivals" >> beam.Map(lambda log: (url_key(log.final_url), (log,)))
                    | "First arrival" >> beam.CombinePerKey(first_arrival))
        telling = (links | "To targets" >> beam.Map(lambda link: (link.dst_key, (link,)))
                   | "Telling links" >> beam.CombinePerKey(telling_links))
        return ({"entries": entries | "Entry key" >> beam.Map(by_url_key),
                 "asked": asked | "List key" >> beam.Map(by_url_key),
                 "logs": logs | "Log key" >> beam.Map(by_url_key), "links": telling, "arrivals": arrivals,
                 "contents": contents}
                | "Meet" >> beam.CoGroupByKey()
                | "Update" >> beam.MapTuple(self._update))

    def _update(self, key: str, found: dict[str, Any]) -> CrawlEntry:
        entry = next(iter(found["entries"]), None)
        links = [link for group in found["links"] for link in group]
        arrivals = [log for group in found["arrivals"] for log in group]
        return update(entry, list(found["asked"]), list(found["logs"]), links, arrivals, self.rules, self.sites,
                      self.round_number, next(iter(found["contents"]), ""))


def _is_redirected(log: FetchLog) -> bool:
    return log.outcome in STORED and log.final_url not in ("", log.url)


@dataclasses.dataclass
class HoldBack(beam.PTransform):
    """crawldb -> crawldb in which nothing of the suppress list is due."""

    suppressed: Suppression

    def expand(self, entries: Any) -> Any:
        return entries | "Suppressed" >> beam.Map(held_back, self.suppressed)


@dataclasses.dataclass
class PageContents(beam.PTransform):
    """Names of `pages` files -> (url_key, fingerprint); their texts are not read."""

    files: tuple[str, ...]

    def expand(self, root: Any) -> Any:
        return root | "Pages files" >> beam.Create(self.files) | "Fingerprints" >> beam.FlatMap(self._read)

    def _read(self, path: str) -> Iterator[tuple[str, str]]:
        return zip(read_column(path, "url_key"), read_column(path, "fingerprint"), strict=True)


@dataclasses.dataclass
class DueDays(beam.PTransform):
    """crawldb -> DueDay rows: how many URLs are due again on which day."""

    def expand(self, entries: Any) -> Any:
        return (entries | "Due day" >> beam.Map(lambda entry: due_day(entry, entry.status == DUE))
                | "With a day" >> beam.Filter(lambda day: day is not None)
                | "By day" >> beam.Map(lambda day: (day.day, day))
                | "Days" >> beam.CombinePerKey(add_days)
                | "Day rows" >> beam.Values())


@dataclasses.dataclass
class SelectDue(beam.PTransform):
    """crawldb -> rows of the fetch list, within the quotas of a round: first of a site's folders, then of the site."""

    rules: FrontierRules
    shards: int

    def expand(self, entries: Any) -> Any:
        rules = self.rules
        return (entries | "Due" >> beam.Filter(lambda entry: entry.status == DUE)
                | "By folder" >> beam.Map(lambda entry: (site(entry.url) + prefix_of(entry.url), entry))
                | "Folder quota" >> beam.CombinePerKey(_QuotaFn(rules.traps.max_prefix_pages_round, rules))
                | "By site" >> beam.FlatMapTuple(lambda folder, chosen: [(site(one.url), one) for one in chosen])
                | "Site quota" >> beam.CombinePerKey(_QuotaFn(rules.max_pages_per_site_round, rules))
                | "Rows" >> beam.FlatMapTuple(lambda name, chosen: [
                    fetch_row(entry, self.shards, rules) for entry in chosen]))


class _QuotaFn(beam.CombineFn):
    """frontier.Quota as a combiner: bounded accumulators."""

    def __init__(self, per_round: int, rules: FrontierRules) -> None:
        self._per_round = per_round
        self._rules = rules

    def create_accumulator(self) -> Quota:
        return Quota(self._per_round)

    def add_input(self, quota: Quota, entry: CrawlEntry) -> Quota:
        quota.add(entry, self._rules)
        return quota

    def merge_accumulators(self, quotas: Iterable[Quota]) -> Quota:
        merged = self.create_accumulator()
        for quota in quotas:
            merged.merge(quota)
        return merged

    def extract_output(self, quota: Quota) -> list[CrawlEntry]:
        return quota.selected()
