"""Beam wiring of a recrawl: what is due again, and what is held of it.  No rule lives here."""
from __future__ import annotations

import dataclasses
from typing import Any

import apache_beam as beam

from crawl.frontier import STANDS, FrontierRules, fetch_row
from crawl.records import CrawlEntry, FetchLog, FetchRow
from crawl.recrawl import due_again, orphan_due, with_earlier
from crawl.transforms import by_url_key
from crawl.urls import url_key


@dataclasses.dataclass
class DueAgain(beam.PTransform):
    """(crawldb of the crawl before, URLs of the seeds) -> crawldb in which what is due at a moment is due again.

    Without a moment that is everything known.
    """

    rules: FrontierRules
    sites: frozenset[str]
    moment: str

    def expand(self, tables: tuple[Any, Any]) -> Any:
        entries, seeds = tables
        return ({"entries": entries | "Known key" >> beam.Map(by_url_key),
                 "seeds": seeds | "Seed key" >> beam.Map(lambda url: (url_key(url), url))}
                | "Meet seeds" >> beam.CoGroupByKey()
                | "Due again" >> beam.MapTuple(self._due))

    def _due(self, key: str, found: dict[str, Any]) -> CrawlEntry:
        return due_again(next(iter(found["entries"]), None), next(iter(found["seeds"]), None), self.rules, self.sites,
                         self.moment)


@dataclasses.dataclass
class OrphansDue(beam.PTransform):
    """crawldb -> crawldb in which pages that no redirect leads to any more are due themselves."""

    first_round: int
    rules: FrontierRules
    sites: frozenset[str]

    def expand(self, entries: Any) -> Any:
        return entries | "Orphans due" >> beam.Map(orphan_due, self.first_round, self.rules, self.sites)


@dataclasses.dataclass
class WithEarlier(beam.PTransform):
    """(rows of the fetch list, crawldb, fetch log of the crawl before) -> the rows, with what is held of their URLs.

    Of each URL of crawldb that stands until it is due there is a row too.
    """

    shards: int
    rules: FrontierRules

    def expand(self, tables: tuple[Any, Any, Any]) -> Any:
        rows, entries, logs = tables
        standing = (entries | "Standing" >> beam.Filter(lambda entry: entry.status == STANDS)
                    | "Standing rows" >> beam.Map(fetch_row, self.shards, self.rules))
        return ({"standing": standing | "Standing key" >> beam.Map(by_url_key),
                 "rows": rows | "Row key" >> beam.Map(by_url_key), "own": logs | "Log key" >> beam.Map(by_url_key),
                 "arrived": (logs | "Redirected before" >> beam.Filter(lambda log: log.final_url not in ("", log.url))
                             | "Arrived key" >> beam.Map(lambda log: (url_key(log.final_url), log)))}
                | "Meet earlier" >> beam.CoGroupByKey()
                | "With earlier" >> beam.FlatMapTuple(self._held))

    def _held(self, key: str, found: dict[str, Any]) -> list[FetchRow]:
        own: list[FetchLog] = list(found["own"])
        arrived: list[FetchLog] = list(found["arrived"])
        return [with_earlier(row, own, arrived, stands) for name, stands in (("rows", False), ("standing", True))
                for row in found[name]]
