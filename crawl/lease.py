"""A right that one worker at a time has, wherever the workers run: a small value that is replaced on condition.

    take()      tries once, never waits
    keep()      renews at a third of its life; raises LeaseLost when another worker has taken over
    confirm()   renews now: nobody else has had the lease since it was taken
    left_s()    how long it certainly lasts, on the holder's own clock

No clock of one machine is compared with that of another.  A holder counts the life from before its last renewal; who
wants the lease watches its version, and may replace it when it has not changed for that life and a tenth more *of his
own time*.  What this assumes: clocks of two machines run equally fast within a tenth, and go on while a machine sleeps
(CLOCK_BOOTTIME).  A virtual machine that is frozen together with its clock does not notice by `left_s`, but its next
`keep` or `confirm` does, for there the storage compares versions.  A holder that died on this machine (same boot, same
process namespace) is recognised at once.
"""
from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import os
import time
from collections.abc import Callable

from crawl import storage

_MARGIN = 1.1                      # of the life of a lease, before another may take it
_RENEW_AT = 2 / 3                  # of its life is left
_RETRY_S = 1.0                     # after the storage could not be reached

_log = logging.getLogger(__name__)


class LeaseLost(Exception):
    """Another worker holds the lease now: what is not committed is not ours to commit."""


def elapsed() -> float:
    """Returns seconds on a clock that never goes back and counts the time the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """What lies under the name of a lease."""

    holder: str                    # random, one for each Lease object
    is_held: bool                  # False after a release
    lasts_s: float
    nonce: str                     # random: no two values are equal
    machine: str                   # boot and process namespace, "" where they cannot be known
    pid: int
    born: str                      # start of that process in ticks since boot: pids come again
    note: dict[str, list[float]] = dataclasses.field(default_factory=dict)    # what the next holder should know

    def encode(self) -> bytes:
        """Returns the bytes to store."""
        return (json.dumps(dataclasses.asdict(self), sort_keys=True) + "\n").encode()

    @property
    def is_dead(self) -> bool:
        """Returns whether the holder was a process of this machine that has ended."""
        return self.machine != "" and self.machine == _machine() and _born(self.pid) != self.born


class Lease:
    """One worker's hold, or wish to hold, on a name."""

    def __init__(self, path: str, lasts_s: float, clock: Callable[[], float] = elapsed) -> None:
        """Args: path: where it lies, local or in an object store; lasts_s: its life without a renewal."""
        if lasts_s <= 0:
            raise ValueError(f"a lease lasts {lasts_s} s; it must be above 0")
        self.path = path
        self._lasts_s = lasts_s
        self.note: dict[str, list[float]] = {}               # of the holder before, once taken
        self.note_now: Callable[[], dict[str, list[float]]] = dict       # written with every renewal and the release
        self._clock = clock
        self._holder = os.urandom(8).hex()
        self._held: storage.Versioned | None = None
        self._until = 0.0
        self._retry_at = 0.0
        self._seen: tuple[storage.Versioned, float] | None = None     # of another holder, and since when

    @property
    def is_held(self) -> bool:
        """Returns whether we took it and have not released it or seen it lost; it may have run out."""
        return self._held is not None

    def left_s(self) -> float:
        """Returns the seconds for which nobody else can have it; 0 or less when there is no such time."""
        return self._until - self._clock() if self._held else 0.0

    def take(self) -> bool:
        """Tries to take the lease; returns whether we hold it.  Raises OSError when the storage cannot be reached."""
        if self._held:
            return True
        began = self._clock()
        found = storage.read_version(self.path)
        if found is not None and not self._is_free(found):
            return False
        self.note = _decode(found.data).note if found else {}
        self._held = storage.swap_bytes(self.path, self._record(True).encode(), found)
        self._until = began + self._lasts_s
        return self._held is not None

    def watch(self) -> None:
        """Looks at the lease without taking it, so that a later `take` knows how long it has not been renewed."""
        found = storage.read_version(self.path)
        if found is not None:
            self._is_free(found)

    def keep(self) -> None:
        """Renews the lease when a third of its life is over; a storage out of reach is asked again later.

        Raises LeaseLost.
        """
        now = self._clock()
        if self._held and (self._until - now > _RENEW_AT * self._lasts_s or now < self._retry_at):
            return
        try:
            self.confirm()
        except OSError as error:
            self._retry_at = now + _RETRY_S
            _log.warning("a lease is not renewed yet: %r", error)

    def confirm(self) -> None:
        """Renews the lease now; raises LeaseLost, or OSError when the storage cannot be reached."""
        if self._held is None:
            raise LeaseLost(f"{self.path} is not held")
        for _ in range(2):
            began = self._clock()
            renewed = storage.swap_bytes(self.path, self._record(True).encode(), self._held)
            if renewed is not None:
                self._held, self._until = renewed, began + self._lasts_s
                return
            found = storage.read_version(self.path)
            if found == self._held:
                raise OSError(f"{self.path}: another process is about to change it")
            if found is None or _decode(found.data).holder != self._holder:
                break
            self._held = found                 # a renewal of ours whose answer got lost: go on from it
        self._held = None
        raise LeaseLost(f"{self.path} was taken over by another worker")

    def release(self) -> None:
        """Gives the lease back, if we hold it; out of reach of the storage it runs out by itself."""
        if self._held:
            with contextlib.suppress(OSError):
                storage.swap_bytes(self.path, self._record(False).encode(), self._held)
        self._held = None

    def _is_free(self, found: storage.Versioned) -> bool:
        record = _decode(found.data)
        if not record.is_held or record.is_dead or record.holder == self._holder:
            return True
        now = self._clock()                    # after the look: the holder counts from before its renewal
        if self._seen is None or self._seen[0] != found:
            self._seen = found, now
        return now - self._seen[1] > _MARGIN * record.lasts_s

    def _record(self, is_held: bool) -> Record:
        return Record(self._holder, is_held, self._lasts_s, os.urandom(8).hex(), _machine(), os.getpid(),
                      _born(os.getpid()), self.note_now() if self._held else self.note)


def holder_of(path: str) -> str:
    """Returns who holds a lease, in words."""
    record = _read(path)
    if record is None or not record.is_held:
        return "nobody"
    return f"pid {record.pid}" + ("" if record.machine == _machine() else " of another machine")


def is_alive_here(path: str) -> bool:
    """Returns whether a lease is held by a process of this machine that runs (or is stopped)."""
    record = _read(path)
    return record is not None and record.is_held and record.machine == _machine() != "" and not record.is_dead


def _read(path: str) -> Record | None:
    found = storage.read_version(path)
    return _decode(found.data) if found else None


def _decode(data: bytes) -> Record:
    return Record(**json.loads(data))


@functools.cache
def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Returns when a process of this machine began, "" when there is none (or only its remains)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
