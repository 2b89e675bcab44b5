"""Beam wiring of crawl/traps.py: crawldb in, crawldb without what has no end out.  No rule lives here."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl.frontier import DUE, FrontierRules, place_of
from crawl.records import CrawlEntry, Trap
from crawl.traps import STEPS, Crowd, Member, Place, groups_of, limit_of, settled, trap_of

_TRAPS = 100                       # groups that the table `traps` names
_EXAMPLES = 3


@dataclasses.dataclass
class CloseTraps(beam.PTransform):
    """crawldb -> crawldb in which what lies beyond the limit of a group is closed, a step of rules after the other."""

    rules: FrontierRules

    def expand(self, entries: Any) -> Any:
        for number, statuses in enumerate(STEPS):
            last_places = (entries | f"Members {number}" >> beam.FlatMap(self._members, statuses)
                           | f"Crowds {number}" >> beam.CombinePerKey(_CrowdFn(self.rules))
                           | f"Closed {number}" >> beam.Filter(lambda found: found[1] is not None))
            # At most a group for each 24 known URLs, and most crawls have none.
            entries = entries | f"Close {number}" >> beam.Map(self._settled, beam.pvalue.AsDict(last_places))
        return entries

    def _members(self, entry: CrawlEntry, statuses: frozenset[str]) -> Iterator[tuple[tuple[str, str], Any]]:
        if entry.status == DUE or entry.last_round >= 0:
            member = Member.of(entry, place_of(entry, self.rules))
            for status, name in groups_of(entry.url):
                if status in statuses:
                    yield (status, name), (status, member)

    def _settled(self, entry: CrawlEntry, last_places: dict[tuple[str, str], Place]) -> CrawlEntry:
        if entry.status != DUE or entry.last_round >= 0:
            return entry
        return settled(entry, place_of(entry, self.rules), last_places)


class _CrowdFn(beam.CombineFn):
    """traps.Crowd as a combiner: bounded accumulators."""

    def __init__(self, rules: FrontierRules) -> None:
        self._rules = rules

    def create_accumulator(self) -> list[Crowd]:
        return []                      # its limit is known with the first member

    def add_input(self, found: list[Crowd], value: tuple[str, Member]) -> list[Crowd]:
        status, member = value
        if not found:
            found.append(Crowd(limit_of(status, self._rules.traps, self._rules.max_pages_per_site)))
        found[0].add(member)
        return found

    def merge_accumulators(self, several: Iterable[list[Crowd]]) -> list[Crowd]:
        merged: list[Crowd] = []
        for found in several:
            if not merged:
                merged = found
            elif found:
                merged[0].merge(found[0])
        return merged

    def extract_output(self, found: list[Crowd]) -> Place | None:
        return found[0].last_place(self._rules.traps) if found else None


@dataclasses.dataclass
class LargestTraps(beam.PTransform):
    """crawldb -> Trap rows of the groups in which most URLs were closed."""

    def expand(self, entries: Any) -> Any:
        return (entries | "Closed URLs" >> beam.FlatMap(self._closed)
                | "Traps" >> beam.CombinePerKey(_first_examples)
                | "Trap rows" >> beam.MapTuple(lambda group, found: Trap(*group, *found))
                | "Largest" >> beam.combiners.Top.Of(_TRAPS, key=lambda trap: (trap.urls, trap.status, trap.group))
                | "One by one" >> beam.FlatMap(lambda traps: traps))

    def _closed(self, entry: CrawlEntry) -> Iterator[tuple[tuple[str, str], tuple[int, tuple[str, ...]]]]:
        group = trap_of(entry)
        if group is not None:
            yield (group.status, group.name), (1, (entry.url,))


def _first_examples(found: Iterable[tuple[int, tuple[str, ...]]]) -> tuple[int, tuple[str, ...]]:
    """Returns how many there are and the first names; associative."""
    total, names = 0, tuple[str, ...]()
    for count, some in found:
        total += count
        names = tuple(sorted({*names, *some})[:_EXAMPLES])
    return total, names
