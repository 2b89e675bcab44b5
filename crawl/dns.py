"""Names to addresses, as a step of its own: cached within bounds, a few at a time, each with a deadline and a cost.

The addresses found here are the ones that are checked and the one that is dialled (S2): libcurl resolves nothing.
c-ares asks the system's name servers and reads /etc/hosts; search domains are not tried, so that a name of a page
never becomes a name of the local network.
"""
from __future__ import annotations

import collections
import dataclasses
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any

import pycares

# The name does not exist or has no address; everything else is a resolver's trouble that may pass.
_NO_SUCH_NAME = frozenset({pycares.errno.ARES_ENOTFOUND, pycares.errno.ARES_ENODATA, pycares.errno.ARES_EBADNAME,
                           pycares.errno.ARES_ENONAME})
_NO_SEARCH = 1 << 5                # ARES_FLAG_NOSEARCH
_NEVER = (".invalid", ".onion")    # names that no server is to be asked for (RFC 6761, 6.4; RFC 7686)


@dataclasses.dataclass(frozen=True, slots=True)
class DnsLimits:
    """How names are resolved."""

    timeout_s: float = 10.0        # of one name, all its tries
    # c-ares waits for a try five times as long as the server's last answers took on average, at least 250 ms, and for
    # each further one twice as long: with two tries a name that takes 900 ms at a quick server never had its answer.
    first_s: float = 2.0           # of the first try while nothing is known of the server
    tries: int = 6
    under_way: int = 64            # lookups at once
    least_s: float = 60.0          # an answer is kept at least so long, whatever its TTL ...
    most_s: float = 3600.0         # ... and at most so long
    absent_s: float = 300.0        # that a name does not exist is kept so long
    failed_s: float = 30.0         # that its servers did not answer
    names: int = 20_000            # kept


@dataclasses.dataclass(frozen=True, slots=True)
class Lookup:
    """What became of one name."""

    addresses: tuple[str, ...]     # IPv4 first, in the order of the answer; empty with an outcome
    outcome: str                   # "", dns_error (no such name) or dns_failure (no answer, which may pass)
    seconds: float                 # 0 for one that was at hand


@dataclasses.dataclass(slots=True)
class DnsCost:
    """What resolving cost so far."""

    asked: int = 0                 # lookups that went out
    at_hand: int = 0               # answered from the cache
    failed: int = 0
    seconds: float = 0.0           # over all that went out

    def line(self) -> str:
        """Returns it as a person reads it; "" where no name was resolved.

        >>> DnsCost(asked=4, at_hand=12, failed=1, seconds=0.2).line()
        '16 names: 75 % at hand, 4 asked for in 50 ms each, 1 without an answer'
        """
        wanted = self.asked + self.at_hand
        if not wanted:
            return ""
        each = f" in {1000 * self.seconds / self.asked:.0f} ms each" if self.asked else ""
        failed = f", {self.failed:,} without an answer" if self.failed else ""
        return f"{wanted:,} names: {100 * self.at_hand / wanted:.0f} % at hand, {self.asked:,} asked for{each}{failed}"

    def __add__(self, other: DnsCost) -> DnsCost:
        """Returns the cost of both."""
        return DnsCost(self.asked + other.asked, self.at_hand + other.at_hand, self.failed + other.failed,
                       self.seconds + other.seconds)


Ask = Callable[[str, Callable[[Any, int | None], None]], None]


def open_channel(limits: DnsLimits, **server: Any) -> Any:
    """Returns what asks the system's name servers; `server` names others for tests (options of pycares.Channel)."""
    return pycares.Channel(timeout=limits.first_s, tries=limits.tries, flags=_NO_SEARCH, **server)


