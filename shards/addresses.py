"""Reads bytes by address: planned by (part, offset), neighbours in one read, a bounded number in flight, checked."""
from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import hashlib
from collections.abc import Iterator, Sequence

from crawl import storage
from crawl.errors import UsageError

# A gap this small is cheaper to read than to skip: a tar header and padding, or a rejected small image.
_GAP_BYTES = 64 << 10
_SPAN_BYTES = 4 << 20
# Images of one shard lie far apart, so that each is a read of its own: 64 in flight are 3,200 a second at 20 ms.
_IN_FLIGHT = 64
_BYTES_IN_FLIGHT = 64 << 20


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Bytes that were written once."""

    part: str                      # relative to the output root
    offset: int
    length: int
    sha256: str                    # hex


@dataclasses.dataclass(frozen=True, slots=True)
class Span:
    """One read, and which addresses it serves."""

    part: str
    offset: int
    length: int
    members: tuple[int, ...]       # positions in the list of addresses


def plan_reads(addresses: Sequence[Address], gap: int = _GAP_BYTES, limit: int = _SPAN_BYTES) -> list[Span]:
    """Returns the reads that serve all addresses, sorted by (part, offset).

    Neighbours at most `gap` bytes apart share a read of at most `limit` bytes; one larger address is a read by itself.

    >>> plan_reads([Address("a", 100, 5, ""), Address("a", 0, 90, "")])
    [Span(part='a', offset=0, length=105, members=(1, 0))]
    """
    spans: list[Span] = []
    for number in sorted(range(len(addresses)), key=lambda n: (addresses[n].part, addresses[n].offset, n)):
        address = addresses[number]
        end = address.offset + address.length
        last = spans[-1] if spans else None
        if last is not None and last.part == address.part and address.offset <= last.offset + last.length + gap:
            length = max(last.length, end - last.offset)
            if length <= limit:
                spans[-1] = Span(last.part, last.offset, length, (*last.members, number))
                continue
        spans.append(Span(address.part, address.offset, address.length, (number,)))
    return spans


def read_addresses(out: str, addresses: Sequence[Address]) -> Iterator[tuple[int, bytes]]:
    """Yields (position in the list, bytes) in the order of (part, offset), of an object store many reads ahead.

    Raises UsageError when a part is missing, too short, or its bytes are not those of the sha256.
    """
    if not storage.is_remote(out):             # the page cache reads ahead; threads would cost more than the reads
        for span in plan_reads(addresses):
            yield from _cut(out, addresses, span, _read(out, span))
        return
    waiting: collections.deque[tuple[Span, concurrent.futures.Future[bytes]]] = collections.deque()
    held = 0
    with concurrent.futures.ThreadPoolExecutor(_IN_FLIGHT, thread_name_prefix="addresses") as pool:
        for span in plan_reads(addresses):
            while waiting and (len(waiting) == _IN_FLIGHT or held + span.length > _BYTES_IN_FLIGHT):
                held -= waiting[0][0].length
                ready, future = waiting.popleft()
                yield from _cut(out, addresses, ready, future.result())
            held += span.length
            waiting.append((span, pool.submit(_read, out, span)))
        while waiting:
            ready, future = waiting.popleft()
            yield from _cut(out, addresses, ready, future.result())


def _read(out: str, span: Span) -> bytes:
    path = storage.join(out, span.part)
    try:
        return storage.read_range(path, span.offset, span.length)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: missing, and rows point into it; put it back or build its stage again") from error
    except EOFError as error:
        raise UsageError(f"{error}; put the whole part back or build its stage again") from error


def _cut(out: str, addresses: Sequence[Address], span: Span, data: bytes) -> Iterator[tuple[int, bytes]]:
    for number in span.members:
        address = addresses[number]
        start = address.offset - span.offset
        piece = data[start:start + address.length]
        if hashlib.sha256(piece).hexdigest() != address.sha256:
            raise UsageError(f"{storage.join(out, address.part)}: the {address.length} bytes at {address.offset} are "
                             f"not those with sha256 {address.sha256[:12]}...; put the part back or build its stage "
                             f"again")
        yield number, piece
