"""A folder served over HTTP with ranges on loopback, and the faults of an object store on the way."""
from __future__ import annotations

import collections
import contextlib
import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote


class RangeServer(http.server.ThreadingHTTPServer):
    """Answers GET and HEAD; `faults` are taken from its front by requests for ranges: 503, 403, "cut" or seconds."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.faults: collections.deque[int | float | str] = collections.deque()
        self.always: int = 0                                  # a status that every request gets
        self.gets: list[tuple[str, int]] = []                 # path, bytes asked for

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RangeServer

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = self.server.root / unquote(self.path).lstrip("/")
        fault = self.server.faults.popleft() if body and self.server.faults else 0
        if isinstance(fault, float):
            time.sleep(fault)
        status = self.server.always or (fault if isinstance(fault, int) else 0) or (0 if path.is_file() else 404)
        if status:
            self._head(status, 0, {})
            return
        data = path.read_bytes()
        size, asked = len(data), self.headers.get("Range")
        headers = {"Accept-Ranges": "bytes", "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT", "ETag": f'"{size}"'}
        if asked and body:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, end = int(first), min(int(last or size - 1), size - 1) + 1
            if start >= size:
                self._head(416, 0, {})
                return
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
            data = data[start:end]
        self._head(206 if asked and body else 200, len(data), headers)
        if body:
            self.server.gets.append((self.path, len(data)))
            self.wfile.write(data[:len(data) // 2] if fault == "cut" else data)
            if fault == "cut":
                self.close_connection = True

    def _head(self, status: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(length)} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(root: Path) -> Iterator[RangeServer]:
    """Yields a server of a folder."""
    server = RangeServer(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
