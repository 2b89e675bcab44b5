"""Serves a synthetic web on loopback: HTTP and TLS, keep-alive, one thread a connection, drawing in other processes."""
from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import multiprocessing
import socket
import ssl
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import IO, Any, NamedTuple

import trustme

from demo.answers import DRIP_PIECES, DRIP_S, RETRY_AFTER_S, SLOW_S, Answer, answer, conditional
from demo.images import DrawJob, draw
from demo.plan import GONE_HOST
from demo.web import SyntheticWeb

ADDRESS = "127.0.0.1"              # listened on unless told otherwise
IDLE_S = 30                        # a silent connection is closed after so long


class Access(NamedTuple):
    """One request that was answered."""

    time: float                    # monotonic, seconds
    host: str
    path: str                      # with the query
    status: int
    scheme: str                    # http or https


class WebServer:
    """A running web: its ports, its CA, its seeds, and the log of what was asked."""

    def __init__(self, web: SyntheticWeb, port: int = 0, tls_port: int = 0, pool: int = 2,
                 access_log: Path | None = None, slow_s: float = SLOW_S, listen: str = ADDRESS,
                 advertised: str = "") -> None:
        self.web = web
        self.slow_s = slow_s
        self.address = advertised or listen
        self.closing = False
        self.log: list[Access] = []
        self._lock = threading.Lock()
        self._tries: dict[tuple[str, str], int] = {}
        self._refused_at: dict[tuple[str, str], float] = {}
        self._log_file: IO[str] | None = None
        self._leaves: dict[str, ssl.SSLContext] = {}
        self._authority = trustme.CA()
        with contextlib.ExitStack() as opened:         # closes what was opened if the rest cannot be
            if access_log:
                self._log_file = opened.enter_context(access_log.open("a", encoding="utf-8"))
            self.ca_file = opened.enter_context(TemporaryDirectory(prefix="synthetic-web-")) + "/ca.pem"
            self._authority.cert_pem.write_to_path(self.ca_file)
            self._listeners = [opened.enter_context(_Listener(self, listen, port, None)),
                               opened.enter_context(_Listener(self, listen, tls_port, self._server_context()))]
            self._opened = opened.pop_all()
        # Spawned, because forking a process that has threads may hang the child.
        self._pool = ProcessPoolExecutor(pool, multiprocessing.get_context("spawn")) if pool else None
        self.http_port, self.https_port = (int(listener.server_address[1]) for listener in self._listeners)
        self._threads = [threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
                         for listener in self._listeners]

    @property
    def seeds(self) -> tuple[str, ...]:
        """Returns the front pages, as URLs without ports."""
        return self.web.seeds

    @property
    def connect_to(self) -> tuple[str, ...]:
        """Returns curl's --connect-to values, NAME:PORT:ADDRESS:PORT, for both ports of every name."""
        lines = [f"{name}:{port}:{self.address}:{own}" for name in self.web.hosts
                 for port, own in ((80, self.http_port), (443, self.https_port))]
        return (*lines, f"{GONE_HOST}:80:{ADDRESS}:1")

    def ready(self) -> dict[str, Any]:
        """Returns what a client needs to know, as JSON values."""
        return {"http_port": self.http_port, "https_port": self.https_port, "ca_file": self.ca_file,
                "connect_to": list(self.connect_to), "seeds": list(self.seeds),
                "web": dataclasses.asdict(self.web.config)}

    def __enter__(self) -> WebServer:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.closing = True
        for listener in self._listeners:
            listener.shutdown()
            listener.drop_connections()
        if self._pool:
            self._pool.shutdown(wait=True, cancel_futures=True)
        self._opened.close()

    def reply(self, secure: bool, host: str, target: str, if_none_match: str = "") -> Answer:
        """Returns the answer to one request and writes it to the log."""
        key = (host, target)
        now = time.monotonic()
        with self._lock:
            self._tries[key] = attempt = self._tries.get(key, 0) + 1
            waited = now - self._refused_at.get(key, -1e9) >= RETRY_AFTER_S
        found = conditional(answer(self.web, secure, host, target, attempt, waited), if_none_match)
        with self._lock:
            if found.status == 429:
                self._refused_at[key] = now
            access = Access(now, host, target, found.status, "https" if secure else "http")
            self.log.append(access)
            if self._log_file and not self._log_file.closed:
                self._log_file.write(json.dumps(access._asdict()) + "\n")
                self._log_file.flush()
        return found

    def body(self, found: Answer) -> bytes:
        """Returns the bytes of an answer, drawn in another process where there is a pool."""
        if not isinstance(found.body, DrawJob):
            return found.body
        return self._pool.submit(draw, found.body).result() if self._pool else draw(found.body)

    def _server_context(self) -> ssl.SSLContext:
        context = self._leaf(self.web.hosts[0])

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name in self.web.numbers:
                connection.context = self._leaf(name)
        context.sni_callback = choose  # type: ignore[assignment]
        return context

    def _leaf(self, name: str) -> ssl.SSLContext:
        """Returns the TLS context with the certificate of that name, made when it is first asked for."""
        with self._lock:
            if name not in self._leaves:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(name).configure_cert(context)
                self._leaves[name] = context
            return self._leaves[name]


