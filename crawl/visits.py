"""Rows of a fetch list -> how each ended: robots first, one request at a time per host, hop after hop, tries again.

Everything a row may pass through is here, and each row comes out exactly once; nothing is stored here.
"""
from __future__ import annotations

import collections
import dataclasses
import email.utils
import functools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from crawl import consent, permission, urls
from crawl.answers import NOT_YET, OK_STATUSES, REDIRECTS, Answer, Fetched, SiteAnswer, nothing
from crawl.dns import DnsCost
from crawl.fetch import Client
from crawl.partitions import Partitions, Pauses
from crawl.policy import FetchPolicy, Network, refusal
from crawl.politeness import Scheduler, pace_of
from crawl.records import DENY, NOT_DUE, NOT_MODIFIED, FetchRow, Host, Signal
from crawl.revalidate import NOT_MODIFIED_STATUS, conditions, is_about, merged_signals
from crawl.robots_access import Access, files_after, host_of, is_fresh, robots_url, with_file, without_file
from crawl.stages import recorded_time

_WINDOW = 10_000                   # rows in memory: enough that a slow host does not hold up the others
_HEARTBEAT_S = 0.5
_PARSED_RULES = 2_000              # authorities whose rules are kept ready to match: they take ten times their bytes
# Somebody else's trouble, perhaps over in a moment.
_FAULTS = frozenset({"timeout_total", "too_slow", "connect_error", "dns_error", "dns_failure", "tls_error",
                     "protocol_error", "disconnected"})
_PASSING_FAULTS = _FAULTS - {"dns_error", "tls_error"}
_PASSING_STATUSES = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclasses.dataclass(frozen=True, slots=True)
class Visit:
    """How one row of the fetch list ended."""

    row: FetchRow
    fetched: Fetched
    signals: tuple[Signal, ...]
    permission: str
    fetched_at: str
    conditions: tuple[str, ...] = ()       # header lines that the last hop was asked with
    robots_sha256: str = ""                # of the robots.txt that decided about the last hop


class _Task:
    """A row, or a file of an authority that comes before its rows, on its way."""

    __slots__ = ("answers", "attempts", "authority", "conditions", "first_url", "host", "last", "plain", "redirects",
                 "robots_sha256", "row", "signals", "spent_s", "url")

    def __init__(self, url: str, row: FetchRow | None, authority: str, host: Host | None = None,
                 answers: tuple[SiteAnswer, ...] = ()) -> None:
        self.first_url = url
        self.url = url                     # of the next hop
        self.row = row                     # None for a file of the site itself
        self.authority = authority         # whose file it is, "" for a row
        self.host = host                   # what is known when this is a file after robots.txt
        self.answers = answers             # for the files of the authority so far
        self.redirects: list[str] = []
        self.attempts = 0                  # failed ones
        self.spent_s = 0.0                 # over all hops of this attempt
        self.last: Fetched | None = None   # how the last attempt failed
        self.signals: tuple[Signal, ...] = ()
        self.robots_sha256 = ""            # of the file that decided about this hop
        self.plain = False                 # ask without conditions: a 304 spoke of something that we do not hold
        self.conditions: tuple[str, ...] = ()      # of the hop that is asked


