"""Content-Encoding undone under caps: no answer, however small, makes us hold more than it may (S6).

libcurl's and every other client's own decoding is off; bytes are counted here, while they come out.
"""
from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator

import brotli

_CHUNK = 1 << 16
_RATIO_FREE = 1 << 20              # bytes that may come out before the ratio counts
_MAX_STACKED = 2
_GZIP_MAGIC = b"\x1f\x8b"


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A body without its Content-Encoding."""

    body: bytes
    outcome: str                   # ok, bomb, bad_encoding
    truncated: bool                # the input ended early, or the output reached its cap


class _Malformed(Exception):
    """The bytes are not what the header calls them."""


def decode(data: bytes, encoding: str, max_bytes: int, max_ratio: int) -> Decoded:
    """Returns the body of an answer with the Content-Encoding header `encoding`, at most `max_bytes` long.

    A body over `max_bytes` is cut and marked; one that grows more than `max_ratio`-fold after its first MiB is `bomb`;
    an unknown coding, more than two of them, or bytes that do not decode are `bad_encoding`.  Input that ends early
    keeps what came, marked; bytes after the end of the stream are ignored.
    """
    codings = [name.strip().lower() for name in encoding.split(",")]
    codings = [name for name in codings if name not in ("", "identity")]
    if len(codings) > _MAX_STACKED or any(name not in _DECODERS for name in codings):
        return Decoded(b"", "bad_encoding", False)
    truncated = False
    for coding in reversed(codings):                  # RFC 9110, section 8.4: listed in the order applied
        pieces: list[bytes] = []
        total = 0
        complete = False
        try:
            for consumed, piece, ended in _DECODERS[coding](data):
                complete = ended
                pieces.append(piece)
                total += len(piece)
                if total > _RATIO_FREE and total > max_ratio * consumed:
                    return Decoded(b"", "bomb", False)
                if total > max_bytes:
                    break
        except _Malformed:
            if not total:
                return Decoded(b"", "bad_encoding", False)
        truncated = truncated or not complete or total > max_bytes
        data = b"".join(pieces)[:max_bytes]
    return Decoded(data[:max_bytes], "ok", truncated or len(data) > max_bytes)


def _inflate(data: bytes, window: int) -> Iterator[tuple[int, bytes, bool]]:
    """Yields (bytes consumed, piece, whether the stream is complete); of gzip, member after member."""
    at = 0
    while True:
        stream = zlib.decompressobj(window)
        while not stream.eof:
            fed = stream.unconsumed_tail or data[at:at + _CHUNK]
            if not stream.unconsumed_tail:
                at += len(fed)
            try:
                piece = stream.decompress(fed, _CHUNK)
            except zlib.error as error:
                raise _Malformed(str(error)) from error
            if not fed and not piece:
                return                                # the input ends inside the stream
            yield at - len(stream.unconsumed_tail), piece, stream.eof
        at -= len(stream.unused_data)
        if window != 31 or data[at:at + 2] != _GZIP_MAGIC:
            return


def _gzip(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    return _inflate(data, 31)


def _deflate(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    """Yields pieces of zlib format, or of raw deflate, which some servers call the same."""
    is_zlib = len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
    return _inflate(data, 15 if is_zlib else -15)


def _brotli(data: bytes) -> Iterator[tuple[int, bytes, bool]]:
    stream = brotli.Decompressor()
    at = 0
    while not stream.is_finished():
        fed = b""
        if stream.can_accept_more_data():
            fed = data[at:at + _CHUNK]
            at += len(fed)
        try:
            piece = stream.process(fed, output_buffer_limit=_CHUNK)
        except brotli.error as error:
            raise _Malformed(str(error)) from error
        if not fed and not piece:
            return
        yield at, piece, stream.is_finished()


_DECODERS: dict[str, Callable[[bytes], Iterator[tuple[int, bytes, bool]]]] = {
    "gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "br": _brotli}
