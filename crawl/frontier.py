"""Which URLs are fetched next?  Pure reducers over what the crawl knows: `update` folds a round in, `Quota` selects.

The shape is Nutch's: a URL is one `CrawlEntry`; after a round its entry, the log row and the links to it meet under its
key and become the next entry.  Nothing here knows Beam; a state machine's test can call every function by hand.
"""
from __future__ import annotations

import dataclasses
import hashlib
import heapq
from collections.abc import Iterable, Sequence

from crawl import urls
from crawl.records import CrawlEntry, FetchLog, FetchRow, ImageFetch, Link
from crawl.schedule import ScheduleRules, scheduled
from crawl.suppress import SUPPRESSED, Suppression
from crawl.tables import stable_hash
from crawl.traps import Place, TrapRules, fault_of

DUE, NOFOLLOW, REACHED = "due", "nofollow", "reached_by_redirect"
STANDS = "stands_until_due"         # of a recrawl's beginning: its row of before is taken over in the first round
_OUR_LIMIT = "deferred_budget"      # the time of a shard was over: no fault of the URL
# A later round may end otherwise; everything else that is not ok is the answer.
_PASSING = frozenset({"timeout_total", "too_slow", "connect_error", "dns_failure", "disconnected", "protocol_error",
                      "http_408", "http_425", "http_429", "http_500", "http_502", "http_503", "http_504"})


