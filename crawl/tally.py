"""How far a fetch shard is, for whoever watches: counts, outcomes of this run, the busiest hosts of the moment."""
from __future__ import annotations

import collections
import time
from collections.abc import Callable

from crawl.dns import DnsCost

_EVERY_S = 0.2
_WINDOW = 2_000                    # URLs: the moment that "busiest" is about


class Tally:
    """Counts the rows of a shard as they end; memory does not grow with them."""

    def __init__(self, done: int, total: int, callback: Callable[[Tally], None] | None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Args: callback: called with this tally, at most about 5 times a second, and at the end."""
        self.done = done               # rows of the list, those of earlier runs too
        self.total = total
        self.outcomes: collections.Counter[str] = collections.Counter()
        self.names = DnsCost()
        self._callback = callback
        self._clock = clock
        self._recent: collections.deque[str] = collections.deque(maxlen=_WINDOW)
        self._next = 0.0

    def add(self, host: str, outcome: str) -> None:
        """Counts one row that ended."""
        self.done += 1
        self.outcomes[outcome] += 1
        self._recent.append(host)
        if self._callback and self._clock() >= self._next:
            self._callback(self)
            self._next = self._clock() + _EVERY_S

    def end(self) -> None:
        """Reports the last time."""
        if self._callback:
            self._callback(self)

    def busiest(self, most: int = 5) -> tuple[tuple[str, int], ...]:
        """Returns the hosts of the last URLs that ended, and how many of these were theirs; most first, ties by name.

        >>> tally = Tally(0, 3, None)
        >>> for host in ("b.test", "a.test", "b.test"):
        ...     tally.add(host, "ok")
        >>> tally.busiest()
        (('b.test', 2), ('a.test', 1))
        """
        counted = collections.Counter(self._recent)
        return tuple(sorted(counted.items(), key=lambda pair: (-pair[1], pair[0]))[:most])
