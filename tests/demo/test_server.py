"""The served web: names, TLS, keep-alive, the log, and each hazard as it is told."""
from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from demo.answers import RETRY_AFTER_S
from demo.images import BOMB_BYTES, draw, job_of
from demo.plan import Slot, WebConfig
from demo.server import WebServer, serve
from demo.web import SyntheticWeb

SLOW_S = 0.5                       # as the tests' server is told: the demo's are 9 s


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    log = tmp_path_factory.mktemp("web") / "access.jsonl"
    with serve(SyntheticWeb(WebConfig(1, 50)), pool=0, access_log=log, slow_s=SLOW_S) as running:
        yield running


class Reply:
    """One answer, read to the end."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()


def connect(server: WebServer, host: str) -> http.client.HTTPConnection:
    if server.web.scheme(server.web.numbers[host]) == "http":
        return http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection = http.client.HTTPSConnection(host, server.https_port, timeout=10,
                                             context=ssl.create_default_context(cafile=server.ca_file))
    connection._create_connection = (  # type: ignore[attr-defined]  # the name is checked, the address is loopback
        lambda address, *rest: socket.create_connection(("127.0.0.1", address[1]), *rest))
    return connection


def get(server: WebServer, url: str) -> Reply:
    _, _, host, path = url.split("/", 3)
    connection = connect(server, host)
    try:
        connection.request("GET", "/" + path, headers={"Host": host})
        return Reply(connection.getresponse())
    finally:
        connection.close()


def slot_of(server: WebServer, kind: str) -> Slot:
    return next(slot for slot in server.web.slots()
                if slot.kind.name == kind and slot.expected == slot.kind.expected)


def test_a_scene_is_served_as_it_is_drawn(server: WebServer) -> None:
    slot = slot_of(server, "keep")
    reply = get(server, server.web.image_url(slot))
    assert reply.status == 200 and reply.body == draw(job_of(server.web, slot, ""))
    assert min(Image.open(io.BytesIO(reply.body)).size) > 300
    assert "Date" not in reply.headers


def test_https_sites_answer_under_the_test_ca_and_redirect_from_http(server: WebServer) -> None:
    assert get(server, "https://h001.test/").status == get(server, "https://h004.test/").status == 200
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    connection.request("GET", "/a/0.html", headers={"Host": "h001.test"})
    reply = Reply(connection.getresponse())
    connection.close()
    assert (reply.status, reply.headers["Location"]) == (301, "https://h001.test/a/0.html")


def test_a_certificate_is_not_good_for_another_name(server: WebServer) -> None:
    context = ssl.create_default_context(cafile=server.ca_file)
    with socket.create_connection(("127.0.0.1", server.https_port), timeout=10) as plain, \
            pytest.raises(ssl.SSLCertVerificationError), \
            context.wrap_socket(plain, server_hostname="stranger.test"):
        pass


def test_a_connection_is_kept_alive(server: WebServer) -> None:
    connection = connect(server, "h000.test")
    for _ in range(3):
        connection.request("GET", "/", headers={"Host": "h000.test"})
        assert Reply(connection.getresponse()).status == 200
        first = connection.sock
        assert first is not None
    connection.close()


def test_connect_to_and_seeds_name_every_site_without_ports(server: WebServer) -> None:
    assert f"h000.test:80:127.0.0.1:{server.http_port}" in server.connect_to
    assert f"h001.test:443:127.0.0.1:{server.https_port}" in server.connect_to
    assert len(server.seeds) == 48 and "https://h001.test/" in server.seeds and "http://h004.test/" in server.seeds
    assert json.loads(json.dumps(server.ready()))["ca_file"] == server.ca_file


def test_the_log_tells_every_request_in_memory_and_in_the_file(server: WebServer) -> None:
    before = len(server.log)
    get(server, "http://h000.test/robots.txt?log")
    entry = server.log[before]
    assert (entry.host, entry.path, entry.status) == ("h000.test", "/robots.txt?log", 200)
    assert server._log_file is not None
    lines = [json.loads(line) for line in Path(server._log_file.name).read_text().splitlines()]
    assert len(lines) == len(server.log) and lines[before]["path"] == "/robots.txt?log"


def test_a_page_that_is_held_is_not_sent_again(server: WebServer) -> None:
    url = server.seeds[0]
    first = get(server, url)
    host = url.split("/")[2]
    connection = connect(server, host)
    try:
        for etag, status, body in ((first.headers["ETag"], 304, b""), ('"another"', 200, first.body)):
            connection.request("GET", "/", headers={"Host": host, "If-None-Match": etag})
            reply = Reply(connection.getresponse())
            assert (reply.status, reply.body, reply.headers["ETag"]) == (status, body, first.headers["ETag"])
            assert server.log[-1].status == status
    finally:
        connection.close()


def test_429_until_the_wait_is_over(server: WebServer) -> None:
    url = server.web.image_url(slot_of(server, "rate_limited"))
    first = get(server, url)
    assert (first.status, first.headers["Retry-After"]) == (429, str(RETRY_AFTER_S))
    assert get(server, url).status == 429
    time.sleep(RETRY_AFTER_S + 0.05)
    assert get(server, url).status == 200


def test_500_once_and_500_always(server: WebServer) -> None:
    once, always = (server.web.image_url(slot_of(server, kind)) for kind in ("error_once", "server_error"))
    assert [get(server, once).status for _ in range(3)] == [500, 200, 200]
    assert [get(server, always).status for _ in range(3)] == [500, 500, 500]


@pytest.mark.parametrize("kind", ["slow", "drip"])
def test_slow_and_dripping_answers_take_their_time(server: WebServer, kind: str) -> None:
    start = time.monotonic()
    reply = get(server, server.web.image_url(slot_of(server, kind)))
    assert time.monotonic() - start >= SLOW_S * 0.95 and reply.status == 200


def test_the_demo_s_slow_answers_outlast_a_patience_of_six_seconds() -> None:
    from demo import answers
    assert answers.SLOW_S >= 8 and answers.DRIP_S * answers.DRIP_PIECES * 0.9 >= 8


def test_a_short_body_ends_before_its_length(server: WebServer) -> None:
    with pytest.raises(http.client.IncompleteRead):
        get(server, server.web.image_url(slot_of(server, "short_body")))


def test_a_truncated_image_is_whole_for_http_and_broken_for_a_decoder(server: WebServer) -> None:
    reply = get(server, server.web.image_url(slot_of(server, "truncated")))
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(reply.body)).load()


def test_bombs_are_small_until_opened(server: WebServer) -> None:
    packed = get(server, server.web.image_url(slot_of(server, "gzip_bomb")))
    assert packed.headers["Content-Encoding"] == "gzip" and len(packed.body) < 400_000
    unpacker, size = zlib.decompressobj(31), 0
    for start in range(0, len(packed.body), 1000):
        size += len(unpacker.decompress(packed.body[start:start + 1000]))
    assert size == BOMB_BYTES and unpacker.eof                 # sum and length check out
    picture = get(server, server.web.image_url(slot_of(server, "pixel_bomb"))).body
    assert len(picture) < 1000 and struct.unpack(">II", picture[16:24]) == (30_000, 30_000)


@pytest.mark.parametrize("kind, content_type", [("soft_404", "text/html"), ("html_as_jpeg", "image/jpeg")])
def test_wrong_content_types_are_web_pages(server: WebServer, kind: str, content_type: str) -> None:
    reply = get(server, server.web.image_url(slot_of(server, kind)))
    assert reply.status == 200 and reply.headers["Content-Type"].startswith(content_type)
    assert reply.body.startswith(b"<!DOCTYPE html>")


def test_redirects_lead_on_and_loops_lead_back(server: WebServer) -> None:
    web = server.web
    for kind in ("redirect", "redirect_far"):
        slot = slot_of(server, kind)
        reply = get(server, web.shown_url(slot))
        assert (reply.status, reply.headers["Location"]) == (302, web.image_url(slot))
        assert web.truth(web.shown_url(slot)) == web.truth(web.image_url(slot))
    loop = web.shown_url(slot_of(server, "redirect_loop"))
    there = get(server, loop).headers["Location"]
    host = loop[:loop.index("/loop")]
    assert host + get(server, host + there).headers["Location"] == loop


def test_owners_say_no_in_headers_metas_and_robots(server: WebServer) -> None:
    web = server.web
    assert "no" in get(server, web.image_url(slot_of(server, "optout_header"))).headers["X-Robots-Tag"]
    assert get(server, web.image_url(slot_of(server, "tdm_header"))).headers["tdm-reservation"] == "1"
    assert get(server, web.image_url(slot_of(server, "tdm_open"))).headers["tdm-reservation"] == "0"
    assert get(server, web.image_url(slot_of(server, "other_agent"))).headers["X-Robots-Tag"].startswith("greedy-bot:")
    private = slot_of(server, "robots_path")
    rules = get(server, web.origin(private.host) + "/robots.txt").body.decode()
    assert "Disallow: /private/\n" in rules and "/private/" in web.image_url(private)
    pages = {web.article(host, number).kind.name: web.article(host, number)
             for host in range(48) for number in range(web.articles_of[host])}
    wanted = {"meta_noindex": b'content="noindex', "meta_noai": b'content="noai"', "meta_noimageai": b"noimageai",
              "tdm_meta": b'name="tdm-reservation" content="1"'}
    for kind, text in wanted.items():
        assert text in get(server, web.origin(pages[kind].host) + pages[kind].path).body
    headers = get(server, web.origin(pages["header_noai"].host) + pages["header_noai"].path).headers
    assert headers["X-Robots-Tag"] == "noai, noimageai"
    assert pages["robots_page"].path.startswith("/members/") and "Disallow: /members/\n" in rules


def test_hosts_with_a_role(server: WebServer) -> None:
    origins = [server.web.origin(host) for host in range(48)]
    assert get(server, origins[7] + "/robots.txt").status == 503
    assert b"Crawl-delay: 1\n" in get(server, origins[11] + "/robots.txt").body
    assert get(server, origins[13] + "/").headers["tdm-reservation"] == "1"
    assert get(server, origins[31] + "/robots.txt").status == 404
    moved = get(server, origins[23] + "/robots.txt")
    assert moved.status == 301 and b"Disallow" in get(server, moved.headers["Location"]).body
    month = "/calendar/2024/5/"
    for _ in range(30):            # every month leads on to one that was not seen before
        page = get(server, origins[17] + month)
        assert page.status == 200
        month = "/calendar/" + page.body.decode().split('href="/calendar/')[2].split('"')[0]
    assert month == "/calendar/2026/11/"
    ends = {path: get(server, origins[19] + path).status
            for path in ("/old/article.html", "/missing.html", "/broken.html", "/bomb.html", "/leaflet.pdf")}
    assert ends == {"/old/article.html": 301, "/missing.html": 404, "/broken.html": 500, "/bomb.html": 200,
                    "/leaflet.pdf": 200}


def test_a_pool_draws_the_same_bytes() -> None:
    web = SyntheticWeb(WebConfig(1, 50))
    slot = next(slot for slot in web.slots() if slot.expected == "keep" and slot.kind.name == "keep")
    with serve(web, pool=1) as running:
        assert get(running, web.image_url(slot)).body == draw(job_of(web, slot, ""))


def test_clients_are_told_the_advertised_name() -> None:
    with serve(SyntheticWeb(WebConfig(1, 50)), pool=0, listen="127.0.0.1", advertised="web") as running:
        lines = running.ready()["connect_to"]
        assert lines[0] == f"h000.test:80:web:{running.http_port}"
        assert lines[-1] == "gone.test:80:127.0.0.1:1"
