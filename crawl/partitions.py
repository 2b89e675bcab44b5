"""Who may dial whom: the politeness keys are divided among the fetch shards, and a shard dials what it holds.

A shard holds its own partition while it has rows for it.  When a redirect leads to a server of another partition, the
shard takes that one too, when it is free, for as long as the hop needs.  So a server is asked from one place at a time,
however many shards there are.  Who takes a partition waits the full delay of every server in it first; what servers
asked the holder before for (a Crawl-delay, a Retry-After) stands in the lease, from every renewal and the release.

Nobody waits for a partition while holding the only thing another needs: `take` tries and returns.
"""
from __future__ import annotations

import contextlib
import functools
import heapq
import time
import types
from collections.abc import Callable, Mapping

from crawl.address_groups import shard_of_server
from crawl.lease import Lease, LeaseLost

Pauses = dict[str, tuple[float, float]]     # politeness key -> seconds to leave it alone, its Crawl-delay

_TRY_S = 1.0                       # between two tries of one partition
_MOST_NOTED = 10_000               # servers in one lease, those with the longest pauses
_NO_PAUSE = (0.0, 0.0)
_NO_ADDRESSES: Mapping[str, str] = types.MappingProxyType({})


class Partitions:
    """The partitions that one worker holds; without `leases` it holds everything, for ever."""

    def __init__(self, own: int = 0, count: int = 1, leases: Callable[[int], Lease] | None = None,
                 clock: Callable[[], float] = time.monotonic, addresses: Mapping[str, str] = _NO_ADDRESSES) -> None:
        """Args:
            own: of the worker's fetch list.
            count: how many there are.
            leases: makes that of a partition.
            addresses: politeness key -> address, of servers that the fetch lists grouped.
        """
        self.pauses_of: Callable[[int], Pauses] = lambda number: {}     # of the servers that were asked from here
        self.own = own
        self._count = count
        self._make = leases
        self._clock = clock
        self._addresses = addresses
        self._leases: dict[int, Lease] = {}
        self._since: dict[int, float] = {}
        self._next_try: dict[int, float] = {}

    def of(self, key: str) -> int:
        """Returns the partition of a politeness key."""
        return shard_of_server(key, self._count, self._addresses) if self._count > 1 else self.own

    def is_held(self, number: int) -> bool:
        """Returns whether servers of a partition may be queued for dialling."""
        return self._make is None or number in self._since

    def held(self) -> list[int]:
        """Returns the partitions that are held."""
        return list(self._since)

    def since(self, number: int) -> float | None:
        """Returns when a partition was taken, on the clock given; None where there is nobody to take it from."""
        return self._since.get(number)

    def left_s(self, number: int) -> float:
        """Returns for how many seconds a partition is certainly ours: a request must end within them."""
        if self._make is None:
            return float("inf")
        return self._leases[number].left_s() if number in self._since else 0.0

    def take(self, number: int) -> bool:
        """Returns whether a partition is held, after a try to take it if it is time for one."""
        if self.is_held(number):
            return True
        now = self._clock()
        if now < self._next_try.get(number, 0.0):
            return False
        self._next_try[number] = now + _TRY_S
        assert self._make is not None
        lease = self._leases.get(number) or self._make(number)
        lease.note_now = functools.partial(self._note, number)
        self._leases[number] = lease
        with contextlib.suppress(OSError):                 # the storage is out of reach: tried again
            if lease.take():
                self._since[number] = self._clock()
        return number in self._since

    def keep(self) -> list[int]:
        """Renews what is held; returns what has been lost."""
        lost = []
        for number in self.held():
            try:
                self._leases[number].keep()
            except LeaseLost:
                del self._since[number]
                lost.append(number)
        return lost

    def pause_of(self, number: int, key: str) -> tuple[float, float]:
        """Returns what the holder before knew of a server: seconds to leave it alone from `since` on, Crawl-delay."""
        lease = self._leases.get(number)
        pause_s, crawl_delay_s = lease.note.get(key, _NO_PAUSE) if lease else _NO_PAUSE
        return pause_s, crawl_delay_s

    def drop(self, number: int) -> None:
        """Gives a partition back."""
        if number in self._since:
            self._leases[number].release()
            del self._since[number]

    def _note(self, number: int) -> dict[str, list[float]]:
        """Returns what the next holder should know: our own servers, and what was handed to us of the others."""
        passed = self._clock() - self._since[number] if number in self._since else 0.0
        pauses = {key: (max(0.0, pause_s - passed), crawl_delay_s)
                  for key, (pause_s, crawl_delay_s) in self._leases[number].note.items()}
        pauses |= self.pauses_of(number)
        longest = heapq.nlargest(_MOST_NOTED, ((max(pause), key) for key, pause in pauses.items() if max(pause) > 0))
        return {key: [round(seconds, 3) for seconds in pauses[key]] for _, key in sorted(longest)}

    def close(self) -> None:
        """Gives everything back."""
        for number in self.held():
            self.drop(number)