class Visits:
    """Visits the rows of one shard."""

    def __init__(self, policy: FetchPolicy, network: Network, kind: str, known_hosts: Mapping[str, Host],
                 clock: Callable[[], float] = time.monotonic, *, rules_only: bool = False,
                 partitions: Partitions | None = None) -> None:
        """Args:
            rules_only: ask for rules alone; a row that may be fetched ends as `ok` without a request for it.
            partitions: which servers may be dialled from here; None for all of them.
        """
        self.names = DnsCost()             # what resolving cost so far
        self.new_hosts: list[Host] = []    # robots answers of this run, for the caller to take away
        self.new_answers: dict[str, tuple[SiteAnswer, ...]] = {}     # and what they were read from, by authority
        self._policy = policy
        self._network = network
        self._kind = kind
        self._known = known_hosts
        self._rules_only = rules_only
        self._clock = clock
        self._addresses = network.addresses()
        self._partitions = partitions or Partitions()
        self._aside: dict[int, collections.deque[_Task]] = {}    # partition that is not held -> tasks that need it
        self._load: collections.Counter[int] = collections.Counter()     # partition -> tasks queued or in flight
        self._partitions.pauses_of = self._pauses
        self._scheduler: Scheduler[_Task] = Scheduler(policy.suspend_after)
        self._hosts: dict[str, Host] = {}                    # authorities whose answers hold in this run
        self._access = functools.lru_cache(_PARSED_RULES)(functools.partial(Access, policy=policy))
        self._parked: dict[str, list[_Task]] = {}            # authority whose files are asked for -> rows
        self._finished: collections.deque[Visit] = collections.deque()
        self._open_rows = 0                # admitted and not yet yielded
        self._deadline = clock() + policy.shard_seconds
        self._known_delays: dict[str, float] = {}            # politeness key -> what a robots.txt asked for before
        for host in known_hosts.values():
            if host.crawl_delay_s:
                key = urls.politeness_key(host.authority)
                self._known_delays[key] = max(self._known_delays.get(key, 0.0), host.crawl_delay_s)

    def run(self, rows: Iterable[FetchRow]) -> Iterator[Visit | None]:
        """Yields a Visit for each row, in the order they end, and None now and then while it waits."""
        coming = iter(rows)
        with Client(self._policy, self._network, admit=self._ends_in_time) as client:
            self.names = client.resolver.cost
            more = True
            while more or self._open_rows:
                while more and self._open_rows < _WINDOW:
                    row = next(coming, None)
                    more = row is not None
                    if row is not None:
                        self._admit(row)
                self._hold_partitions(more)
                self._begin_what_may(client)
                while self._finished:
                    self._open_rows -= 1
                    yield self._finished.popleft()
                self._wait(client)
                yield None

    def _admit(self, row: FetchRow) -> None:
        self._open_rows += 1
        task = _Task(row.url, row, "")
        reason = NOT_DUE if row.standing else self._refusal(row.url)
        if reason:
            self._finish(task, reason)
        else:
            self._queue(task)

    def _refusal(self, url: str) -> str:
        return refusal(self._policy, self._addresses, url)

    def _ends_in_time(self, token: tuple[str, _Task], seconds: float) -> bool:
        """Returns whether a request that may take so long ends while its server is certainly ours."""
        return self._partitions.left_s(self._partitions.of(token[0])) > seconds

    def _hold_partitions(self, more: bool) -> None:
        """Takes the partitions that tasks wait for, when they are free; gives back those that nothing needs."""
        for number in self._partitions.keep():
            for key in self._scheduler.known():
                if self._partitions.of(key) == number:
                    for task in self._drain(key):
                        self._queue(task)                    # aside, until the partition is ours again
        for number in [number for number, tasks in self._aside.items() if tasks and self._partitions.take(number)]:
            for task in self._aside.pop(number):
                self._queue(task)
        for number in self._partitions.held():
            if not self._load[number] and not (more and number == self._partitions.own):
                self._partitions.drop(number)

    def _pauses(self, number: int) -> Pauses:
        return {key: pause for key, pause in self._scheduler.pauses(self._clock()).items()
                if self._partitions.of(key) == number}

    def _drain(self, key: str | None = None) -> list[_Task]:
        """Returns and removes the tasks that wait at a key, or at all."""
        tasks = self._scheduler.drain(key)
        self._load.subtract(self._partitions.of(urls.politeness_key(task.url)) for task in tasks)
        return tasks

    def _queue(self, task: _Task, *, first: bool = False) -> None:
        """Puts a task where its next hop's host is served, or ends it where that host is not served any more."""
        key = urls.politeness_key(task.url)
        number = self._partitions.of(key)
        if self._scheduler.is_suspended(key):
            self._give_up(task, "deferred_suspended")
        elif self._clock() >= self._deadline or self._scheduler.is_late(key, self._deadline):
            self._give_up(task, "deferred_budget")
        elif not self._partitions.is_held(number):
            waiting = self._aside.setdefault(number, collections.deque())
            (waiting.appendleft if first else waiting.append)(task)
        else:
            pace = pace_of(self._kind, self._policy, self._network, self._addresses.is_allowed(task.url), key)
            pause_s, crawl_delay_s = self._partitions.pause_of(number, key)
            self._scheduler.add(key, task, pace, first=first, since=self._partitions.since(number), pause_s=pause_s,
                                known_delay_s=self._known_delays.get(key, 0.0))
            self._scheduler.ask_for_delay(key, crawl_delay_s)
            self._load[number] += 1

    def _begin_what_may(self, client: Client) -> None:
        now = self._clock()
        if now >= self._deadline:
            for task in [*self._drain(), *(task for tasks in self._aside.values() for task in tasks)]:
                self._give_up(task, "deferred_budget")
            self._aside.clear()
            return
        while not client.is_full and (taken := self._scheduler.take(now)):
            key, task = taken
            number = self._partitions.of(key)
            kind = self._kind_of(task)
            seconds = max(0.001, self._total_s(kind) - task.spent_s)
            if task.row is not None and not self._may_ask(task):
                self._load[number] -= 1
                self._scheduler.give_back(key)
            else:
                task.conditions = () if task.row is None or task.plain else conditions(task.row.earlier, task.url)
                client.start(task.url, kind, seconds, (key, task), task.conditions)

    def _may_ask(self, task: _Task) -> bool:
        """Returns whether a row's next hop may be requested now; if not, it is ended or parked for its robots.txt."""
        authority = urls.authority(task.url)
        host = self._hosts.get(authority)
        if host is None:
            known = self._known.get(authority)
            if known is None or not is_fresh(known, recorded_time(), self._policy):
                asked = authority in self._parked
                self._parked.setdefault(authority, []).append(task)
                if not asked:
                    self._queue(_Task(robots_url(authority), None, authority), first=True)
                return False
            host = self._open(known)
        outcome, task.signals = self._access(host).ask(task.url)
        task.robots_sha256 = host.sha256 if host.robots == "ok" else ""
        if not outcome and self._rules_only:
            outcome = "ok"
        if outcome:
            self._finish(task, outcome)
        return not outcome

    def _open(self, host: Host) -> Host:
        self._hosts[host.authority] = host
        self._scheduler.ask_for_delay(urls.politeness_key(host.authority), host.crawl_delay_s)
        return host

    def _wait(self, client: Client) -> None:
        """Waits for the next answer or the next host that may be asked, and handles what came."""
        now = self._clock()
        until = _HEARTBEAT_S if client.is_full else min(self._scheduler.next_time() - now, _HEARTBEAT_S)
        if client.in_flight:
            for (key, task), answer in client.wait(until):
                self._answered(key, task, answer)
        elif (self._scheduler.waiting or any(self._aside.values())) and until > 0:
            time.sleep(until)

    def _answered(self, key: str, task: _Task, answer: Answer) -> None:
        self._load[self._partitions.of(key)] -= 1
        if answer.outcome == NOT_YET:
            self._scheduler.put_off(key, self._clock() + answer.seconds)
            self._queue(task, first=True)
            return
        task.spent_s += answer.seconds
        fault = answer.outcome in _FAULTS or answer.status == 429 or answer.status >= 500
        passing = answer.outcome in _PASSING_FAULTS or answer.outcome == "ok" and answer.status in _PASSING_STATUSES
        retry_after_s = _retry_after(answer)
        now = self._clock()
        self._scheduler.answered(key, now, answer.latency_s, good=not fault, counts=task.attempts == 0,
                                 slow=answer.latency_s > self._policy.slow_answer_s, retry_after_s=retry_after_s)
        if retry_after_s > self._policy.max_retry_after_s:
            self._scheduler.suspend(key)
        if passing and task.attempts < self._policy.retries:
            task.last = self._fetched(task, _outcome(answer), answer)
            task.attempts += 1
            task.spent_s = 0.0
            self._queue(task)
        elif answer.outcome == "ok" and answer.status in REDIRECTS and answer.location:
            self._follow(task, answer)
        elif answer.outcome == "ok" and answer.status == NOT_MODIFIED_STATUS and task.row and task.conditions:
            if is_about(task.row.earlier[0], answer):
                self._end(task, self._fetched(task, NOT_MODIFIED, answer))
            else:
                task.plain = True
                self._queue(task)
        else:
            self._end(task, self._fetched(task, _outcome(answer), answer))
        if self._scheduler.is_suspended(key):
            for waiting in self._drain(key):
                self._give_up(waiting, "deferred_suspended")
        elif self._scheduler.is_late(key, self._deadline):
            for waiting in self._drain(key):
                self._give_up(waiting, "deferred_budget")

    def _follow(self, task: _Task, answer: Answer) -> None:
        """Sends a task to where a redirect points, through every check again (S4, R-22)."""
        target = urls.normalize(answer.location, task.url)
        kind = self._kind_of(task)
        if target is None:
            reason = "bad_url"
        elif target == task.url or target in task.redirects:
            reason = "redirect_loop"
        elif len(task.redirects) >= self._policy.max_redirects:
            reason = "too_many_redirects"
        elif task.spent_s >= self._total_s(kind):
            reason = "timeout_total"
        else:
            reason = self._refusal(target)
        if reason or target is None:
            self._end(task, self._fetched(task, reason, answer))
        else:
            if task.row is None:
                task.answers += (SiteAnswer(recorded_time(), answer),)
            task.redirects.append(task.url)
            task.url = target
            self._queue(task, first=True)

    def _give_up(self, task: _Task, outcome: str) -> None:
        """Ends a task that is not asked for any more: as its last attempt failed, or as put off."""
        fetched = task.last or self._fetched(task, outcome, nothing(task.url, outcome))
        self._end(task, fetched)

    def _finish(self, task: _Task, outcome: str) -> None:
        self._end(task, self._fetched(task, outcome, nothing(task.url, outcome)))

    def _end(self, task: _Task, fetched: Fetched) -> None:
        """Ends a task: a row comes out, a file of an authority leads to the next or to the rows that waited for it."""
        if task.row is None:
            self._end_file(task, fetched)
            return
        signals = task.signals
        if fetched.outcome == "ok":
            signals += consent.from_headers(fetched.answer.headers, self._policy.tokens)
        elif fetched.outcome == NOT_MODIFIED:
            signals += merged_signals(task.row.earlier[0], fetched.answer, self._policy.tokens)
        # A sitemap's own noindex keeps it out of an index; the pages it names are asked for themselves.
        judged = fetched.outcome in ("ok", NOT_MODIFIED) and task.row.kind != "sitemap"
        if judged and permission.refusal(signals, consent.verdict(signals), self._policy.rules):
            fetched = dataclasses.replace(fetched, outcome="optout_header")
        refused = fetched.outcome.startswith("optout_")        # perhaps by the policy alone
        verdict = DENY if refused else consent.verdict(signals)
        self._finished.append(Visit(task.row, fetched, signals, verdict, recorded_time(), task.conditions,
                                    task.robots_sha256))

    def _end_file(self, task: _Task, fetched: Fetched) -> None:
        if task.host is None:
            host = host_of(task.authority, fetched, recorded_time(), self._policy, self._known.get(task.authority))
            self._scheduler.ask_for_delay(urls.politeness_key(task.authority), host.crawl_delay_s)
        else:
            host = with_file(task.host, task.first_url, fetched)
        if fetched.answer.status:
            task.answers += (SiteAnswer(recorded_time(), fetched.answer),)
        if not fetched.outcome.startswith("deferred_"):
            # robots.txt first, then the files that it lets us ask for, one after the other.
            for url in files_after(task.first_url, self._policy):
                outcome, _ = self._access(host).ask(url)
                if not outcome:
                    self._queue(_Task(url, None, task.authority, host, task.answers), first=True)
                    return
                host = without_file(host, url, outcome)
            first = task.answers[0].answer if task.answers else fetched.answer
            host = dataclasses.replace(host, address=first.ip)
            self.new_hosts.append(host)
            self.new_answers[host.authority] = task.answers
        self._open(host)
        for waiting in reversed(self._parked.pop(task.authority)):
            if self._may_ask(waiting):                  # one that is refused need not wait for its turn
                self._queue(waiting, first=True)

    def _fetched(self, task: _Task, outcome: str, answer: Answer) -> Fetched:
        return Fetched(url=task.first_url, outcome=outcome,
                       redirects=tuple(task.redirects), final_url=task.url, answer=answer)

    def _kind_of(self, task: _Task) -> str:
        if task.row is None:
            return "robots"
        return "sitemap" if task.row.kind == "sitemap" else self._kind

    def _total_s(self, kind: str) -> float:
        return {"page": self._policy.page_timeout_s, "sitemap": self._policy.page_timeout_s,
                "image": self._policy.image_timeout_s,
                "robots": self._policy.robots_timeout_s}[kind]


def _outcome(answer: Answer) -> str:
    if answer.outcome == "ok" and answer.status not in OK_STATUSES:
        return f"http_{answer.status}"
    return answer.outcome


def _retry_after(answer: Answer) -> float:
    """Returns the seconds a 429 or 503 asks us to stay away; a date is read against the answer's own Date."""
    value = answer.header("retry-after") if answer.status in (429, 503) else ""
    if value.isdecimal():                    # not isdigit(): "²" is a Latin-1 digit that no number is made of
        return float(value[:9])
    try:
        until = email.utils.parsedate_to_datetime(value)
        return max(0.0, (until - email.utils.parsedate_to_datetime(answer.header("date"))).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return 0.0