class Resolver:
    """Resolves names; `lookup` asks, `ended` gives what came."""

    def __init__(self, limits: DnsLimits = DnsLimits(), ask: Ask | None = None,     # noqa: B008, it is frozen
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Takes for tests what asks for a name: ask(name, callback(result, error))."""
        self.cost = DnsCost()
        self._limits = limits
        self._clock = clock
        self._channel: Any = None
        self._ask = ask or self._ask_system
        self._kept: collections.OrderedDict[str, tuple[float, Lookup]] = collections.OrderedDict()
        self._tokens: dict[str, list[Any]] = {}              # name that is asked for, or waits -> who wants it
        self._waiting: collections.deque[str] = collections.deque()
        self._started: dict[str, float] = {}                 # in the order in which they began
        # c-ares calls back from a thread of its own: (name, when it was asked for, result, error).
        self._answers: queue.SimpleQueue[tuple[str, float, Any, int | None]] = queue.SimpleQueue()

    def close(self) -> None:
        """Gives up what is under way."""
        if self._channel is not None:
            self._channel.close()

    def lookup(self, name: str, token: Any) -> Lookup | None:
        """Returns what is known of a name; None when it has to be asked for, and then `ended` gives it with `token`."""
        kept = self._kept.get(name)
        if kept is not None and kept[0] > self._clock():
            self.cost.at_hand += 1
            return kept[1]
        if name in self._tokens:
            self._tokens[name].append(token)
        else:
            self._tokens[name] = [token]
            self._waiting.append(name)
            self._begin()
        return None

    @property
    def under_way(self) -> bool:
        """Returns whether an answer is to come."""
        return bool(self._tokens)

    def ended(self) -> Iterator[tuple[Any, Lookup]]:
        """Yields (token, what came) of every lookup that has ended since."""
        self._give_up()
        while True:
            try:
                name, started, result, error = self._answers.get_nowait()
            except queue.Empty:
                return
            if self._started.get(name) != started:             # it was given up
                continue
            del self._started[name]
            found, lifetime = self._read(result, error, self._clock() - started)
            self.cost.asked += 1
            self.cost.seconds += found.seconds
            self.cost.failed += found.outcome == "dns_failure"
            self._keep(name, found, lifetime)
            self._begin()
            for token in self._tokens.pop(name):
                yield token, found

    def _begin(self) -> None:
        while self._waiting and len(self._started) < self._limits.under_way:
            name, now = self._waiting.popleft(), self._clock()
            self._started[name] = now
            self._ask(name, lambda result, error, name=name, now=now: self._answers.put(       # type: ignore[misc]
                (name, now, result, error)))

    def _give_up(self) -> None:
        """Ends the lookups whose time is over, whatever c-ares still waits for."""
        latest = self._clock() - self._limits.timeout_s
        for name, started in self._started.items():
            if started > latest:
                return
            self._answers.put((name, started, None, pycares.errno.ARES_ETIMEOUT))

    def _ask_system(self, name: str, callback: Callable[[Any, int | None], None]) -> None:
        if name.endswith(_NEVER):
            callback(None, pycares.errno.ARES_ENOTFOUND)
            return
        if self._channel is None:
            self._channel = open_channel(self._limits)
        try:
            self._channel.getaddrinfo(name, None, type=1, callback=callback)       # SOCK_STREAM
        except (UnicodeError, ValueError):                                         # a label of more than 63 letters
            callback(None, pycares.errno.ARES_EBADNAME)

    def _read(self, result: Any, error: int | None, seconds: float) -> tuple[Lookup, float]:
        if error:
            absent = error in _NO_SUCH_NAME
            return (Lookup((), "dns_error" if absent else "dns_failure", seconds),
                    self._limits.absent_s if absent else self._limits.failed_s)
        # IPv4 first: a machine without a way to IPv6 would dial in vain.
        nodes = sorted(result.nodes, key=lambda node: len(node.addr) != 2)
        addresses = tuple(dict.fromkeys(node.addr[0].decode() for node in nodes))
        if not addresses:
            return Lookup((), "dns_error", seconds), self._limits.absent_s
        lifetime = min(node.ttl for node in nodes)
        return Lookup(addresses, "", seconds), min(max(lifetime, self._limits.least_s), self._limits.most_s)

    def _keep(self, name: str, found: Lookup, lifetime: float) -> None:
        self._kept[name] = (self._clock() + lifetime, dataclasses.replace(found, seconds=0.0))
        self._kept.move_to_end(name)
        if len(self._kept) > self._limits.names:
            self._kept.popitem(last=False)
