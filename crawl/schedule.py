"""When is a URL due again?  Sooner where it keeps changing, later where it does not; pure rules over crawldb.

Nutch's AdaptiveFetchSchedule: an interval per URL that grows by two fifths when nothing changed and shrinks by a fifth
when something did, within bounds.  A page has changed when it says something else (crawl/fingerprint.py): the time of
day in a footer is no change.  What is gone or refused is asked for more and more seldom.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from crawl.records import NOT_DUE, NOT_MODIFIED, UNCHANGED, CrawlEntry, DueDay, FetchLog
from crawl.stages import later

DAY = 24 * 3600
GONE = "http_410"                  # for good (RFC 9110, 15.5.11)
_AT_ONCE = ""                      # sorts before every time
_FAR = 36_500 * DAY


@dataclasses.dataclass(frozen=True, slots=True)
class ScheduleRules:
    """How often a recrawl asks for a URL: part of the identity of the stage."""

    first_s: int = 7 * DAY         # after the first answer
    least_s: int = DAY
    most_s: int = 180 * DAY
    grow: float = 1.4              # what did not change
    shrink: float = 0.8            # what did
    grow_failed: float = 1.5       # what gave no page

    def __post_init__(self) -> None:
        if not 1 <= self.least_s <= self.first_s <= self.most_s <= _FAR:
            raise ValueError(f"least_s, first_s, most_s are {self.least_s}, {self.first_s}, {self.most_s}; they must "
                             f"be in that order, from 1 to {_FAR}")
        if not 0 < self.shrink <= 1 <= min(self.grow, self.grow_failed) <= max(self.grow, self.grow_failed) <= 10:
            raise ValueError(f"shrink is {self.shrink}, grow {self.grow}, grow_failed {self.grow_failed}; they must be "
                             "in (0, 1] and [1, 10]")


def next_interval(interval_s: int, changed: bool | None, rules: ScheduleRules) -> int:
    """Returns the seconds until a URL is due again.

    Args: interval_s: of before, 0 for a URL that is asked for the first time; changed: None where it gave no page.

    >>> rules = ScheduleRules()
    >>> [next_interval(10 * DAY, changed, rules) // DAY for changed in (False, True, None)]
    [14, 8, 15]
    >>> next_interval(0, True, rules) // DAY, next_interval(170 * DAY, False, rules) // DAY
    (7, 180)
    """
    if not interval_s:
        return rules.first_s
    factor = rules.grow_failed if changed is None else rules.shrink if changed else rules.grow
    return min(rules.most_s, max(rules.least_s, int(interval_s * factor)))


def scheduled(before: CrawlEntry, after: CrawlEntry, log: FetchLog, content: str, rules: ScheduleRules) -> CrawlEntry:
    """Returns a URL's entry of crawldb with when it is due again.

    Args:
        before: the entry that was asked for; after: as its answer left it, not due any more.
        content: fingerprint of the page that came, "" without one.
    """
    if log.outcome == NOT_DUE:
        return after
    if log.outcome == GONE:
        return dataclasses.replace(after, next_due="")
    if log.outcome in (NOT_MODIFIED, UNCHANGED):
        changed: bool | None = False
    elif log.outcome == "ok":
        changed = not content or content != before.content
    else:
        changed = None
    interval_s = next_interval(before.interval_s, changed, rules)
    return dataclasses.replace(after, interval_s=interval_s, next_due=later(log.fetched_at, interval_s))


def is_due(entry: CrawlEntry, moment: str) -> bool:
    """Returns whether a URL is due at a time; one that was never asked for is."""
    return entry.next_due <= moment


def due_day(entry: CrawlEntry, is_open: bool) -> DueDay | None:
    """Returns the day on which a URL will be due, None for one that has no date; `is_open`: it is due already.

    What is not asked for whatever the time (gone, out of scope, reached by another URL) has no date in crawldb.
    """
    if is_open:
        return DueDay(_AT_ONCE, _AT_ONCE, 1)
    return DueDay(entry.next_due[:10], entry.next_due, 1) if entry.next_due else None


def add_days(days: Iterable[DueDay]) -> DueDay:
    """Returns the sum of rows of one day; associative."""
    found = list(days)
    return DueDay(found[0].day, min(one.first for one in found), sum(one.urls for one in found))


def idle_until(days: Iterable[DueDay], moment: str) -> str:
    """Returns the time before which nothing is due, "" where something is due at a moment, or nothing has a date."""
    first = min((one.first for one in days), default=_AT_ONCE)
    return first if first > moment else ""
