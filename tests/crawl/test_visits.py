"""One URL at a time through everything but storage, against a loopback server of many names."""
import datetime
import gzip
import itertools
import socket
import ssl
import threading
import time
import zlib

import brotli
import pytest
import trustme

from crawl.answers import Answer
from crawl.dns import Lookup, Resolver
from crawl.fetch import Client, _Transfer
from crawl.visits import Visits, _retry_after
from tests.crawl.loopback import PAGE, SITE_FILES, quick, row, serving


@pytest.fixture()
def web():
    with serving() as found:
        yield found


def visit(network, *given, kind="page", policy=None, known=None):
    """Returns url -> Visit."""
    visits = Visits(policy or quick(), network, kind, known or {})
    rows = [row(url, kind) for url in given]
    return {found.row.url: found for found in visits.run(rows) if found}


def outcome(web, url, **options):
    return visit(web.network(), url, **options)[url].fetched.outcome


def redirect(web, url, target, status=302):
    web.on(url, status, b"", {"Location": target})


def dripping(seconds, pause=0.1):
    def answer(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(pause)
        handler.close_connection = True
    return answer


def test_a_page_comes_back_as_it_was_sent(web):
    found = visit(web.network(), "http://a.test/x")["http://a.test/x"]
    answer = found.fetched.answer
    assert (found.fetched.outcome, answer.status, answer.entity, answer.body) == ("ok", 200, PAGE, PAGE)
    assert answer.ip == "127.0.0.1" and answer.header("content-type") == "text/html; charset=utf-8"
    assert found.permission == "allow"


def test_the_request_says_who_we_are_and_carries_nothing_else(web, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine a.test login me password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    web.on("http://a.test/1", headers={"Set-Cookie": "id=1"})
    visit(web.network(), "http://a.test/1", "http://a.test/2", policy=quick(contact="https://lab.example/bot"))
    assert web.asked("a.test") == ["/1", "/2"]                  # not by a proxy of the environment
    for headers in web.headers:
        assert headers["User-Agent"] == "imagebert-lait/0.1 (+https://lab.example/bot)"
        assert set(headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding"}


@pytest.mark.parametrize("url", [
    "http://127.0.0.1/", "http://0x7f.1/", "http://2130706433/", "http://[::1]/", "http://[::ffff:7f00:1]/",
    "http://localhost/"])
def test_private_addresses_are_refused_by_default_however_they_are_spelled(web, url):
    found = visit(web.network(), *[row(url).url], policy=quick(contact="a@b.example"))
    assert [item.fetched.outcome for item in found.values()] == ["blocked_address"]
    assert web.log == []


def test_a_name_that_leads_to_a_private_address_is_refused_at_the_dial(web):
    # The lines send every name to loopback, as a hostile DNS server would; only *.test is allowed.
    assert outcome(web, "http://evil.example/", policy=quick(contact="a@b.example")) == "blocked_address"
    assert web.log == []


def test_s1_the_peer_of_a_connection_is_looked_at_before_a_request_is_sent(web, monkeypatch):
    """As if the socket's hook had not been asked: a kept connection, or a libcurl that dials by itself."""
    def unguarded(transfer, purpose, address):
        transfer._sockets.append(socket.socket(*address[:3]))
        return transfer._sockets[-1]
    monkeypatch.setattr(_Transfer, "open_socket", unguarded)
    monkeypatch.setattr(Resolver, "lookup", lambda self, name, token: Lookup(("127.0.0.1",), "", 0.0))
    monkeypatch.setattr(Client, "_resolved", lambda self, request, port, found: self._dial(
        request, "127.0.0.1", web.port, 0.0))
    found = visit(web.network(allow_hosts=(), connect_to=()), "http://a.example/", policy=quick(contact="https://lab.example/bot"))
    assert found["http://a.example/"].fetched.outcome == "blocked_address" and not web.log


@pytest.mark.parametrize("addresses", [("93.184.216.34", "127.0.0.1"), ("2606:4700::1111", "64:ff9b::7f00:1")])
def test_s1_one_private_address_of_a_name_refuses_all_of_it(web, monkeypatch, addresses):
    monkeypatch.setattr(Resolver, "lookup", lambda self, name, token: Lookup(addresses, "", 0.0))
    monkeypatch.setattr(Client, "_dial", lambda *_: pytest.fail("dialled"))
    found = visit(web.network(allow_hosts=(), connect_to=()), "http://a.example/",
                  policy=quick(contact="https://lab.example/bot"))
    assert found["http://a.example/"].fetched.outcome == "blocked_address"


def test_a_redirect_to_a_private_address_is_refused(web):
    for n, target in enumerate([f"http://127.0.0.1:{web.port}/secret", f"http://0x7f.1:{web.port}/",
                                "http://169.254.169.254/latest/meta-data/", "http://a.test:22/", "file:///etc/passwd"]):
        redirect(web, f"http://a.test/{n}", target)
    found = visit(web.network(), *[f"http://a.test/{n}" for n in range(5)])
    assert [found[f"http://a.test/{n}"].fetched.outcome for n in range(5)] == [
        "blocked_address", "blocked_address", "blocked_address", "blocked_egress", "bad_url"]
    assert "/secret" not in web.asked()


def test_the_open_web_is_not_asked_without_a_contact(web):
    assert outcome(web, "http://open.example/") == "blocked_no_contact"
    redirect(web, "http://a.test/out", "http://open.example/")
    assert outcome(web, "http://a.test/out") == "blocked_no_contact"
    assert web.asked() == ["/out"]


def test_redirects_are_followed_hop_by_hop_with_robots_asked_on_each_host(web):
    redirect(web, "http://a.test/1", "http://b.test/2", 301)
    redirect(web, "http://b.test/2", "/\xc3\xbc", 307)                    # raw UTF-8, as servers send it
    web.on("http://c.test/robots.txt", body=b"User-agent: *\nDisallow: /private")
    redirect(web, "http://a.test/p", "http://c.test/private/x")
    found = visit(web.network(), "http://a.test/1", "http://a.test/p")
    first = found["http://a.test/1"].fetched
    assert (first.outcome, first.final_url, first.redirects) == (
        "ok", "http://b.test/%C3%BC", ("http://a.test/1", "http://b.test/2"))
    denied = found["http://a.test/p"]
    assert (denied.fetched.outcome, denied.permission, web.asked("c.test")) == ("robots_denied", "deny", [])
    assert "line 2" in denied.signals[0].evidence


def test_loops_and_long_chains_end(web):
    redirect(web, "http://a.test/l1", "/l2")
    redirect(web, "http://a.test/l2", "/l1")
    for n in range(9):
        redirect(web, f"http://a.test/c{n}", f"/c{n + 1}")
    web.on("http://a.test/nowhere", 302, b"")
    found = visit(web.network(), "http://a.test/l1", "http://a.test/c0", "http://a.test/c4", "http://a.test/nowhere")
    assert {url[-2:]: item.fetched.outcome for url, item in found.items()} == {
        "l1": "redirect_loop", "c0": "too_many_redirects", "c4": "ok", "re": "http_302"}


def test_a_dripping_server_ends_at_the_total_deadline(web):
    web.call("http://a.test/", dripping(5))
    begin = time.monotonic()
    assert outcome(web, "http://a.test/", policy=quick(page_timeout_s=0.6, retries=0)) == "timeout_total"
    assert time.monotonic() - begin < 1.5


def test_the_deadline_is_over_all_hops(web):
    def slow(target):
        def answer(handler):
            time.sleep(0.25)
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        return answer
    def slow_page(handler):
        time.sleep(0.5)
        handler.send_response(200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    for n in range(5):
        web.call(f"http://a.test/{n}", slow(f"/{n + 1}"))
    web.call("http://a.test/a", slow("/b"))
    web.call("http://a.test/b", slow_page)
    assert outcome(web, "http://a.test/0", policy=quick(page_timeout_s=0.6, retries=0)) == "timeout_total"
    assert outcome(web, "http://a.test/a", policy=quick(page_timeout_s=0.6, retries=0)) == "timeout_total"


def test_a_slow_server_ends_at_the_minimal_rate(web):
    web.call("http://a.test/", dripping(4))
    assert outcome(web, "http://a.test/", policy=quick(page_timeout_s=9.0, slow_after_s=1, retries=0)) == "too_slow"


def test_bodies_are_capped(web):
    web.on("http://a.test/long", body=b"x" * 5000)
    web.on("http://a.test/grows", body=gzip.compress(b"ab" * 50_000), headers={"Content-Encoding": "gzip"})
    found = visit(web.network(), "http://a.test/long", "http://a.test/grows",
                  policy=quick(page_bytes=1000, page_decoded_bytes=3000))
    long = found["http://a.test/long"].fetched.answer
    assert (len(long.entity), long.cut, long.truncated) == (1000, "length", True)
    grown = found["http://a.test/grows"].fetched.answer
    assert (len(grown.body), grown.cut, grown.truncated) == (3000, "", True)
    web.on("http://a.test/i.jpg", body=b"x" * 5000)
    web.on("http://a.test/lies.jpg", body=b"x", headers={"Content-Length": "99999999999999999999"})
    found = visit(web.network(), "http://a.test/i.jpg", "http://a.test/lies.jpg", kind="image",
                  policy=quick(image_bytes=1000))
    assert {item.fetched.outcome for item in found.values()} == {"too_large"}


def test_an_error_page_without_an_end_is_not_read_to_its_end(web):
    def endless(handler):
        handler.send_response(404)
        handler.send_header("Content-Type", "text/html")
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(8192))
            time.sleep(0.01)
    web.call("http://a.test/x", endless)
    assert outcome(web, "http://a.test/x", policy=quick(retries=0)) == "http_404"


def test_s1_no_other_scheme_is_spoken_even_where_a_url_was_not_looked_at(web):
    with Client(quick(), web.network()) as client:
        client.start(f"ftp://127.0.0.1:{web.port}/x", "page", 1.0, "token")
        done = []
        while not done:
            done = client.wait(0.1)
    assert done[0][1].outcome == "blocked_scheme" and not web.log


def test_bombs_and_bad_encodings(web):
    big = bytes(30_000_000)
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    for name, encoding, body in (("g", "gzip", gzip.compress(big, 1)),
                                 ("d", "deflate", stream.compress(big) + stream.flush()),
                                 ("b", "br", brotli.compress(big, quality=1)), ("u", "zstd", b"x"),
                                 ("x", "gzip", b"<p>")):
        web.on(f"http://a.test/{name}", body=body, headers={"Content-Encoding": encoding})
    found = visit(web.network(), *[f"http://a.test/{name}" for name in "gdbux"])
    assert [found[f"http://a.test/{name}"].fetched.outcome for name in "gdbux"] == ["bomb"] * 3 + ["bad_encoding"] * 2


def test_a_broken_connection_keeps_a_page_and_loses_an_image(web):
    def broken(handler):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")
        handler.close_connection = True
    web.call("http://a.test/x", broken)
    page = visit(web.network(), "http://a.test/x")["http://a.test/x"].fetched
    assert (page.outcome, page.answer.body, page.answer.cut) == ("ok", b"half", "disconnect")
    assert outcome(web, "http://a.test/x", kind="image") == "disconnected"


def test_what_is_plainly_no_page_is_not_loaded(web):
    web.on("http://a.test/a.pdf", body=b"%PDF" * 1000, headers={"Content-Type": "application/pdf"})
    web.on("http://a.test/odd", headers={"Content-Type": "text/plain"})
    assert outcome(web, "http://a.test/a.pdf") == "not_html"
    assert outcome(web, "http://a.test/odd") == "ok"


@pytest.mark.parametrize("lines, length", [(1000, 50), (1, 17 * 1024), (200, 400)])
def test_endless_headers_hang_up(web, lines, length):
    def many(handler):
        handler.send_response(200)
        for n in range(lines):
            handler.send_header(f"X-{n}", "y" * length)
        handler.end_headers()
    web.call("http://a.test/", many)
    assert outcome(web, "http://a.test/", policy=quick(retries=0)) == "protocol_error"


def test_an_opt_out_header_is_obeyed_on_pages_and_images(web):
    web.on("http://a.test/p", headers={"X-Robots-Tag": "max-snippet:-1, noai"})
    web.on("http://a.test/i", headers={"TDM-Reservation": "1"})
    web.on("http://a.test/other", headers={"X-Robots-Tag": "otherbot: noindex"})
    found = visit(web.network(), "http://a.test/p", "http://a.test/i", "http://a.test/other", kind="image")
    assert [found[f"http://a.test/{name}"].fetched.outcome for name in ("p", "i", "other")] == [
        "optout_header", "optout_header", "ok"]
    assert found["http://a.test/p"].permission == "deny"


def test_a_reservation_of_the_whole_site_is_read_before_its_pages(web):
    web.on("http://a.test/.well-known/tdmrep.json", body=b'[{"location": "/free", "tdm-reservation": 0},'
           b'{"location": "/*", "tdm-reservation": 1}]')
    web.on("http://a.test/free/but", headers={"TDM-Reservation": "1"})
    web.on("http://b.test/.well-known/tdmrep.json", body=b"[[[")
    found = visit(web.network(), "http://a.test/x", "http://a.test/free/x", "http://a.test/free/but", "http://b.test/x")
    assert [item.fetched.outcome for _, item in sorted(found.items())] == ["optout_header", "ok", "optout_tdmrep", "ok"]
    assert sorted(web.asked("a.test")) == ["/free/but", "/free/x"]


def test_passing_faults_are_tried_again_and_only_those(web):
    tries = {"flaky": 0, "never": 0, "gone": 0}

    def answering(name, statuses):
        def answer(handler):
            status = statuses[min(tries[name], len(statuses) - 1)]
            tries[name] += 1
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        return answer
    web.call("http://a.test/flaky", answering("flaky", [503, 500, 200]))
    web.call("http://a.test/never", answering("never", [500]))
    web.call("http://a.test/gone", answering("gone", [404]))
    found = visit(web.network(), "http://a.test/flaky", "http://a.test/never", "http://a.test/gone")
    assert [found[f"http://a.test/{name}"].fetched.outcome for name in tries] == ["ok", "http_500", "http_404"]
    assert tries == {"flaky": 3, "never": 3, "gone": 1}


def test_retry_after_is_waited_for_when_short_and_suspends_when_long(web):
    seen = []

    def limited(handler):
        seen.append(time.monotonic())
        handler.send_response(429 if len(seen) == 1 else 200)
        handler.send_header("Retry-After", "1")
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    web.call("http://a.test/", limited)
    assert outcome(web, "http://a.test/") == "ok"
    assert seen[1] - seen[0] >= 1.0
    web.on("http://b.test/1", 503, b"", {"Retry-After": "86400"})
    found = visit(web.network(), "http://b.test/1", "http://b.test/2")
    assert {url[-1]: item.fetched.outcome for url, item in found.items()} == {"1": "http_503",
                                                                              "2": "deferred_suspended"}
    assert web.asked("b.test") == ["/1"]


@pytest.mark.parametrize("value, seconds", [
    ("5", 5), ("Wed, 25 Nov 2026 00:00:00 GMT", 86400), ("Mon, 23 Nov 2026 00:00:00 GMT", 0), ("soon", 0), ("", 0),
    ("-3", 0), ("\u00b2", 0), ("Wed, 25 Nov 2026 00:00:00 +99999999999999999999", 0)])
def test_retry_after_is_seconds_or_a_date_read_against_the_answers_own(value, seconds):
    headers = (("Retry-After", value), ("Date", "Tue, 24 Nov 2026 00:00:00 GMT"))
    assert _retry_after(Answer("", "ok", 503, "", headers, b"", b"", "", False, "", 0.0, 0.0, 0.0)) == seconds


def test_a_host_that_keeps_failing_is_left_alone(web):
    for n in range(20):
        web.on(f"http://a.test/{n}", 500, b"")
    found = visit(web.network(), *[f"http://a.test/{n}" for n in range(20)], policy=quick(retries=0, suspend_after=4))
    outcomes = [item.fetched.outcome for item in found.values()]
    assert outcomes.count("http_500") == 4 and outcomes.count("deferred_suspended") == 16
    assert len(web.asked()) == 4


def test_every_row_comes_out_when_the_budget_is_over(web):
    web.on("http://a.test/robots.txt", body=b"User-agent: *\nCrawl-delay: 3600")
    web.on("http://b.test/robots.txt", body=b"User-agent: *\nCrawl-delay: 0.25")
    given = [f"http://{name}.test/{n}" for name in "ab" for n in range(10)]
    begin = time.monotonic()
    found = visit(web.network(), *given, policy=quick(shard_seconds=1.0))
    assert time.monotonic() - begin < 2.5
    outcomes = {url: item.fetched.outcome for url, item in found.items()}
    assert set(outcomes) == set(given) and set(outcomes.values()) == {"ok", "deferred_budget"}
    assert len(web.asked("a.test")) <= 1 and 1 <= len(web.asked("b.test")) <= 3


def test_gaps_between_requests_of_a_host_as_the_server_sees_them(web):
    given = [f"http://{name}.test/{n}" for name in "abcd" for n in range(4)] + ["http://www.a.test/x"]
    visit(web.network(min_delay_s=0.15), *given)
    for site in "abcd":
        times = [begin for begin, host, _ in sorted(web.log) if host.endswith(f"{site}.test")]
        assert len(times) == (11 if site == "a" else 7)               # with three files of each name
        assert min(after - before for before, after in itertools.pairwise(times)) >= 0.149
    assert max(web.log)[0] - min(web.log)[0] < 27 * 0.15                # hosts side by side, not one after another


def test_a_kept_connection_that_closes_without_an_answer_is_no_reason_to_ask_again_at_once(web):
    asked = []

    def hang_up_once(handler):
        asked.append(time.monotonic())
        if len(asked) > 1:
            handler.send_response(404)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        handler.close_connection = True
    web.call("http://a.test/2", hang_up_once)
    found = visit(web.network(min_delay_s=0.15), "http://a.test/1", "http://a.test/2")
    assert found["http://a.test/2"].fetched.outcome == "http_404"
    assert len(asked) == 2 and asked[1] - asked[0] >= 0.149


def test_a_crawl_delay_wins_over_a_minimal_delay(web):
    web.on("http://a.test/robots.txt", body=b"User-agent: *\nCrawl-delay: 0.5")
    visit(web.network(min_delay_s=0.0), "http://a.test/1", "http://a.test/2")
    begins = [begin for begin, _, path in sorted(web.log) if path not in SITE_FILES]
    assert begins[1] - begins[0] >= 0.49


def test_known_robots_answers_are_used_and_stale_ones_asked_again(web):
    web.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /x")
    visits = Visits(quick(), web.network(), "page", {})
    list(visits.run([row("http://a.test/x")]))
    host, = visits.new_hosts
    web.log.clear()
    found = visit(web.network(), "http://a.test/x", known={host.authority: host})
    assert found["http://a.test/x"].fetched.outcome == "robots_denied" and web.log == []


@pytest.mark.parametrize("status, body, expected", [
    (404, b"", "ok"), (403, b"", "robots_denied"), (500, b"", "deferred_robots_unreachable"),
    (429, b"", "deferred_robots_unreachable"), (200, b"User-agent: *\nDisallow: /", "robots_denied")])
def test_robots_status_from_the_wire(web, status, body, expected):
    web.on("http://a.test/robots.txt", status, body)
    assert outcome(web, "http://a.test/x") == expected
    assert web.asked() == (["/x"] if expected == "ok" else [])


def test_r2_robots_redirects_apply_to_the_first_authority(web):
    for n in range(5):
        redirect(web, f"http://{'a' if n == 0 else f'r{n}'}.test/robots.txt", f"http://r{n + 1}.test/robots.txt")
    web.on("http://r5.test/robots.txt", body=b"User-agent: *\nDisallow: /x")
    assert outcome(web, "http://a.test/x") == "robots_denied"
    redirect(web, "http://b.test/robots.txt", "http://a.test/robots.txt")
    assert outcome(web, "http://b.test/x") == "deferred_robots_unreachable"


def test_r1_each_port_has_rules_of_its_own(web):
    def by_port(handler):
        body = b"User-agent: *\nDisallow: /" if handler.headers["Host"] == "a.test:8080" else b""
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
    web.call("http://a.test/robots.txt", by_port)
    found = visit(web.network(), "http://a.test/x", "http://a.test:8080/x")
    assert [found[url].fetched.outcome for url in ("http://a.test/x", "http://a.test:8080/x")] == ["ok",
                                                                                                   "robots_denied"]


def test_a_closed_port_and_a_name_that_is_none(web):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]
    network = web.network(connect_to=(f"a.test:80:127.0.0.1:{free}", "b.test:80:no-such-name.invalid:80"))
    found = visit(network, "http://a.test/", "http://b.test/", policy=quick(retries=0))
    assert {url[7]: item.fetched.outcome for url, item in found.items()} == {"a": "connect_error", "b": "dns_error"}


def test_tls_is_verified(tmp_path):
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("good.test").configure_cert(context)
    expired = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    ca.issue_cert("old.test", not_after=long_ago).configure_cert(expired)

    def choose(tls, name, _):
        if name == "old.test":
            tls.context = expired
    context.sni_callback = choose
    with serving() as web, socket.create_server(("127.0.0.1", 0)) as listener:
        def relay():
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(client, server_side=True) as tls:
                        tls.recv(65536)
                        tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n"
                                    b"Connection: close\r\n\r\nok")
                except OSError:
                    client.close()
        thread = threading.Thread(target=relay, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        trusting = web.network(connect_to=(f"::127.0.0.1:{port}",), ca_file=str(tmp_path / "ca.pem"))
        doubting = web.network(connect_to=(f"::127.0.0.1:{port}",))
        assert visit(trusting, "https://good.test/")["https://good.test/"].fetched.answer.body == b"ok"
        assert visit(trusting, "https://old.test/")["https://old.test/"].fetched.outcome == "tls_error"
        assert visit(trusting, "https://wrong.test/")["https://wrong.test/"].fetched.outcome == "tls_error"
        assert visit(doubting, "https://good.test/")["https://good.test/"].fetched.outcome == "tls_error"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(2)


def test_rules_that_were_put_away_are_read_again(web, monkeypatch):
    monkeypatch.setattr("crawl.visits._PARSED_RULES", 1)
    for name in "abc":
        web.on(f"http://{name}.test/robots.txt", body=f"User-agent: *\nDisallow: /{name}".encode())
        for path in "abc":
            web.on(f"http://{name}.test/{path}", body=PAGE)
    found = visit(web.network(), *[f"http://{name}.test/{path}" for path in "abc" for name in "abc"])
    assert {url for url, item in found.items() if item.fetched.outcome == "robots_denied"} == {
        f"http://{name}.test/{name}" for name in "abc"}
    assert len(web.asked()) == 6
