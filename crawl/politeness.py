"""Who may be asked next, and when: one request at a time per politeness key, and a pause after each.

The clock is a number handed in, so a test runs a day of waiting in no time and the same calls give the same order.
"""
from __future__ import annotations

import collections
import dataclasses
import heapq
import math
from typing import Generic, TypeVar

from crawl.policy import FetchPolicy, Network

T = TypeVar("T")

_GOOD_IN_A_ROW = 10                # good answers before a raised delay falls again
_MAX_BACK_OFF = 64.0
_MAX_ALLOWED_BACK_OFF = 4.0        # on hosts whose pace the operator set


@dataclasses.dataclass(frozen=True, slots=True)
class Pace:
    """The pauses of one kind of traffic: what we choose, never less than what a host asks."""

    own_s: float                   # our default between two requests to one key
    latency_factor: float          # of the last latency, at least this many times
    cap_s: float                   # most that our own part may become

    def delay(self, crawl_delay_s: float, latency_s: float, back_off: float) -> float:
        """Returns the seconds from the end of one request to the start of the next (R-20)."""
        own = max(self.own_s, self.latency_factor * latency_s) * back_off
        return max(min(own, max(self.cap_s, self.own_s)), crawl_delay_s)


def pace_of(kind: str, policy: FetchPolicy, network: Network, is_allowed: bool, key: str) -> Pace:
    """Returns the pace for pages or images of a politeness key.

    What its operator allowed us (`host_rates`) replaces our own part, and so does `min_delay_s` on hosts that our own
    operator opened.
    """
    rate = network.host_rate(key)
    if rate is not None:
        return Pace(1.0 / rate, 0.0, policy.max_own_delay_s)
    if is_allowed and network.min_delay_s is not None:
        return Pace(network.min_delay_s, 0.0, min(policy.max_own_delay_s, _MAX_ALLOWED_BACK_OFF * network.min_delay_s))
    if kind == "image":
        return Pace(1.0 / policy.image_rate_per_s, 0.0, policy.max_own_delay_s)
    return Pace(policy.page_delay_s, policy.latency_factor, policy.max_own_delay_s)


class _Key(Generic[T]):
    __slots__ = ("asked_at", "back_off", "busy", "crawl_delay_s", "failures", "good", "next_ok", "pace", "suspended",
                 "tasks")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.tasks: collections.deque[T] = collections.deque()
        self.busy = False
        self.next_ok = 0.0
        self.asked_at = -math.inf  # end of the last request
        self.crawl_delay_s = 0.0
        self.back_off = 1.0
        self.good = 0
        self.failures = 0          # in a row
        self.suspended = False


