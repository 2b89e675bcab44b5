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
    calendar_template,
    fetch_row,
    first_arrival,
    held_back,
    telling_links,
    update,
)
from crawl.records import CrawlEntry, FetchLog
from crawl.suppress import Suppression
from crawl.transforms import by_url_key
from crawl.urls import site, url_key


@dataclasses.dataclass
class UpdateCrawl(beam.PTransform):
    """(crawldb, fetch list, fetch log, links) of a round -> crawldb of the next."""

    rules: FrontierRules
    sites: frozenset[str]
    round_number: int

    def expand(self, tables: tuple[Any, Any, Any, Any]) -> Any:
        entries, asked, logs, links = tables
        arrivals = (logs | "Redirected" >> beam.Filter(_is_redirected)
                    | "Arrivals" >> beam.Map(lambda log: (url_key(log.final_url), (log,)))
                    | "First arrival" >> beam.CombinePerKey(first_arrival))
        telling = (links | "To targets" >> beam.Map(lambda link: (link.dst_key, (link,)))
                   | "Telling links" >> beam.CombinePerKey(telling_links))
        return ({"entries": entries | "Entry key" >> beam.Map(by_url_key),
                 "asked": asked | "List key" >> beam.Map(by_url_key),
                 "logs": logs | "Log key" >> beam.Map(by_url_key), "links": telling, "arrivals": arrivals}
                | "Meet" >> beam.CoGroupByKey()
                | "Update" >> beam.MapTuple(self._update))

    def _update(self, key: str, found: dict[str, Any]) -> CrawlEntry:
        entry = next(iter(found["entries"]), None)
        links = [link for group in found["links"] for link in group]
        arrivals = [log for group in found["arrivals"] for log in group]
        return update(entry, list(found["asked"]), list(found["logs"]), links, arrivals, self.rules, self.sites,
                      self.round_number)


def _is_redirected(log: FetchLog) -> bool:
    return log.outcome == "ok" and log.final_url not in ("", log.url)


@dataclasses.dataclass
class HoldBack(beam.PTransform):
    """crawldb -> crawldb in which nothing of the suppress list is due."""

    suppressed: Suppression

    def expand(self, entries: Any) -> Any:
        return entries | "Suppressed" >> beam.Map(held_back, self.suppressed)


@dataclasses.dataclass
class SelectDue(beam.PTransform):
    """crawldb -> rows of the fetch list, within the quotas of calendars and sites."""

    rules: FrontierRules
    shards: int

    def expand(self, entries: Any) -> Any:
        rules = self.rules
        known = entries | "Due or fetched" >> beam.FlatMap(_by_site_and_template).with_outputs("dated", main="plain")
        of_calendars = (known["dated"]
                        | "Calendar quota" >> beam.CombinePerKey(
                            _QuotaFn(rules.max_calendar_pages, rules.max_calendar_pages, rules))
                        | "Of calendars" >> beam.FlatMapTuple(lambda template, chosen: [
                            (site(entry.url), entry) for entry in chosen]))
        return ((known["plain"], of_calendars) | "All due" >> beam.Flatten()
                | "Site quota" >> beam.CombinePerKey(
                    _QuotaFn(rules.max_pages_per_site_round, rules.max_pages_per_site, rules))
                | "Rows" >> beam.FlatMapTuple(lambda name, chosen: [
                    fetch_row(entry, self.shards, rules) for entry in chosen]))


def _by_site_and_template(entry: CrawlEntry) -> Iterator[Any]:
    """Yields what counts for the quotas: a due page of a calendar passes the calendar's quota first."""
    if entry.status != DUE and entry.last_round < 0:
        return
    template = calendar_template(entry.url)
    if template is not None:
        yield beam.pvalue.TaggedOutput("dated", (template, entry))
    if template is None or entry.status != DUE:
        yield site(entry.url), entry


class _QuotaFn(beam.CombineFn):
    """frontier.Quota as a combiner: bounded accumulators."""

    def __init__(self, per_round: int, overall: int, rules: FrontierRules) -> None:
        self._per_round = per_round
        self._overall = overall
        self._rules = rules

    def create_accumulator(self) -> Quota:
        return Quota(self._per_round, self._overall)

    def add_input(self, quota: Quota, entry: CrawlEntry) -> Quota:
        quota.add([entry], self._rules)
        return quota

    def merge_accumulators(self, quotas: Iterable[Quota]) -> Quota:
        merged = self.create_accumulator()
        for quota in quotas:
            merged.merge(quota)
        return merged

    def extract_output(self, quota: Quota) -> list[CrawlEntry]:
        return quota.selected()
