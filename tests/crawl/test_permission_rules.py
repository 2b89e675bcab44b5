"""The rules of the crawling reference that no other file tests, and all readers of signals against hostile bytes."""
import gzip
import json
import random
import time

import pytest

from crawl import consent, urls
from crawl.ai_txt import AiTxt
from crawl.policy import FetchPolicy
from crawl.robots import Robots
from crawl.robots_access import robots_url
from crawl.tdmrep import TdmRep
from crawl.visits import Visits
from tests.crawl.loopback import quick, row, serving


def test_r1_each_scheme_host_and_port_has_its_own_rules():
    asked = {robots_url(urls.authority(url)) for url in (
        "http://a.test/x/y", "https://a.test/x", "http://a.test:8080/x", "http://b.test/x", "http://a.test/z?robots.txt")}
    assert asked == {"http://a.test/robots.txt", "https://a.test/robots.txt", "http://a.test:8080/robots.txt",
                     "http://b.test/robots.txt"}
    rules = Robots(b"User-agent: *\nDisallow: /")
    assert rules.decide("/robots.txt", "me").allowed and not rules.decide("/robots.txt/x", "me").allowed


@pytest.mark.parametrize("encoded", [False, True])
def test_r6_the_limit_holds_after_redirects_and_after_decoding(encoded):
    body = b"User-agent: *\nDisallow: /no\n" + b"#" * 600_000 + b"\nDisallow: /beyond\n"
    headers = {"Content-Type": "text/plain"}
    if encoded:
        body, headers = gzip.compress(body, 1), headers | {"Content-Encoding": "gzip"}
    with serving() as web:
        web.on("http://a.test/robots.txt", 301, headers={"Location": "http://www.a.test/robots.txt"})
        web.on("http://www.a.test/robots.txt", body=body, headers=headers | {"Content-Length": str(len(body))})
        visits = Visits(quick(), web.network(), "page", {})
        ended = {visit.row.url[13:]: visit.fetched.outcome for visit in visits.run(
            [row("http://a.test/no"), row("http://a.test/beyond")]) if visit}
        host = next(host for host in visits.new_hosts if host.authority == "http://a.test:80")
    assert ended == {"/no": "robots_denied", "/beyond": "ok"}
    assert host.truncated and len(host.body) <= quick().robots_bytes and host.body.endswith(b"\n")


def test_r15_the_name_robots_txt_knows_is_sent():
    with pytest.raises(ValueError, match="product_token"):
        FetchPolicy(user_agent="Other/1.0", product_token="mybot")
    with serving() as web:
        policy = quick(user_agent="MyBot/1.0", product_token="mybot", contact="https://a.example/bot")
        assert [visit.fetched.outcome for visit in Visits(policy, web.network(), "page", {}).run(
            [row("http://a.test/x")]) if visit] == ["ok"]
        assert {headers["User-Agent"] for headers in web.headers} == {"MyBot/1.0 (+https://a.example/bot)"}


def test_r20_visit_time_is_recorded_and_the_longer_delay_counts():
    with serving() as web:
        web.on("http://a.test/robots.txt",
               body=b"User-agent: *\nVisit-time: 0100-0400\nCrawl-delay: 0.01\nRequest-rate: 50/1s\n")
        visits = Visits(quick(), web.network(), "page", {})
        assert [visit.fetched.outcome for visit in visits.run([row("http://a.test/x")]) if visit] == ["ok"]
        (host,) = visits.new_hosts
    assert (host.visit_time, host.crawl_delay_s) == ("0100-0400", 0.02)


WORDS = [b"User-agent: *\n", b"User-agent: me\n", b"Disallow: ", b"Allow: ", b"Crawl-delay: ", b"Request-rate: 1/",
         b"9" * 400,
         b"License: ", b"Content-Signal: ai-train=", b"Content-Usage: /x ", b"train-ai=n", b"*", b"$", b"%", b"%2",
         b"%ff",
         b"/", b"\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", "\u2028²".encode(), b"noai", b",", b";", b":",
         b"=",
         b"me: ", b"<", b">; type=application/rsl+xml", b"unavailable_after: 25 Jun 2030 15:00:00 PST", b"[", b"{",
         b"]", b"}",
         b'"location": "/*"', b'"tdm-reservation": 1', b"1", b"nan", b"-", b"e9", b"(", b")", b"\\", b"*" * 50]
HEADERS = ("X-Robots-Tag", "Robots-Tag", "TDM-Reservation", "Content-Usage", "Link")


def read_all(data):
    """Everything that reads a signal, over the same bytes."""
    text = data.decode("latin-1")
    for rules in (Robots(data), AiTxt(data)._rules):
        decision = rules.decide("/x/y.jpg?z=1", "me")
        consent.from_robots(rules, decision, "/x/y.jpg?z=1", "me")
        assert 0 <= rules.crawl_delay("me") < float("inf") and len(rules.visit_time("me")) <= 64
    AiTxt(data).signals("/x/y.jpg", "me")
    TdmRep(data).signals("/x/y.jpg")
    signals = (*consent.from_headers([(name, text) for name in HEADERS], frozenset({"me"})),
               *consent.from_meta([("robots", text), ("tdm-reservation", text), ("gptbot", text)], frozenset({"me"})),
               *consent.from_licences([(text, text)]))
    assert consent.verdict(signals) in ("allow", "deny", "unknown")
    assert consent.forbids_links(signals, frozenset({"me"})) in (True, False)
    for signal in signals:
        assert len(signal.raw) <= 2083
        consent.refuses_agents(signal, frozenset({"gptbot"}))


def test_no_bytes_raise_and_none_take_long():
    generator = random.Random("signals")
    for _ in range(600):
        count = generator.randrange(1, 40)
        read_all(b"".join(generator.choice(WORDS) if generator.random() < 0.9 else generator.randbytes(3)
                          for _ in range(count)))
    begin = time.process_time()
    for word in WORDS:
        read_all((word * (100_000 // len(word) + 1))[:100_000])
    read_all(json.dumps([{"location": "/*" * 30 + "z", "tdm-reservation": 1}] * 2_000).encode())
    assert time.process_time() - begin < 20
