"""The report and a browser of samples over HTTP, for the person at this machine.

Only loopback is listened on, only GET is answered, and only for a Host that is loopback: a page of the web that
points its own name at 127.0.0.1 gets nothing.  No path of a request reaches a file: a sample is named by the number of
its shard and its key.
"""
from __future__ import annotations

import functools
import http.server
import io
import os
import socket
import urllib.parse
from collections.abc import Callable
from typing import Any

import numpy as np

from crawl import storage
from crawl.errors import UsageError
from shards import page
from shards.browse import Filters, page_of
from shards.inspect import Found, described, with_boxes
from shards.manifest import ShardSet
from shards.reader import open_shard

_IMAGE_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}
_POLICY = ("default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'self'; "
           "frame-ancestors 'none'")
Answer = tuple[int, str, bytes]    # status, content type, body


class Browser:
    """Answers paths with pages; knows nothing of sockets."""

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards

    def answer(self, target: str) -> Answer:
        """Returns the answer to the path and query of a request; 404 where there is nothing, 400 for a bad filter."""
        path, _, query = target.partition("?")
        asked = dict(urllib.parse.parse_qsl(query, max_num_fields=20))
        match path.split("/")[1:]:
            case [""]:
                return self._samples(asked)
            case ["report"]:
                return self._report()
            case ["sample", number, *key]:
                return self._told(number, key, lambda found: self._sample(int(number), found))
            case ["image", number, *key]:
                return self._told(number, key, lambda found: self._image(found, "boxes" in asked))
        return _plain(404, "nothing here; / lists the samples, /report is the report")

    def _samples(self, asked: dict[str, str]) -> Answer:
        try:
            filters = Filters.of(asked)
            found = page_of(self._shards, filters, asked.get("after", ""))
        except UsageError as error:
            return _plain(400, str(error))
        kept = {name: value for name, value in asked.items() if name != "after" and value}
        following = urllib.parse.urlencode(kept | {"after": found.after}) if found.after else ""
        splits = sorted({one.split for one in self._shards.shards})
        return _html(page.browse_page(tiles=found.tiles, filters=filters, following=following, shards=self._shards,
                                      splits=splits, samples=sum(map(self._shards.samples, splits))))

    def _report(self) -> Answer:
        try:
            return 200, "text/html; charset=utf-8", storage.read_bytes(self._shards.path("report.html"))
        except OSError:
            return _plain(404, "no report.html beside these shards; `imagebert shards report ROOT` writes it")

    def _told(self, number: str, key: list[str], tell: Callable[[Found], Answer]) -> Answer:
        try:
            found = self._find(number, urllib.parse.unquote("/".join(key)))
        except UsageError as error:        # a damaged shard
            return _plain(500, str(error))
        return tell(found) if found else _plain(404, "no such sample; it may have been removed")

    def _find(self, number: str, key: str) -> Found | None:
        if not (number.isascii() and number.isdecimal() and len(number) < 10
                and int(number) < len(self._shards.shards)):
            return None
        with open_shard(self._shards, self._shards.shards[int(number)]) as reader:
            rows = np.flatnonzero(reader.index["key"] == key.encode())
            if not len(rows):
                return None
            one = reader.sample(int(rows[0]))
            return Found(one.key, reader.shard, int(rows[0]), one.image, one.caption, one.json, one.regions)

    def _sample(self, number: int, found: Found) -> Answer:
        told = described(found)
        # In a tar of others these two may be anything; there they are shown as they stand.
        own = {name: told["provenance"].pop(name) for name in ("texts", "signals")} if self._shards.vocab else {}
        return _html(page.sample_page(number=number, sample=told, texts=own.get("texts", ()),
                                      signals=own.get("signals", ())))

    def _image(self, found: Found, boxes: bool) -> Answer:
        if not boxes or found.regions is None:
            return 200, _IMAGE_TYPES.get(found.shard.ext, "application/octet-stream"), found.image
        buffer = io.BytesIO()
        try:
            with_boxes(found.image, found.regions, found.class_names).save(buffer, "PNG")
        except UsageError as error:
            return _plain(404, str(error))
        return 200, "image/png", buffer.getvalue()


def server(shards: ShardSet, port: int) -> http.server.ThreadingHTTPServer:
    """Returns a server on 127.0.0.1, ready to serve; port 0 takes a free one.  Raises UsageError for a taken one."""
    browser = Browser(shards)
    try:
        return _Server(("127.0.0.1", port), functools.partial(_Handler, browser))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise UsageError(f"--port {port}: {why}; give another, or 0 for any free one") from error


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_INET


class _Handler(http.server.BaseHTTPRequestHandler):
    server_version, sys_version = "imagebert", ""
    protocol_version = "HTTP/1.1"
    timeout = 30

    def __init__(self, browser: Browser, *args: Any) -> None:
        self._browser = browser
        super().__init__(*args)

    def do_GET(self) -> None:      # noqa: N802, the name http.server calls
        """Answers one request."""
        name = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname
        if name in ("127.0.0.1", "localhost"):
            status, kind, body = self._browser.answer(self.path)
        else:
            status, kind, body = _plain(403, "ask for 127.0.0.1 or localhost")
        self.send_response(status)
        for header, value in (("Content-Type", kind), ("Content-Length", str(len(body))),
                              ("X-Content-Type-Options", "nosniff"), ("Content-Security-Policy", _POLICY),
                              ("Referrer-Policy", "no-referrer"), ("Cache-Control", "no-store")):
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:      # noqa: A002, its name in http.server
        """Says nothing: a page of sixty pictures would be sixty lines."""


def _html(text: str) -> Answer:
    return 200, "text/html; charset=utf-8", text.encode()


def _plain(status: int, text: str) -> Answer:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()
