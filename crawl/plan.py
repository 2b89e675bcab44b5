"""What would be fetched next, what would not and why, and how long it takes at least: the answer to `--dry-run`.

Pure rules over rows of fetch lists and over what hosts answered before; nobody is asked anything.
"""
from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Iterable, Mapping

from crawl import urls
from crawl.policy import FetchPolicy, Network, refusal
from crawl.politeness import pace_of
from crawl.records import NOT_DUE, FetchRow, Host
from crawl.robots_access import Access, files_after, is_fresh, robots_url

HOSTS_SHOWN = 20
EXAMPLES = 3
# Reasons of a plan beside the outcomes of a fetch.
FETCH, ASK_RULES_FIRST, ANSWERED = "fetch", "fetch_if_robots_allows", "answered_before"
_TO_ASK = frozenset({FETCH, ASK_RULES_FIRST})
_PARSED_RULES = 2_000


@dataclasses.dataclass(frozen=True, slots=True)
class Reason:
    """What would become of some URLs, the first few of them named."""

    name: str                      # fetch, fetch_if_robots_allows, or the outcome they would end with unasked
    count: int
    examples: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class HostTime:
    """How long one politeness key keeps a run busy, whatever the line and the server can do."""

    host: str                      # registrable domain, or host:port of an IP literal
    requests: int                  # URLs, and the rules of authorities that are not known
    delay_s: float                 # between two of them: our own pause or its Crawl-delay, the longer one
    seconds: float                 # requests * delay_s


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a run would do next."""

    stage: str                     # crawl, images
    what: str                      # a line for a person: which round, or why there is none
    reasons: tuple[Reason, ...]    # most first
    requests: int                  # URLs and rules of new authorities
    lower_bound_s: float           # max over hosts of n / rate
    hosts: tuple[HostTime, ...]    # those that set it, longest first, at most HOSTS_SHOWN
    beyond_budget: int             # requests that do not fit into `fetch.shard_seconds`: put off to a later round
    notes: tuple[str, ...] = ()

    @property
    def to_fetch(self) -> int:
        """Returns how many URLs would be asked for."""
        return sum(reason.count for reason in self.reasons if reason.name in _TO_ASK)


@dataclasses.dataclass(slots=True)
class _Key:
    delay_s: float
    requests: int = 0

    def time(self, name: str) -> HostTime:
        return HostTime(name, self.requests, self.delay_s, self.requests * self.delay_s)


class Planner:
    """Takes rows and reasons in, one at a time; memory grows with hosts, not with rows."""

    def __init__(self, kind: str, policy: FetchPolicy, network: Network, known: Mapping[str, Host], now: str) -> None:
        """Args: kind: page or image; known: authority -> what it answered; now: ISO 8601, for how long that holds."""
        self._kind, self._policy, self._network, self._now = kind, policy, network, now
        self._addresses = network.addresses()
        self._known = known
        self._access = functools.lru_cache(_PARSED_RULES)(functools.partial(Access, policy=policy))
        self._keys: dict[str, _Key] = {}
        self._new: set[str] = set()                          # authorities whose rules must be asked for
        self._counts: collections.Counter[str] = collections.Counter()
        self._examples: dict[str, list[str]] = {}

    def add(self, row: FetchRow) -> None:
        """Takes in a row of a fetch list that has no answer yet."""
        self.count(NOT_DUE if row.standing else self._judged(row), row.url)

    def count(self, reason: str, url: str) -> None:
        """Takes in a URL whose reason is known."""
        self._counts[reason] += 1
        shown = self._examples.setdefault(reason, [])
        shown.append(url)
        if len(shown) > EXAMPLES:                            # the smallest, so that the order of files does not matter
            shown.remove(max(shown))

    def plan(self, stage: str, what: str, notes: Iterable[str] = ()) -> Plan:
        """Returns the plan of everything taken in."""
        times = sorted((key.time(name) for name, key in self._keys.items()),
                       key=lambda time: (-time.seconds, time.host))
        budget = self._policy.shard_seconds
        beyond = sum(time.requests - int(budget / time.delay_s) for time in times if time.seconds > budget)
        return Plan(
            stage=stage, what=what, requests=sum(time.requests for time in times), beyond_budget=beyond,
            reasons=tuple(Reason(name, count, tuple(sorted(self._examples[name]))) for name, count in
                          sorted(self._counts.items(), key=lambda pair: (-pair[1], pair[0]))),
            lower_bound_s=times[0].seconds if times else 0.0, hosts=tuple(times[:HOSTS_SHOWN]), notes=tuple(notes))

    def _judged(self, row: FetchRow) -> str:
        refused = refusal(self._policy, self._addresses, row.url)
        if refused:
            return refused
        authority = urls.authority(row.url)
        host = self._known.get(authority)
        if host is not None and is_fresh(host, self._now, self._policy):
            outcome, _ = self._access(host).ask(row.url)
            if not outcome:
                key = self._key(row)
                key.requests += 1
                key.delay_s = max(key.delay_s, host.crawl_delay_s)
            return outcome or FETCH
        key = self._key(row)
        key.requests += 1
        if authority not in self._new:
            self._new.add(authority)
            key.requests += 1 + len(files_after(robots_url(authority), self._policy))
        return ASK_RULES_FIRST

    def _key(self, row: FetchRow) -> _Key:
        key = self._keys.get(row.politeness_key)
        if key is None:
            pace = pace_of(self._kind, self._policy, self._network, self._addresses.is_allowed(row.url),
                           row.politeness_key)
            key = self._keys[row.politeness_key] = _Key(pace.delay(0.0, 0.0, 1.0))
        return key
