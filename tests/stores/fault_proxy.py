"""A loopback proxy in front of an object store that does to requests what stores do to requests on a bad day."""
from __future__ import annotations

import collections
import contextlib
import http.client
import http.server
import random
import threading
import time
from collections.abc import Callable, Iterator

FAULTS = ("503", "slow", "cut", "late 500", "late 412")
_CONDITIONS = frozenset({"if-none-match", "if-match", "x-goog-if-generation-match"})
_HOP = frozenset({"connection", "transfer-encoding", "keep-alive"})


class FaultProxy(http.server.ThreadingHTTPServer):
    """Passes requests on to a server, and spoils a share of them.

    503: refused, nothing happened.  slow: half a second late.  cut: half of the body of an answer, then the end.
    late 500, late 412: a PUT that happened, whose answer says that it had not (412: one with a condition).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, port: int, share: float, seed: int, latency_s: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.latency_s = port, latency_s
        self.share, self._random, self._lock = share, random.Random(seed), threading.Lock()
        self.done: collections.Counter[str] = collections.Counter()        # faults
        self.requests: collections.Counter[str] = collections.Counter()    # methods
        self.authorizations: set[str] = set()                              # signatures and tokens that were sent
        self.before_change: Callable[[], None] | None = None               # called for what may change the store

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fault_for(self, method: str, conditional: bool) -> str:
        with self._lock:
            self.requests[method] += 1
            if self._random.random() >= self.share:
                return ""
            able = [fault for fault in FAULTS if (fault != "cut" or method == "GET")
                    and (not fault.startswith("late") or method in ("PUT", "COPY"))
                    and (fault != "late 412" or conditional)]
            fault = self._random.choice(able)
            self.done[fault] += 1
            return fault


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _pass(self) -> None:
        with contextlib.suppress(ConnectionError):              # of a client that gave up, or was killed
            self._answer()

    def _answer(self) -> None:
        body = self._body()
        if given := self.headers.get("Authorization", ""):
            self.server.authorizations.add(given.rpartition("Signature=")[2].removeprefix("Bearer "))
        copies = any(name.lower().endswith("-copy-source") for name in self.headers)
        conditional = any(name.lower() in _CONDITIONS for name in self.headers)
        if self.server.before_change is not None and self.command in ("PUT", "POST", "DELETE"):
            self.server.before_change()
        fault = self.server.fault_for("COPY" if copies else self.command, conditional)
        time.sleep(self.server.latency_s + (0.5 if fault == "slow" else 0))
        if fault == "503":
            self._send(503, {}, b"<Error><Code>SlowDown</Code></Error>")
            return
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=60)) as upstream:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
            upstream.request(self.command, self.path, body or None, headers | {"Content-Length": str(len(body))})
            answer = upstream.getresponse()
            data, found = answer.read(), dict(answer.getheaders())
        if fault.startswith("late") and answer.status < 300:
            self._send(int(fault[-3:]), {}, b"<Error><Code>InternalError</Code></Error>")
        else:
            self._send(answer.status, found, data, cut=fault == "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _send(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        kept = {name: value for name, value in headers.items() if name.lower() not in _HOP | {"content-length", "date",
                                                                                             "server"}}
        length = next((value for name, value in headers.items() if name.lower() == "content-length"), len(data))
        self.send_response(status)
        for name, value in (kept | {"Content-Length": str(length if self.command == "HEAD" else len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[:len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def proxied(port: int, share: float = 0.0, seed: int = 1, latency_s: float = 0.0) -> Iterator[FaultProxy]:
    """Yields a proxy of the server on a port of this machine."""
    proxy = FaultProxy(port, share, seed, latency_s)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()
