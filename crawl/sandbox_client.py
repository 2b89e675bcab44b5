"""Hostile bytes in, answers or stable reasons out: work that may crash, hang or swell, done in a process of its own.

    with Sandbox("crawl.page_work:open_work", read) as box:
        for row, answer in box.map((row, header_of(row), body_of(row)) for row in rows):
            answer.reason      # "" or crashed, timeout, out_of_memory
            answer.result      # what `read` made of the child's answer, None with a reason

Answers come in the order of the items.  A few items are under way at a time, so that parent and child work side by
side.  When the child ends, the item it was at is tried once more, alone in a fresh child: only what fails alone is
blamed, so that an outcome does not depend on what came before it.
"""
from __future__ import annotations

import collections
import dataclasses
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from crawl.sandbox_process import Ended, SandboxProcess

K = TypeVar("K")
T = TypeVar("T")
_log = logging.getLogger(__name__)
# What reading an answer of the wrong form raises.
_NO_ANSWER = (ValueError, TypeError, KeyError, IndexError, AttributeError)


@dataclasses.dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a child may use; no setting of a stage, for good items never come near it."""

    memory: int = 1 << 30          # bytes of address space
    item_s: float = 10.0           # wall time of one item
    items: int = 10_000            # a child lives so long, in items: its memory stays the same over 10,000 pages
    bytes: int = 512 << 20         # and in bytes of input
    window: int = 4                # items under way
    window_bytes: int = 8 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What became of one item."""

    reason: str                    # "" with a result; crashed, timeout, out_of_memory
    result: T | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Item:
    key: Any
    header: bytes
    body: bytes


class Sandbox(Generic[T]):
    """A child for one kind of work, started when it is needed and replaced when it is old.  One thread at a time."""

    def __init__(self, work: str, read: Callable[[Any, bytes], T], settings: Any = None,
                 limits: SandboxLimits = SandboxLimits()) -> None:     # noqa: B008, it is frozen
        """Takes the name MODULE:FACTORY of the work, and what makes a result of the child's (value, body).

        `read` sees what hostile bytes may have made of the child: it raises ValueError, TypeError, KeyError or
        IndexError for what is no answer.
        """
        self._work = work
        self._read = read
        self._settings = settings
        self._limits = limits
        self._child: SandboxProcess | None = None

    def __enter__(self) -> Sandbox[T]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the child; the next item starts another."""
        if self._child is not None:
            self._child.kill()
            self._child = None

    def one(self, header: Any, body: bytes) -> Answer[T]:
        """Returns the answer to one item."""
        (_, answer), = list(self.map([(None, header, body)]))
        return answer

    def map(self, items: Iterable[tuple[K, Any, bytes]]) -> Iterator[tuple[K, Answer[T]]]:
        """Yields (key, answer) of each (key, header, body), in order; headers are JSON values, keys stay here."""
        source = iter(items)
        under_way: collections.deque[_Item] = collections.deque()
        exhausted = finished = False
        try:
            while True:
                while not exhausted and self._has_room(under_way):
                    found = next(source, None)
                    if found is None:
                        exhausted = True
                    else:
                        item = _Item(found[0], json.dumps(found[1]).encode(), found[2])
                        under_way.append(item)
                        self._living().send(item.header, item.body)
                if not under_way:
                    finished = True
                    return
                child = self._living()
                try:
                    answer = self._receive(child)
                except Ended as end:
                    # Of a fresh child it was the first item: nothing before it can be to blame.
                    answer = self._blamed(end) if not child.answered else self._alone(under_way[0])
                    self._send_again(list(under_way)[1:])
                yield under_way.popleft().key, answer
        finally:
            if not finished:               # the consumer left: answers nobody wants are under way
                self.close()

    def _has_room(self, under_way: collections.deque[_Item]) -> bool:
        if not under_way:
            child, limits = self._child, self._limits
            if child is not None and (child.sent >= limits.items or child.bytes_sent >= limits.bytes):
                self.close()
            return True
        child = self._living()
        return (len(under_way) < self._limits.window
                and sum(len(item.body) for item in under_way) < self._limits.window_bytes
                and child.sent < self._limits.items and child.bytes_sent < self._limits.bytes)

    def _living(self) -> SandboxProcess:
        if self._child is None:
            self._child = SandboxProcess(self._work, self._settings, self._limits.memory, self._limits.item_s)
        return self._child

    def _receive(self, child: SandboxProcess) -> Answer[T]:
        value, body = child.receive()
        try:
            return Answer("", self._read(value, body))
        except _NO_ANSWER as error:
            raise Ended("crashed", f"no answer of this work: {error!r}"[:512]) from error

    def _alone(self, item: _Item) -> Answer[T]:
        self.close()
        child = self._living()
        child.send(item.header, item.body)
        try:
            return self._receive(child)
        except Ended as end:
            return self._blamed(end)

    def _blamed(self, end: Ended) -> Answer[T]:
        _log.warning("sandbox %s: %s", self._work, str(end)[-1024:])
        self.close()
        return Answer(end.reason, None)

    def _send_again(self, items: Iterable[_Item]) -> None:
        for item in items:
            self._living().send(item.header, item.body)
