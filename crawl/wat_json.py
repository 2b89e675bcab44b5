"""The JSON value of a WAT record, typed: what is wanted of it becomes an object, and nothing else."""
from __future__ import annotations

from typing import Any

import msgspec


class Link(msgspec.Struct, gc=False):
    """One link of a page; None is what the page does not say."""

    path: str = ""
    url: str = ""
    alt: str | None = None
    title: str | None = None


class Head(msgspec.Struct, rename={"title": "Title", "base": "Base", "metas": "Metas"}):
    """What the head of a page says."""

    title: str = ""
    base: str = ""
    metas: list[dict[str, Any]] = []


class Html(msgspec.Struct, rename={"head": "Head", "links": "Links"}):
    """One page."""

    head: Head = msgspec.field(default_factory=Head)
    links: list[Link] = []


class _Message(msgspec.Struct, rename={"status": "Status"}):
    status: str = ""


class Http(msgspec.Struct, rename={"message": "Response-Message", "headers": "Headers", "html": "HTML-Metadata"}):
    """One answer."""

    message: _Message = msgspec.field(default_factory=_Message)
    headers: dict[str, Any] = {}
    html: Html | None = None


class _Payload(msgspec.Struct, rename={"http": "HTTP-Response-Metadata"}):
    http: Http | None = None


class Told(msgspec.Struct, rename={
        "kind": "WARC-Type", "target": "WARC-Target-URI", "date": "WARC-Date", "identity": "WARC-Record-ID",
        "truncated": "WARC-Truncated"}):
    """Fields of the WARC record that is told of; some writers give numbers."""

    kind: Any = ""
    target: Any = ""
    date: Any = ""
    identity: Any = ""
    truncated: Any = ""


class _Envelope(msgspec.Struct, rename={"told": "WARC-Header-Metadata", "payload": "Payload-Metadata"}):
    told: Told = msgspec.field(default_factory=Told)
    payload: _Payload = msgspec.field(default_factory=_Payload)


class _Gzip(msgspec.Struct, rename={"length": "Deflate-Length"}):
    length: Any = ""


class Container(msgspec.Struct, rename={"name": "Filename", "offset": "Offset", "gzip": "Gzip-Metadata"}):
    """Where the WARC record lies."""

    name: Any = ""
    offset: Any = ""
    gzip: _Gzip = msgspec.field(default_factory=_Gzip)


class Wat(msgspec.Struct, rename={"envelope": "Envelope", "container": "Container"}):
    """The whole value."""

    envelope: _Envelope
    container: Container = msgspec.field(default_factory=Container)


# It raises msgspec.MsgspecError, UnicodeError or RecursionError for what is no such value.
decode = msgspec.json.Decoder(Wat, strict=False).decode
