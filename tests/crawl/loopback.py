"""A small web of many names on one loopback port: what the fetch tests fetch from."""
from __future__ import annotations

import contextlib
import http.server
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from crawl import tables, urls
from crawl.policy import FetchPolicy, Network
from crawl.records import FetchRow

PAGE = b"<!doctype html><title>t</title><p>A page."
SITE_FILES = ("/robots.txt", "/.well-known/tdmrep.json", "/ai.txt")


class Web:
    """Answers by (host, path); what is not registered is a page, a site's own files are 404. Knows who came when."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Callable[[Any], None]] = {}
        self.log: list[tuple[float, str, str]] = []       # when it was asked, host, path
        self.headers: list[dict[str, str]] = []
        self.port = 0

    def on(self, url: str, status: int = 200, body: bytes = PAGE, headers: dict[str, str] | None = None) -> None:
        fields = {"Content-Type": "text/html", "Content-Length": str(len(body))} | (headers or {})

        def answer(handler: Any) -> None:
            handler.send_response(status)
            for name, value in fields.items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(body)
        self.call(url, answer)

    def versioned(self, url: str, body: bytes, headers: dict[str, str], later: dict[str, str] | None = None) -> None:
        """A page with validators: a 304 with the headers `later` to who holds what it is now."""
        fields = {"Content-Type": "text/html", "Content-Length": str(len(body))} | headers

        def answer(handler: Any) -> None:
            held = [handler.headers.get(name) for name in ("If-None-Match", "If-Modified-Since")]
            now = [headers.get(name) for name in ("ETag", "Last-Modified")]
            same = held[0] == now[0] if held[0] else held[1] is not None and held[1] == now[1]
            handler.send_response(304 if same else 200)
            for name, value in ({name: headers[name] for name in ("ETag", "Last-Modified") if name in headers}
                                | (later or {}) if same else fields).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(b"" if same else body)
        self.call(url, answer)

    def call(self, url: str, answer: Callable[[Any], None]) -> None:
        self.answers[urls.host(url), urls.target(url)] = answer

    def every(self, host: str, page: Callable[[str], bytes]) -> None:
        """Every path of a host is a page, `page(path)`, but for what a site says of itself."""
        def answer(handler: Any) -> None:
            body = page(handler.path)
            handler.send_response(200)
            handler.send_header("Content-Type", "text/html; charset=utf-8")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        self.answers[host, ""] = answer

    def asked(self, host: str = "") -> list[str]:
        """Paths in the order they were asked for, without what a site says of itself."""
        return [path for _, name, path in sorted(self.log) if host in ("", name) and path not in SITE_FILES]

    def network(self, **more: Any) -> Network:
        return Network(**{"connect_to": (f"::127.0.0.1:{self.port}",), "allow_hosts": ("*.test",), "min_delay_s": 0.0}
                       | more)


@contextlib.contextmanager
def serving() -> Iterator[Web]:
    web = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True                 # or a body waits 40 ms for the acknowledgement of its headers

        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            web.log.append((time.monotonic(), host, self.path))
            web.headers.append(dict(self.headers.items()))
            missing = self.path in SITE_FILES
            found = web.answers.get((host, self.path)) or (None if missing else web.answers.get((host, "")))
            try:
                if found:
                    found(self)
                else:
                    self.send_response(404 if missing else 200)
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.send_header("Content-Length", str(len(PAGE)))
                    self.end_headers()
                    self.wfile.write(PAGE)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *args: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    web.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def quick(**changes: Any) -> FetchPolicy:
    """A policy with short deadlines."""
    return FetchPolicy(**{"connect_timeout_s": 2.0, "page_timeout_s": 2.0, "image_timeout_s": 2.0,
                          "robots_timeout_s": 2.0} | changes)


def row(url: str, kind: str = "page", shard: int = 7) -> FetchRow:
    normal = urls.normalize(url) or url
    key = urls.url_key(normal)
    return FetchRow(key, key, normal, kind, 0, urls.politeness_key(normal), shard)


def write_list(directory: str, given: list[str], kind: str = "page") -> str:
    entry = tables.write_table(directory, "list.parquet", FetchRow, [row(url, kind) for url in given])
    return f"{directory}/{entry.name}"
