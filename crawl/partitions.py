"""Who may dial whom: the politeness keys are divided among the fetch shards, and a shard dials what it holds.

A shard holds its own partition while it has rows for it.  When a redirect leads to a server of another partition, the
shard takes that one too, when it is free, for as long as the hop needs.  So a server is asked from one place at a time,
however many shards there are, and who takes a partition waits the full delay of every server in it first.

Nobody waits for a partition while holding the only thing another needs: `take` tries and returns.
"""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from crawl.frontier import shard_of
from crawl.lease import Lease, LeaseLost

_TRY_S = 1.0                       # between two tries of one partition


class Partitions:
    """The partitions that one worker holds; without `leases` it holds everything, for ever."""

    def __init__(self, own: int = 0, count: int = 1, leases: Callable[[int], Lease] | None = None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Args: own: of the worker's fetch list; count: how many there are; leases: makes that of a partition."""
        self.own = own
        self._count = count
        self._make = leases
        self._clock = clock
        self._leases: dict[int, Lease] = {}
        self._since: dict[int, float] = {}
        self._next_try: dict[int, float] = {}

    def of(self, key: str) -> int:
        """Returns the partition of a politeness key."""
        return shard_of(key, self._count) if self._count > 1 else self.own

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

    def drop(self, number: int) -> None:
        """Gives a partition back."""
        if number in self._since:
            del self._since[number]
            self._leases[number].release()

    def close(self) -> None:
        """Gives everything back."""
        for number in self.held():
            self.drop(number)
