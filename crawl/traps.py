"""Where does a site have no end?  Rules that close it, by the URL alone or by what was found there (S10).

    trap_url_length, trap_path_depth, trap_repeated_segment, trap_query     one URL, when a link to it is found
    trap_calendar       more pages of one calendar than anybody needs
    trap_facets         combinations of three query parameters or more of one path
    trap_template       values of the query parameters of one path
    trap_duplicates     pages of one template that mostly say the same: soft 404s, sessions, other orders
    trap_duplicate_site     the same of a whole site
    trap_path_prefix    more pages below one first folder of a site than one may take
    too_many_pages      more pages of one site than FrontierRules.max_pages_per_site

A rule over a group of URLs looks at all that the crawl knows when a round is selected, so that its verdict depends on
no order, shard or worker: of a group, what was asked for counts, then come the shallowest of those that wait, ties by
hash; what lies beyond the limit is closed for good.  A seed and a sitemap are no traps: somebody named them.
"""
from __future__ import annotations

import collections
import dataclasses
import heapq
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from crawl import urls
from crawl.records import CrawlEntry

Place = tuple[int, str]            # depth and order key of a URL that waits

CALENDAR, FACETS, TEMPLATE, PREFIX = "trap_calendar", "trap_facets", "trap_template", "trap_path_prefix"
DUPLICATES, DUPLICATE_SITE, TOO_MANY = "trap_duplicates", "trap_duplicate_site", "too_many_pages"
_SHAPES = frozenset({"trap_url_length", "trap_path_depth", "trap_repeated_segment", "trap_query", "too_deep"})
# Steps of a selection: what an earlier one closes takes no place in a later one.
STEPS = (frozenset({CALENDAR, FACETS, TEMPLATE, DUPLICATES, DUPLICATE_SITE}), frozenset({PREFIX}),
         frozenset({TOO_MANY}))
_FACETS = 3                        # parameters that make combinations
_SAMPLE = 256                      # pages of a group whose contents are compared
_NOTHING_MORE: Place = (-1, "")

_YEAR = re.compile(r"(?:19|20|21)\d\d$")
_MONTH_OR_DAY = re.compile(r"(?:0?[1-9]|[12]\d|3[01])$")
_DATE = re.compile(r"(?:19|20|21)\d\d[-_.]?(?:0[1-9]|1[0-2]|[1-9])(?:[-_.]?(?:0[1-9]|[12]\d|3[01]|[1-9]))?$")
_DATE_PARAMETERS = frozenset({"year", "month", "day", "week", "date", "y", "m", "d", "from", "until", "start", "end"})


@dataclasses.dataclass(frozen=True, slots=True)
class TrapRules:
    """When a site has no end: part of the identity of a crawl.  Numbers of pages are over all rounds."""

    max_url_length: int = 1_024        # characters; urls.MAX_URL ends them in any case
    max_path_segments: int = 20
    max_repeats: int = 2               # of one path segment
    max_query_parameters: int = 16
    max_calendar_pages: int = 24       # of one calendar-like template of a site
    max_facet_pages: int = 500         # of one path with three query parameters or more
    max_template_pages: int = 2_000    # of one path with the same query parameters
    max_prefix_pages: int = 10_000     # below one first folder of a site: half of max_pages_per_site
    max_prefix_pages_round: int = 1_000    # and in one round: what is over waits
    max_duplicate_share: float = 0.8   # of pages of a template, or a site, that say what another one says
    min_duplicate_pages: int = 24      # fetched, before that share counts

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            least = 0 if field.name in ("max_repeats", "max_query_parameters") else 1
            if field.name != "max_duplicate_share" and getattr(self, field.name) < least:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; it must be at least {least}")
        if self.min_duplicate_pages > _SAMPLE:
            raise ValueError(f"min_duplicate_pages is {self.min_duplicate_pages}; at most {_SAMPLE} are compared")
        if not 0 < self.max_duplicate_share <= 1:
            raise ValueError(f"max_duplicate_share is {self.max_duplicate_share}; it must be above 0 and at most 1")


class Group(NamedTuple):
    """URLs that a rule counts together."""

    status: str                        # what those beyond its limit become
    name: str


def fault_of(url: str, rules: TrapRules) -> str | None:
    """Returns which rule over single URLs closes a discovered URL, or None.

    >>> fault_of("http://a.test/b/c/b/c/b/c", TrapRules())
    'trap_repeated_segment'
    """
    if len(url) > rules.max_url_length:
        return "trap_url_length"
    path, _, query = urls.target(url).partition("?")
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) > rules.max_path_segments:
        return "trap_path_depth"
    if segments and max(collections.Counter(segments).values()) > rules.max_repeats:
        return "trap_repeated_segment"
    if query and query.count("&") + 1 > rules.max_query_parameters:
        return "trap_query"
    return None


def calendar_template(url: str) -> str | None:
    """Returns the template of a URL whose path or query ends in a date, or None: such pages never come to an end.

    >>> calendar_template("http://a.test/events/2031/05/?view=list")
    'a.test/events/{n}/{n}/?view'
    >>> calendar_template("http://a.test/2019/05/a-day-at-the-sea") is None
    True
    """
    path, _, query = urls.target(url).partition("?")
    segments = [segment for segment in path.split("/") if segment]
    dated = {pair.partition("=")[0].lower() for pair in query.split("&")
             if any(character.isdigit() for character in pair.partition("=")[2])}
    ends_in_date = bool(segments) and (
        _DATE.match(segments[-1].partition(".")[0]) is not None
        or any(_YEAR.match(segments[place]) and all(_MONTH_OR_DAY.match(segment.partition(".")[0])
                                                    for segment in segments[place + 1:])
               for place in range(max(0, len(segments) - 3), len(segments) - 1)))
    if not ends_in_date and not dated & _DATE_PARAMETERS:
        return None
    return urls.site(url) + _numbered(path) + _named(query)


