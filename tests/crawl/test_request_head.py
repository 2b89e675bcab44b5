"""The head that is stored is the head that was sent."""
from __future__ import annotations

import socket
import threading

import pytest

from crawl.fetch import Client
from crawl.policy import Network
from crawl.request_head import request_head
from tests.crawl.loopback import quick


@pytest.mark.parametrize(("url", "kind", "more"), [
    ("http://a.test:8080/x?y=%C3%A9&z", "page", ()), ("http://a.test/", "sitemap", ()),
    ("http://a.test/cat.png", "image", ()),
    ("http://a.test/", "page", ('If-None-Match: W/"1"', "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT"))])
def test_the_line_carries_these_bytes(url: str, kind: str, more: tuple[str, ...]) -> None:
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                data = b""
                while not data.endswith(b"\r\n\r\n"):
                    data += peer.recv(65536)
                got.append(data)
                peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        network = Network(connect_to=(f"::127.0.0.1:{server.getsockname()[1]}",), allow_hosts=("*.test:*",))
        policy = quick(contact="https://example.org/bot")
        with Client(policy, network) as client:
            client.start(url, kind, 5.0, None, more)
            while client.in_flight:
                client.wait(0.2)
        thread.join(5)
    assert got == [request_head(url, kind, policy.header, more)]
