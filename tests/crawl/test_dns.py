"""Names to addresses: what is kept and how long, what fails for good and what may pass, and rebinding."""
from __future__ import annotations

import json
import socket
import struct
import threading
import time
import types

import pycares
import pytest

from crawl import progress, run_log
from crawl.dns import DnsCost, DnsLimits, Resolver, open_channel
from crawl.fetch import Client
from crawl.policy import FetchPolicy, Network
from crawl.tally import Tally


class Servers:
    """Answers by hand: `asked` holds the names, `answer` calls back."""

    def __init__(self):
        self.asked = []

    def ask(self, name, callback):
        self.asked.append((name, callback))

    def answer(self, *addresses, ttl=120, error=None):
        name, callback = self.asked.pop(0)
        nodes = [types.SimpleNamespace(addr=(one.encode(), 0) if "." in one else (one.encode(), 0, 0, 0), ttl=ttl)
                 for one in addresses]
        callback(types.SimpleNamespace(nodes=nodes), error)
        return name


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture()
def made():
    servers, clock = Servers(), Time()
    return Resolver(DnsLimits(under_way=2, names=3), servers.ask, clock), servers, clock


def test_an_answer_is_kept_as_long_as_its_ttl_within_bounds(made):
    resolver, servers, clock = made
    for name, ttl, kept_s in (("a", 120, 120), ("b", 1, 60), ("c", 999_999, 3600)):
        assert resolver.lookup(name, name) is None
        clock.now += 0.5
        servers.answer("2001:db8::1", "192.0.2.7", ttl=ttl)
        (token, found), = resolver.ended()
        assert (token, found.addresses, found.outcome, found.seconds) == (name, ("192.0.2.7", "2001:db8::1"), "", 0.5)
        clock.now += kept_s - 1
        again = resolver.lookup(name, None)
        assert again is not None and (again.addresses, again.seconds) == (found.addresses, 0.0)
        clock.now += 2
        assert resolver.lookup(name, None) is None and len(servers.asked) == 1
        servers.answer("192.0.2.7")
        list(resolver.ended())
    assert (resolver.cost.asked, resolver.cost.at_hand, resolver.cost.failed) == (6, 3, 0)


@pytest.mark.parametrize("error, outcome, kept_s", [
    (pycares.errno.ARES_ENOTFOUND, "dns_error", 300), (pycares.errno.ARES_ENODATA, "dns_error", 300),
    (pycares.errno.ARES_ETIMEOUT, "dns_failure", 30), (pycares.errno.ARES_ESERVFAIL, "dns_failure", 30)])
def test_no_name_and_no_answer_are_kept_too_but_not_as_long(made, error, outcome, kept_s):
    resolver, servers, clock = made
    resolver.lookup("a", 1)
    servers.answer(error=error)
    assert [found.outcome for _, found in resolver.ended()] == [outcome]
    clock.now += kept_s - 1
    assert resolver.lookup("a", 2).outcome == outcome
    clock.now += 2
    assert resolver.lookup("a", 3) is None


def test_one_question_for_all_who_want_a_name_and_a_few_questions_at_a_time(made):
    resolver, servers, _ = made
    assert [resolver.lookup(name, number) for number, name in enumerate("aabcd")] == [None] * 5
    assert [name for name, _ in servers.asked] == ["a", "b"] and resolver.under_way
    servers.answer("192.0.2.1")
    assert [token for token, _ in resolver.ended()] == [0, 1]
    assert [name for name, _ in servers.asked] == ["b", "c"]
    for _ in range(3):
        servers.answer("192.0.2.1")
        list(resolver.ended())
    assert not resolver.under_way and len(resolver._kept) == 3       # the limit of names


class Server(threading.Thread):
    """A name server on loopback: name -> list of addresses to give in turn, or "nxdomain", "servfail", "silent"."""

    def __init__(self, zone):
        super().__init__(daemon=True)
        self.zone, self.questions = zone, []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            try:
                query, peer = self.socket.recvfrom(4096)
            except OSError:
                return
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += query[at] + 1
            name, (kind,) = ".".join(labels).lower(), struct.unpack("!H", query[at + 1:at + 3])
            self.questions.append((name, kind))
            what = self.zone.get(name, "nxdomain")
            if what == "silent":
                continue
            wait_s, what = what if isinstance(what, tuple) else (0.0, what)
            addresses = [] if isinstance(what, str) or kind != 1 else [what[0] if len(what) == 1 else what.pop(0)]
            code = {"nxdomain": 3, "servfail": 2}.get(what, 0) if isinstance(what, str) else 0
            head = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
            body = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 1, 4) + socket.inet_aton(one) for one in addresses)
            reply = head + query[12:at + 5] + body
            threading.Timer(wait_s, self.socket.sendto, (reply, peer)).start()


@pytest.fixture()
def zone():
    made = {}
    server = Server(made)
    channel = pycares.Channel(servers=["127.0.0.1"], udp_port=server.port, tcp_port=server.port, timeout=0.2, tries=2,
                              flags=1 << 5, lookups="b")
    resolver = Resolver(ask=lambda name, callback: channel.getaddrinfo(name, None, type=1, callback=callback))
    yield made, resolver, server
    channel.close()
    server.socket.close()


