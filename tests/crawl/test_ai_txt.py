import pytest

from crawl.ai_txt import AiTxt
from crawl.answers import Answer, Fetched
from crawl.records import ALLOW, DENY
from crawl.robots_access import Access, files_after, host_of, with_ai_txt, with_file
from crawl.visits import Visits
from tests.crawl.loopback import quick, row, serving

SPAWNING = b"""# Spawning AI
User-Agent: *
Disallow: *.jpg
Disallow: .png
Disallow: /private/
Allow: *.txt
Allow: /free/*.jpg
"""


@pytest.mark.parametrize(("path", "verdict"), [
    ("/a/b.jpg", DENY), ("/a/b.png?x=1", DENY), ("/private/x.html", DENY), ("/read.txt", ALLOW),
    ("/free/a.jpg", ALLOW)])
def test_patterns_name_kinds_of_files_anywhere(path, verdict):
    (signal,) = AiTxt(SPAWNING).signals(path, "imagebert-lait")
    assert (signal.name, signal.verdict) == ("ai_txt", verdict)
    assert signal.raw and "ai.txt line" in signal.evidence


@pytest.mark.parametrize("body", [b"", b"<!doctype html><p>User-agent: none", b"\x00\xff" * 99, SPAWNING])
def test_what_is_not_named_is_not_decided(body):
    assert AiTxt(body).signals("/page.html", "imagebert-lait") == ()


def answered(body, status=200):
    outcome = "ok" if status == 200 else f"http_{status}"
    return Fetched("u", outcome, (), "u", Answer("u", "ok", status, "", (), b"", body, "", False, "", 0.0, 0.0, 0.0))


def test_a_fault_leaves_what_was_known_and_a_404_does_not():
    host = with_ai_txt(host_of("http://a.test:80", answered(b"", 404), "2026-01-01T00:00:00Z", quick()),
                       answered(SPAWNING))
    assert Access(host, quick()).ask("http://a.test/x.jpg")[0] == "optout_ai_txt"
    assert Access(host, quick(ai_txt=False)).ask("http://a.test/x.jpg")[0] == ""
    assert with_ai_txt(host, answered(b"", 503)).ai_body == with_ai_txt(host, answered(b"", 429)).ai_body == SPAWNING
    assert with_file(host, "http://a.test/ai.txt", answered(b"", 404)).ai_body == b""


def test_it_is_asked_for_once_an_authority_and_only_where_policy_says_so():
    assert files_after("http://a.test/robots.txt", quick()) == (
        "http://a.test/.well-known/tdmrep.json", "http://a.test/ai.txt")
    for policy, asked in ((quick(), 1), (quick(ai_txt=False), 0)):
        with serving() as web:
            web.on("http://a.test/ai.txt", body=SPAWNING)
            rows = [row(f"http://a.test/{name}") for name in ("1.html", "2.jpg")]
            ended = {one.row.url[-6:]: one for one in Visits(policy, web.network(), "page", {}).run(rows) if one}
            assert [path for _, _, path in web.log].count("/ai.txt") == asked
            assert {key: one.fetched.outcome for key, one in ended.items()} == {
                "1.html": "ok", "/2.jpg": "optout_ai_txt" if asked else "ok"}


def test_robots_txt_may_forbid_asking_for_it():
    with serving() as web:
        web.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /ai.txt")
        visits = Visits(quick(), web.network(), "page", {})
        assert [one.fetched.outcome for one in visits.run([row("http://a.test/1")]) if one] == ["ok"]
        assert "/ai.txt" not in [path for _, _, path in web.log]
        assert visits.new_hosts[0].ai_cause == "robots_denied"