@dataclasses.dataclass(frozen=True, slots=True)
class FrontierRules:
    """What a crawl of pages may reach: part of the identity of the stage."""

    scope: str = "seeds"                   # seeds: only the sites (registrable domains) of the seeds; any: everywhere
    max_depth: int = 20                    # links from a seed
    max_pages_per_site_round: int = 2_000
    max_pages_per_site: int = 20_000       # over all rounds
    traps: TrapRules = dataclasses.field(default_factory=TrapRules)
    schedule: ScheduleRules = dataclasses.field(default_factory=ScheduleRules)
    follow_nofollow: bool = False          # follow links of rel=nofollow and of pages with robots nofollow
    retries: int = 2                       # later rounds that try a passing fault again
    order_seed: int = 0                    # part of the order of a fetch list

    def __post_init__(self) -> None:
        if self.scope not in ("seeds", "any"):
            raise ValueError(f"scope is {self.scope!r}; it is 'seeds' or 'any'")
        for name in ("max_pages_per_site_round", "max_pages_per_site"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("max_depth", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")


def held_back(entry: CrawlEntry, suppressed: Suppression) -> CrawlEntry:
    """Returns the entry as the suppress list leaves it: what is listed is neither fetched any more nor taken over."""
    listed = entry.status in (DUE, STANDS) and suppressed.names(entry.url)
    return dataclasses.replace(entry, status=SUPPRESSED, next_due="") if listed else entry


def telling_links(groups: Iterable[tuple[Link, ...]]) -> tuple[Link, ...]:
    """Returns the links that decide about their target: the shallowest that may be followed, the shallowest other.

    One of each kind of target.  Associative, so that the links to a page everybody links to need not meet in one place.
    """
    best: dict[tuple[bool, str], Link] = {}
    for link in (link for group in groups for link in group):
        known = best.get((link.nofollow, link.kind))
        if known is None or (link.depth, link.src_key) < (known.depth, known.src_key):
            best[link.nofollow, link.kind] = link
    return tuple(best[which] for which in sorted(best))


def first_arrival(groups: Iterable[tuple[FetchLog, ...]]) -> tuple[FetchLog, ...]:
    """Returns the shallowest of the logs that were redirected to one URL, ties by key."""
    return tuple(sorted((log for group in groups for log in group), key=lambda log: (log.depth, log.url_key))[:1])


def is_passing(outcome: str) -> bool:
    """Returns whether an outcome may be another one in a later round.

    >>> is_passing("http_503"), is_passing("deferred_budget"), is_passing("http_404")
    (True, True, False)
    >>> is_passing("dns_failure"), is_passing("dns_error")         # no answer; no such name
    (True, False)
    """
    return outcome in _PASSING or is_deferred(outcome)


def is_deferred(outcome: str) -> bool:
    """Returns whether an outcome says that nothing was decided: the URL is due again, without end for our own limit."""
    return outcome.startswith("deferred_")


def seed_entry(url: str) -> CrawlEntry:
    """Returns the entry of a seed, a normalised URL."""
    return CrawlEntry(url_key=urls.url_key(url), url=url, kind="page", depth=0, status=DUE, retries=0,
                      discovered_round=0, last_round=-1)


def refuse(url: str, depth: int, rules: FrontierRules, sites: frozenset[str]) -> str | None:
    """Returns why a discovered URL is not to be crawled, or None if it is.

    Args:
        sites: the sites of the seeds.
    """
    if rules.scope == "seeds" and urls.site(url) not in sites:
        return "out_of_scope"
    if depth > rules.max_depth:
        return "too_deep"
    return fault_of(url, rules.traps)


def update(entry: CrawlEntry | None, asked: Sequence[FetchRow], logs: Sequence[FetchLog], links: Sequence[Link],
           arrivals: Sequence[FetchLog], rules: FrontierRules, sites: frozenset[str], round_number: int,
           content: str = "") -> CrawlEntry:
    """Returns what the crawl knows of one URL after a round.

    Args:
        entry: what it knew before; None for a URL seen for the first time.
        asked: the URL's rows of the round's fetch list.
        logs: the URL's rows of the round's fetch log.
        links: links to the URL found in the round, those without `nofollow` and those with.
        arrivals: logs of other URLs that were redirected here and are ok.
        round_number: of the round that is folded in.
        content: fingerprint of the page that the URL gave in this round, "" where it gave none.

    Raises AssertionError when list and log of the round do not answer each other one to one.
    """
    if len(asked) > 1 or len(asked) != len(logs) or (asked and entry is None):
        key = (asked or logs)[0].url_key
        raise AssertionError(f"round {round_number}, {key}: {len(asked)} rows in the fetch list, {len(logs)} in the "
                             f"log, {'an' if entry else 'no'} entry in crawldb")
    if entry is None:
        return _discovered(links, arrivals, rules, sites, round_number)
    depth = min([entry.depth, *(link.depth for link in links)])
    if logs:
        after = _fetched(dataclasses.replace(entry, depth=depth, last_round=round_number,
                                             content=content or entry.content), logs[0].outcome, rules)
        return after if after.status == DUE else scheduled(entry, after, logs[0], content, rules.schedule)
    if entry.status in (DUE, REACHED) and arrivals:
        return dataclasses.replace(entry, depth=depth, status=REACHED, last_round=round_number, next_due="")
    if entry.status in (NOFOLLOW, "too_deep") and links:
        # A shorter way, or one that may be followed, opens what was closed.
        found = _discovered(links, (), rules, sites, round_number)
        if found.status == DUE:
            return dataclasses.replace(found, discovered_round=entry.discovered_round)
    return dataclasses.replace(entry, depth=depth)


def _fetched(entry: CrawlEntry, outcome: str, rules: FrontierRules) -> CrawlEntry:
    if outcome == _OUR_LIMIT:
        return dataclasses.replace(entry, status=DUE)
    if is_passing(outcome) and entry.retries < rules.retries:
        return dataclasses.replace(entry, status=DUE, retries=entry.retries + 1)
    return dataclasses.replace(entry, status=outcome)


def _discovered(links: Sequence[Link], arrivals: Sequence[FetchLog], rules: FrontierRules, sites: frozenset[str],
                round_number: int) -> CrawlEntry:
    followed = [link for link in links if rules.follow_nofollow or not link.nofollow]
    url = arrivals[0].final_url if arrivals else links[0].dst_url
    depth = min([link.depth for link in followed or links] + [log.depth + 1 for log in arrivals])
    if arrivals:
        status = REACHED
    elif not followed:
        status = NOFOLLOW
    else:
        status = refuse(url, depth, rules, sites) or DUE
    kind = "sitemap" if not arrivals and any(link.kind == "sitemap" for link in followed) else "page"
    return CrawlEntry(url_key=urls.url_key(url), url=url, kind=kind, depth=depth, status=status, retries=0,
                      discovered_round=round_number + 1, last_round=round_number if arrivals else -1)


@dataclasses.dataclass(frozen=True, slots=True)
class Waiting:
    """A due URL on its way into a fetch list; the order is that of the fields."""

    depth: int
    order_key: str
    entry: CrawlEntry

    def __lt__(self, other: Waiting) -> bool:
        return (self.depth, self.order_key) < (other.depth, other.order_key)


def waiting(entry: CrawlEntry, rules: FrontierRules) -> Waiting:
    """Returns a due entry with its place in the order: shallow pages first, then by hash."""
    return Waiting(*place_of(entry, rules), entry)


def place_of(entry: CrawlEntry, rules: FrontierRules) -> Place:
    """Returns where an entry stands among those that wait: its depth and its order key."""
    return entry.depth, order_key(entry.url_key, rules.order_seed)


def order_key(url_key: str, order_seed: int) -> str:
    """Returns the key that orders a fetch list: hosts interleave, and every run has the same order."""
    return hashlib.sha256(f"{order_seed} {url_key}".encode()).hexdigest()[:32]


@dataclasses.dataclass(slots=True)
class Quota:
    """The first due entries of a group, at most `per_round`.

    An accumulator of bounded size: it may be filled in pieces and merged in any order.
    """

    per_round: int
    due: list[Waiting] = dataclasses.field(default_factory=list)

    def add(self, entry: CrawlEntry, rules: FrontierRules) -> None:
        """Takes a due entry in."""
        self.due.append(waiting(entry, rules))
        if len(self.due) > 4 * self.per_round:
            self._prune()

    def merge(self, other: Quota) -> None:
        """Takes another accumulator in."""
        self.due += other.due
        self._prune()

    def selected(self) -> list[CrawlEntry]:
        """Returns what may be fetched now, in order."""
        return [item.entry for item in heapq.nsmallest(self.per_round, self.due)]

    def _prune(self) -> None:
        self.due = heapq.nsmallest(self.per_round, self.due)


def fetch_row(entry: CrawlEntry, shards: int, rules: FrontierRules) -> FetchRow:
    """Returns the row of the fetch list; all URLs of one politeness key fall into one shard."""
    key = urls.politeness_key(entry.url)
    return FetchRow(order_key=order_key(entry.url_key, rules.order_seed), url_key=entry.url_key, url=entry.url,
                    kind=entry.kind, depth=entry.depth, politeness_key=key, shard=shard_of(key, shards))


def image_row(wanted: ImageFetch, shards: int, rules: FrontierRules) -> FetchRow:
    """Returns the row of the fetch list of an image URL."""
    key = urls.politeness_key(wanted.url)
    return FetchRow(order_key=order_key(wanted.url_key, rules.order_seed), url_key=wanted.url_key, url=wanted.url,
                    kind="image", depth=0, politeness_key=key, shard=shard_of(key, shards))


def shard_of(politeness_key: str, shards: int) -> int:
    """Returns the fetch shard of a politeness key: one server, one shard, so that one place keeps the pace."""
    return stable_hash(politeness_key) % shards