class Scheduler(Generic[T]):
    """Tasks in queues, one queue per politeness key, served by the time each may be served next."""

    def __init__(self, suspend_after: int) -> None:
        self._suspend_after = suspend_after
        self._keys: dict[str, _Key[T]] = {}
        self._heap: list[tuple[float, int, str]] = []       # keys with tasks and not busy
        self._count = 0                                      # breaks ties in the order of arrival
        self.waiting = 0                                     # tasks in queues

    def add(self, key: str, task: T, pace: Pace, *, first: bool = False, since: float | None = None,
            known_delay_s: float = 0.0, pause_s: float = 0.0) -> None:
        """Puts a task at the end, or the front, of its key's queue.

        Args:
            since: when we took over the key's server: another worker may have asked it a moment before, so the first
                request waits the full delay from then on.
            known_delay_s: a Crawl-delay that counts for this first wait.
            pause_s: at least so long is this first wait.
        """
        state = self._keys.get(key)
        if state is None:
            state = self._keys[key] = _Key(pace)
        if since is not None:
            wait = state.pace.delay(max(state.crawl_delay_s, known_delay_s), 0.0, state.back_off)
            state.next_ok = max(state.next_ok, since + max(wait, pause_s))
        if first:
            state.tasks.appendleft(task)
        else:
            state.tasks.append(task)
        self.waiting += 1
        if len(state.tasks) == 1 and not state.busy:
            self._push(key, state)

    def take(self, now: float) -> tuple[str, T] | None:
        """Returns a key that may be asked now and its next task, and keeps the key for it; None when none may."""
        while self._heap and self._heap[0][0] <= now:
            _, _, key = heapq.heappop(self._heap)
            state = self._keys[key]
            if state.next_ok > now:              # put off after it was queued
                self._push(key, state)
                continue
            state.busy = True
            self.waiting -= 1
            return key, state.tasks.popleft()
        return None

    def next_time(self) -> float:
        """Returns when the next key may be asked, infinity when no task waits for time."""
        return self._heap[0][0] if self._heap else float("inf")

    def give_back(self, key: str) -> None:
        """Frees a key whose task needed no request: the next one may go at once."""
        self._free(key, self._keys[key])

    def put_off(self, key: str, until: float) -> None:
        """Frees a key whose task was not asked for, and may be only later."""
        state = self._keys[key]
        state.next_ok = max(state.next_ok, until)
        self._free(key, state)

    def answered(self, key: str, now: float, latency_s: float, *, good: bool, counts: bool,
                 slow: bool = False, retry_after_s: float = 0.0) -> None:
        """Frees a key after a request: sets its pause, raises or lowers its back-off, suspends it after many failures.

        `counts` is whether a failure counts towards the suspension (a second try of the same URL does not); a `slow`
        answer is no failure, and raises the back-off as one.
        """
        state = self._keys[key]
        if good:
            state.failures = 0
        if good and not slow:
            state.good += 1
            if state.good >= _GOOD_IN_A_ROW and state.back_off > 1.0:
                state.back_off, state.good = max(1.0, state.back_off / 1.5), 0
        else:
            state.good = 0
            state.back_off = min(_MAX_BACK_OFF, state.back_off * 2)
            state.failures += counts and not good
            state.suspended = state.suspended or state.failures >= self._suspend_after
        pause = max(state.pace.delay(state.crawl_delay_s, latency_s, state.back_off), retry_after_s)
        state.next_ok = max(state.next_ok, now + pause)
        state.asked_at = now
        self._free(key, state)

    def ask_for_delay(self, key: str, crawl_delay_s: float) -> None:
        """Obeys a Crawl-delay from the last request on; of several authorities of one key the longest counts."""
        state = self._keys[key]
        state.crawl_delay_s = max(state.crawl_delay_s, crawl_delay_s)
        state.next_ok = max(state.next_ok, state.asked_at + state.crawl_delay_s)

    def pauses(self, now: float) -> dict[str, tuple[float, float]]:
        """Returns what each key is owed: the seconds to leave it alone from now on, and its Crawl-delay."""
        return {key: (max(0.0, state.next_ok - now), state.crawl_delay_s) for key, state in self._keys.items()
                if state.next_ok > now or state.crawl_delay_s}

    def known(self) -> list[str]:
        """Returns every key that was ever added."""
        return list(self._keys)

    def is_late(self, key: str, deadline: float) -> bool:
        """Returns whether a key may be asked again only after the deadline."""
        return key in self._keys and self._keys[key].next_ok > deadline

    def suspend(self, key: str) -> None:
        """Stops asking a key."""
        self._keys[key].suspended = True

    def is_suspended(self, key: str) -> bool:
        """Returns whether a key is not to be asked any more."""
        return key in self._keys and self._keys[key].suspended

    def drain(self, key: str | None = None) -> list[T]:
        """Returns and removes the waiting tasks of a key, or of all."""
        taken: list[T] = []
        for name in [key] if key is not None else list(self._keys):
            taken += self._keys[name].tasks
            self._keys[name].tasks.clear()
        self.waiting -= len(taken)
        self._heap = [entry for entry in self._heap if self._keys[entry[2]].tasks]
        heapq.heapify(self._heap)
        return taken

    def _free(self, key: str, state: _Key[T]) -> None:
        state.busy = False
        if state.tasks:
            self._push(key, state)

    def _push(self, key: str, state: _Key[T]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (state.next_ok, self._count, key))