class _Listener(ThreadingHTTPServer):
    """One listening socket; a thread a connection."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 512

    def __init__(self, owner: WebServer, address: str, port: int, context: ssl.SSLContext | None) -> None:
        self.owner = owner
        self.context = context
        self._open: set[socket.socket] = set()
        super().__init__((address, port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(IDLE_S)
        if self.context:
            # The handshake happens in the connection's own thread, with its first read.
            connection = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        try:
            super().shutdown_request(request)
        except (OSError, ValueError):
            request.close()

    def drop_connections(self) -> None:
        """Ends what clients left open, so that no thread outlives the server by long."""
        for connection in tuple(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of clients that go away or of a server that closes; anything else is a bug and is printed."""
        if not (self.owner.closing or isinstance(sys.exception(), OSError)):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "synthetic-web", ""
    disable_nagle_algorithm = True
    server: _Listener

    def log_message(self, format: str, *args: Any) -> None:
        """Keeps quiet: the log is WebServer.log."""

    def do_GET(self) -> None:
        owner = self.server.owner
        host = self.headers.get("Host", "").partition(":")[0].lower()
        found = owner.reply(self.server.context is not None, host, self.path, self.headers.get("If-None-Match", ""))
        body = owner.body(found)
        if found.pace == "slow":
            time.sleep(owner.slow_s)
        self.send_response_only(found.status, http.client.responses.get(found.status, ""))
        for name, value in found.headers:
            self.send_header(name, value)
        if found.status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD" or found.status == 304:
            return
        if found.pace == "drip":
            self._drip(body, owner.slow_s / SLOW_S * DRIP_S)
        elif found.pace == "short":
            self.wfile.write(body[:len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)

    do_HEAD = do_GET

    def _drip(self, body: bytes, pause_s: float) -> None:
        piece = -(-len(body) // DRIP_PIECES)
        for start in range(0, len(body), piece):
            self.wfile.write(body[start:start + piece])
            self.wfile.flush()
            time.sleep(pause_s)


def serve(web: SyntheticWeb, port: int = 0, tls_port: int = 0, pool: int = 2, access_log: Path | None = None,
          slow_s: float = SLOW_S, listen: str = ADDRESS, advertised: str = "") -> WebServer:
    """Returns a server of the web, to be used in a `with` block; port 0 takes any free one.

    `pool` processes draw the pictures (0: the connection's thread does); `slow_s` is the patience a slow answer takes.
    Clients are told to connect to `advertised`, a name or address of this machine, else to `listen`.
    """
    return WebServer(web, port, tls_port, pool, access_log, slow_s, listen, advertised)