def fetch(resolver, url, network=None):
    """Returns the answer to one request."""
    with Client(FetchPolicy(), network or Network(), resolver) as client:
        client.start(url, "page", 10.0, "token")
        for _ in range(2000):
            if ended := client.wait(0.05):
                (token, answer), = ended
                assert token == "token" and client.in_flight == 0
                return answer
    raise AssertionError("no answer")


@pytest.mark.parametrize("name, what, outcome", [
    ("none.example.com", "nxdomain", "dns_error"), ("broken.example.com", "servfail", "dns_failure"),
    ("silent.example.com", "silent", "dns_failure"), ("inside.example.com", ["10.0.0.1"], "blocked_address"),
    ("meta.example.com", ["169.254.169.254"], "blocked_address")])
def test_a_real_resolver_s_answers(zone, name, what, outcome):
    made, resolver, _ = zone
    made[name] = what
    answer = fetch(resolver, f"http://{name}/")
    assert (answer.outcome, answer.ip) == (outcome, "") and answer.dns_s == answer.seconds


def test_rebinding_is_never_dialled_and_the_name_is_asked_once(zone):
    """S2: public at first, private afterwards; what was checked is what is dialled."""
    made, resolver, server = zone
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        made["rebound.example.com"] = ["198.51.100.9", "127.0.0.1"]
        network = Network(allow_hosts=(f"198.51.100.9:{port}", f"rebound.example.com:{port}"))
        resolver.lookup("rebound.example.com", None)
        while resolver.under_way:
            list(resolver.ended())
        assert resolver.lookup("rebound.example.com", None).addresses == ("198.51.100.9",)
        with Client(FetchPolicy(connect_timeout_s=0.3), network, resolver) as client:
            client.start(f"http://rebound.example.com:{port}/", "page", 0.5, 1)
            ended = []
            until = time.monotonic() + 10
            while not ended and time.monotonic() < until:
                ended = client.wait(0.05)
        assert ended[0][1].ip != "127.0.0.1" and ended[0][1].status == 0
        listening.settimeout(0.1)
        with pytest.raises(TimeoutError):
            listening.accept()
    assert [kind for name, kind in server.questions].count(1) == 1


def test_a_slow_name_of_a_quick_server_has_its_time():
    """c-ares shortens its tries to 250 ms at a server that was quick: two of them were over before 900 ms."""
    made = {f"h{number}.example.com": ["192.0.2.1"] for number in range(20)}
    made["slow.example.com"] = (0.9, ["192.0.2.2"])
    server = Server(made)
    channel = open_channel(DnsLimits(), servers=["127.0.0.1"], udp_port=server.port, lookups="b")
    resolver = Resolver(ask=lambda name, callback: channel.getaddrinfo(name, None, type=1, callback=callback))
    found = {}
    for name in made:
        resolver.lookup(name, name)
        until = time.monotonic() + 10
        while resolver.under_way and time.monotonic() < until:
            found |= dict(resolver.ended())
            time.sleep(0.005)
    channel.close()
    server.socket.close()
    assert found["slow.example.com"].addresses == ("192.0.2.2",) and 0.9 <= found["slow.example.com"].seconds < 5
    assert {one.outcome for one in found.values()} == {""}


def test_a_name_has_a_deadline_and_what_comes_later_is_not_taken(made):
    resolver, servers, clock = made
    resolver.lookup("a", 1)
    clock.now += 9.9
    assert not list(resolver.ended())
    clock.now += 0.2
    assert [(token, found.outcome) for token, found in resolver.ended()] == [(1, "dns_failure")]
    clock.now += 60
    assert resolver.lookup("a", 2) is None
    servers.answer("192.0.2.1")                            # of the first question
    assert not list(resolver.ended())
    servers.answer("192.0.2.2")
    assert [(token, found.addresses) for token, found in resolver.ended()] == [(2, ("192.0.2.2",))]


def test_names_that_nobody_is_asked_for():
    resolver = Resolver()
    for name in ("nosuch.invalid", "x" * 56 + ".onion", "a" * 64 + ".example"):
        if resolver.lookup(name, None) is None:
            until = time.monotonic() + 5
            while resolver.under_way and time.monotonic() < until:
                list(resolver.ended())
        assert resolver.lookup(name, None).outcome == "dns_error"
    resolver.close()


def test_the_cost_of_all_shards_is_in_the_live_view_and_the_log(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    tallies = [Tally(0, 2, None), Tally(0, 2, None)]
    tallies[0].names, tallies[1].names = DnsCost(2, 10, 1, 0.5), DnsCost(1, 7, 0, 0.1)
    with run_log.writing(str(log), "images"), progress.shown("images: fetch"):
        for number, tally in enumerate(tallies):
            progress.report("images fetched", number, tally)
    last = [json.loads(line) for line in log.read_text().splitlines() if '"progress"' in line][-1]
    assert last["names"] == {"asked": 3, "at_hand": 17, "failed": 1, "seconds": 0.6}
    assert "20 names: 85 % at hand, 3 asked for in 200 ms each, 1 without an answer" in capsys.readouterr().err