def groups_of(url: str) -> Iterator[Group]:
    """Yields the groups that a URL belongs to: at most one of calendar, facets and template, and one of each other.

    >>> [group.name for group in groups_of("http://a.test/shop/red/7?size=l&page=2")]
    ['a.test/shop/red/{n}?page&size', 'a.test/shop/red/*?page&size', 'a.test', 'a.test/shop/', 'a.test']
    """
    site = urls.site(url)
    path, _, query = urls.target(url).partition("?")
    folders, _, _ = path.rpartition("/")
    names = _named(query)
    calendar = calendar_template(url)
    if calendar is not None:
        yield Group(CALENDAR, calendar)
    elif names.count("&") + 1 >= _FACETS:
        yield Group(FACETS, site + _numbered(path))
    elif names:
        yield Group(TEMPLATE, site + _numbered(path) + names)
    yield Group(DUPLICATES, f"{site}{_numbered(folders)}/*{names}")
    yield Group(DUPLICATE_SITE, site)
    yield Group(PREFIX, site + prefix_of(url))
    yield Group(TOO_MANY, site)


def prefix_of(url: str) -> str:
    """Returns the first folder of a URL's path.

    >>> prefix_of("http://a.test/articles/7"), prefix_of("http://a.test/about?x=1")
    ('/articles/', '/')
    """
    first, slash, _ = urls.target(url).partition("?")[0][1:].partition("/")
    return f"/{first}/" if slash else "/"


def _numbered(path: str) -> str:
    return "/".join("{n}" if any(character.isdigit() for character in segment) else segment
                    for segment in path.split("/"))


def _named(query: str) -> str:
    names = sorted({pair.partition("=")[0] for pair in query.split("&") if pair})
    return "?" + "&".join(names) if names else ""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """What counts of a URL in its groups."""

    place: Place
    is_fetched: bool                   # or asked for once at least
    content: str                       # fingerprint, "" where there is none

    @classmethod
    def of(cls, entry: CrawlEntry, place: Place) -> Member:
        """Returns the member that an entry is."""
        return cls(place, entry.last_round >= 0, entry.content)


@dataclasses.dataclass(slots=True)
class Crowd:
    """The members of a group so far: an accumulator of bounded size, filled and merged in any order."""

    limit: int                         # pages; 0 for a group that is judged by its contents
    fetched: int = 0
    waiting: int = 0
    first: list[Place] = dataclasses.field(default_factory=list)                  # of those that wait
    contents: list[tuple[str, str]] = dataclasses.field(default_factory=list)     # (order key, fingerprint), fetched

    def add(self, member: Member) -> None:
        """Takes a member in."""
        if member.is_fetched:
            self.fetched += 1
            if member.content and not self.limit:
                self.contents.append((member.place[1], member.content))
        else:
            self.waiting += 1
            if self.limit:
                self.first.append(member.place)
        if len(self.first) > 4 * self.limit or len(self.contents) > 4 * _SAMPLE:
            self._prune()

    def merge(self, other: Crowd) -> None:
        """Takes another accumulator in."""
        self.fetched += other.fetched
        self.waiting += other.waiting
        self.first += other.first
        self.contents += other.contents
        self._prune()

    def last_place(self, rules: TrapRules) -> Place | None:
        """Returns the last place that is still open, before all places where none is; None where nothing is closed."""
        if self.limit:
            room = max(0, self.limit - self.fetched)
            if self.waiting <= room:
                return None
            return heapq.nsmallest(room, self.first)[-1] if room else _NOTHING_MORE
        sample = heapq.nsmallest(_SAMPLE, self.contents)
        if not self.waiting or len(sample) < rules.min_duplicate_pages:
            return None
        repeated = len(sample) - len({content for _, content in sample})
        return _NOTHING_MORE if repeated >= rules.max_duplicate_share * len(sample) else None

    def _prune(self) -> None:
        self.first = heapq.nsmallest(self.limit, self.first)
        self.contents = heapq.nsmallest(_SAMPLE, self.contents)


def limit_of(status: str, rules: TrapRules, max_pages_per_site: int) -> int:
    """Returns how many pages a group may have, 0 for a rule about contents."""
    return {CALENDAR: rules.max_calendar_pages, FACETS: rules.max_facet_pages, TEMPLATE: rules.max_template_pages,
            PREFIX: rules.max_prefix_pages, TOO_MANY: max_pages_per_site}.get(status, 0)


def settled(entry: CrawlEntry, place: Place, last_places: Mapping[tuple[str, str], Place]) -> CrawlEntry:
    """Returns an entry that waits for its first request, closed if a rule closes it.

    Args:
        last_places: of the groups in which something is closed: the last place that is not.
    """
    is_named = entry.depth == 0 or entry.kind == "sitemap"
    for group in groups_of(entry.url) if last_places else ():
        last = last_places.get(group)
        if last is not None and place > last and (group.status == TOO_MANY or not is_named):
            return dataclasses.replace(entry, status=group.status)
    return entry


def trap_of(entry: CrawlEntry) -> Group | None:
    """Returns which rule closed an entry, and in which group; None for an entry that none closed."""
    if entry.status not in _SHAPES and not any(entry.status in step for step in STEPS):
        return None
    return next((group for group in groups_of(entry.url) if group.status == entry.status),
                Group(entry.status, urls.site(entry.url)))
