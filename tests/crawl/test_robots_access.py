import dataclasses

import pytest

from crawl.answers import Answer, Fetched
from crawl.policy import FetchPolicy
from crawl.robots_access import Access, host_of, is_fresh, with_tdmrep

NOW = "2026-11-23T00:00:00.000000Z"
POLICY = FetchPolicy()
SITE = "http://a.test:80"


def fetched(status=200, body=b"", outcome="", headers=(), truncated=False):
    answer = Answer("http://a.test/robots.txt", outcome or "ok", status, "", tuple(headers), body, body, "",
                    truncated, "", 0.0, 0.1, 0.1)
    return Fetched("http://a.test/robots.txt", outcome or ("ok" if status == 200 else f"http_{status}"), (),
                   "http://a.test/robots.txt", answer)


def ask(found, policy=POLICY, path="/x"):
    return Access(host_of(SITE, found, NOW, policy), policy).ask("http://a.test" + path)[0]


@pytest.mark.parametrize("status", [400, 404, 410, 451, 499])
def test_r3_unavailable_allows(status):
    assert ask(fetched(status)) == ""


@pytest.mark.parametrize("status", [401, 403])
def test_r3_forbidden_is_by_setting_and_denies_by_default(status):
    assert ask(fetched(status)) == "robots_denied"
    assert ask(fetched(status), dataclasses.replace(POLICY, robots_forbidden="allow")) == ""


@pytest.mark.parametrize("status", [429, 500, 503, 302, 100])
def test_r4_unreachable_by_status_forbids(status):
    assert ask(fetched(status, body=b"User-agent: *\nAllow: /")) == "deferred_robots_unreachable"


@pytest.mark.parametrize("outcome, row", [
    ("timeout_total", "deferred_robots_unreachable"), ("disconnected", "deferred_robots_unreachable"),
    ("bomb", "deferred_robots_unreachable"), ("too_many_redirects", "deferred_robots_unreachable"),
    ("redirect_loop", "deferred_robots_unreachable"), ("dns_error", "dns_error"), ("tls_error", "tls_error"),
    ("connect_error", "connect_error"), ("blocked_address", "blocked_address")])
def test_r2_r4_unreachable_by_the_network_forbids(outcome, row):
    assert ask(fetched(0, outcome=outcome)) == row


def test_r4_an_old_copy_serves_while_the_file_is_unreachable_then_it_counts_as_unavailable():
    old = host_of(SITE, fetched(body=b"User-agent: *\nDisallow: /x"), NOW, POLICY)
    later = host_of(SITE, fetched(503), "2026-11-30T00:00:00.000000Z", POLICY, old)
    assert later.body == old.body and Access(later, POLICY).ask("http://a.test/x")[0] == "robots_denied"
    assert Access(later, POLICY).ask("http://a.test/y")[0] == ""
    much_later = host_of(SITE, fetched(503), "2027-01-30T00:00:00.000000Z", POLICY, later)
    assert much_later.robots == "unavailable"


def test_r4_without_an_old_copy_thirty_days_of_silence_end_the_ban():
    first = host_of(SITE, fetched(503), NOW, POLICY)
    assert host_of(SITE, fetched(503), "2026-12-20T00:00:00.000000Z", POLICY, first).robots == "unreachable"
    assert host_of(SITE, fetched(503), "2026-12-24T00:00:00.000000Z", POLICY, first).robots == "unavailable"


@pytest.mark.parametrize("cache, until", [
    ("", "2026-11-24T00:00:00.000000Z"), ("max-age=60", "2026-11-23T01:00:00.000000Z"),
    ("public, max-age=7200", "2026-11-23T02:00:00.000000Z"), ("max-age=999999", "2026-11-24T00:00:00.000000Z")])
def test_r5_a_copy_serves_between_an_hour_and_a_day(cache, until):
    host = host_of(SITE, fetched(headers=[("Cache-Control", cache)]), NOW, POLICY)
    assert host.expires_at == until
    old_style = dataclasses.replace(host, ai_cause="http_404")
    assert is_fresh(old_style, NOW, POLICY) and not is_fresh(old_style, until, POLICY)
    assert not is_fresh(host, NOW, POLICY), "its ai.txt was never asked for"


def test_r5_an_unreachable_file_is_asked_for_again_within_the_hour():
    assert host_of(SITE, fetched(503), NOW, POLICY).expires_at == "2026-11-23T01:00:00.000000Z"


def test_r6_a_long_file_is_cut_at_its_last_whole_line():
    host = host_of(SITE, fetched(body=b"User-agent: *\nDisallow: /x\nDisallow: /", truncated=True), NOW, POLICY)
    assert host.truncated and Access(host, POLICY).ask("http://a.test/y")[0] == ""
    assert Access(host, POLICY).ask("http://a.test/x")[0] == "robots_denied"


def test_r8_html_is_marked():
    assert host_of(SITE, fetched(body=b"\n<!DOCTYPE html><p>"), NOW, POLICY).looks_html


def test_content_signals_and_rules_have_names_of_their_own():
    assert ask(fetched(body=b"User-agent: *\nContent-Signal: ai-train=no\nAllow: /")) == "optout_robots"
    assert ask(fetched(body=b"User-agent: *\nContent-Signal: ai-train=no\nDisallow: /")) == "robots_denied"


def test_a_refusal_of_an_umbrella_agent_binds_us_when_the_policy_says_so():
    found = fetched(body=b"User-agent: GPTBot\nDisallow: /\nUser-agent: *\nAllow: /")
    assert ask(found) == ""
    assert ask(found, dataclasses.replace(POLICY, umbrella_agents=("GPTBot",))) == "robots_denied"


def test_a_site_wide_reservation_stays_until_the_file_says_otherwise():
    reserved = fetched(body=b'[{"location": "/", "tdm-reservation": 1}]')
    host = with_tdmrep(host_of(SITE, fetched(404), NOW, POLICY), reserved)
    assert Access(host, POLICY).ask("http://a.test/x")[0] == "optout_tdmrep"
    again = host_of(SITE, fetched(404), NOW, POLICY, host)
    for answer, outcome in ((fetched(503), "optout_tdmrep"), (fetched(404), "")):
        assert Access(with_tdmrep(again, answer), POLICY).ask("http://a.test/x")[0] == outcome


def test_sitemaps_are_resolved_and_the_delay_is_read():
    host = host_of(SITE, fetched(body=b"Sitemap: /s.xml\nSitemap: ftp://x\nUser-agent: *\nCrawl-delay: 7"), NOW, POLICY)
    assert host.sitemaps == ("http://a.test/s.xml",) and host.crawl_delay_s == 7.0
