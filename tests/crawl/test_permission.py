import pytest

from crawl.consent import WATCHED_AGENTS, from_headers, from_licences, from_meta, from_robots, verdict
from crawl.permission import KNOWN_SIGNALS, SIGNALS, PermissionRules, reason, refusal, rules_of
from crawl.records import ALLOW, DENY, UNKNOWN, Signal
from crawl.robots import Robots
from crawl.robots_access import Access, host_of
from crawl.robots_explain import explain
from tests.crawl.loopback import quick
from tests.crawl.test_ai_txt import answered

ROBOTS = b"""User-agent: *
Allow: /
Request-rate: 1/5
Crawl-delay: 3
License: https://a.test/licence.xml

User-agent: GPTBot
User-agent: CCBot
Disallow: /
"""
UMBRELLA = PermissionRules(umbrella_agents=("GPTBot",))


def told(path="/x", token="me"):
    robots = Robots(ROBOTS)
    return from_robots(robots, robots.decide(path, token), path, token)


def test_what_other_agents_are_told_is_recorded_and_decides_only_where_a_policy_says_so():
    signals = told()
    assert verdict(signals) == ALLOW
    other = next(signal for signal in signals if signal.name == "other_agents")
    assert (other.raw, other.verdict) == ("ccbot, gptbot", UNKNOWN) and "group" in other.evidence
    assert reason(signals, ALLOW, PermissionRules()) == ""
    assert reason(signals, ALLOW, UMBRELLA) == "not_permitted_other_agents"
    assert reason(signals, ALLOW, PermissionRules(umbrella_agents=("ClaudeBot",))) == ""


@pytest.mark.parametrize(("signals", "cause"), [
    (from_headers([("X-Robots-Tag", "gptbot: noai")], frozenset({"me"})), "x_robots_tag"),
    (from_headers([("Robots-Tag", "GPTBot=noindex")], frozenset({"me"})), "robots_tag"),
    (from_meta([("gptbot", "noindex")], frozenset({"me"})), "meta_robots"),
    (from_meta([("gptbot", "nosnippet")], frozenset({"me"})), ""),
    (from_headers([("X-Robots-Tag", "ccbot: noai")], frozenset({"me"})), "")])
def test_a_header_or_element_for_another_agent_counts_under_its_umbrella(signals, cause):
    assert verdict(signals) == UNKNOWN
    assert refusal(signals, UNKNOWN, UMBRELLA) == cause
    assert refusal(signals, UNKNOWN, PermissionRules()) == ""


def test_while_fetching_the_same_agents_forbid_the_request():
    host = host_of("http://a.test:80", answered(ROBOTS), "2026-01-01T00:00:00Z", quick())
    assert host.crawl_delay_s == 5.0                     # the longer of Crawl-delay and Request-rate
    assert Access(host, quick()).ask("http://a.test/x")[0] == ""
    assert Access(host, quick(umbrella_agents=("GPTBot",))).ask("http://a.test/x")[0] == "robots_denied"
    assert Access(host, quick(rsl="deny")).ask("http://a.test/x")[0] == "optout_robots"


def test_a_licence_is_recorded_wherever_it_stands_and_means_what_the_policy_says():
    found = [next(signal for signal in told() if signal.name == "rsl"),
             *from_headers([("Link", '<https://a.test/l.xml>; rel=license; type="application/rsl+xml"')], frozenset()),
             *from_licences([("application/rsl+xml", "https://a.test/l.xml")])]
    for signal in found:
        assert (signal.name, signal.verdict) == ("rsl", UNKNOWN) and signal.raw.startswith("https://a.test/l")
        assert reason([signal], ALLOW, PermissionRules()) == ""
        assert reason([signal], ALLOW, PermissionRules(rsl="deny")) == "not_permitted_rsl"
    other = from_licences([("text/html", "https://a.test/cc-by")])
    assert other[0].name == "license" and reason(other, ALLOW, PermissionRules(rsl="deny")) == ""


def test_policy_says_what_unknown_means_and_whose_word_binds():
    header = (Signal("tdm_header", "0", ALLOW, "header"),)
    strict = PermissionRules(unknown="deny", binding=("robots",))
    assert reason(header, ALLOW, PermissionRules(unknown="deny")) == ""
    assert reason(header, ALLOW, strict) == reason((), UNKNOWN, strict) == "not_permitted_unknown"
    assert reason((*header, Signal("robots", "", ALLOW, "")), ALLOW, strict) == ""
    # The page took the reservation of its site back; where its own word does not bind, the site's does.
    taken_back = (Signal("tdm_file", "", DENY, ""), Signal("tdm_meta", "0", ALLOW, ""))
    assert reason(taken_back, ALLOW, PermissionRules()) == ""
    assert reason(taken_back, ALLOW, PermissionRules(binding=("tdm_file",))) == "not_permitted_tdm_file"


def test_no_rules_allow_what_was_denied():
    denied = (Signal("x_robots_tag", "noai", DENY, "header"),)
    for rules in (PermissionRules(), PermissionRules(binding=("robots",))):
        assert reason(denied, DENY, rules) == reason((), DENY, rules) == "not_permitted"


def test_every_signal_with_a_verdict_is_declared():
    sources = [*told(), *from_headers([(name, "1") for name in (
        "X-Robots-Tag", "Robots-Tag", "TDM-Reservation", "Content-Usage")], frozenset()),
        *from_meta([("robots", "x"), ("tdm-reservation", "1")], frozenset())]
    assert {signal.name for signal in sources} - {"other_agents", "rsl"} <= set(SIGNALS)
    assert set(KNOWN_SIGNALS["recorded"]) < set(SIGNALS) and KNOWN_SIGNALS["table"] == ()
    assert all(agent == agent.lower() for agent in WATCHED_AGENTS)


@pytest.mark.parametrize(("settings", "said"), [
    ({"unknown": "maybe"}, "'allow' or 'deny'"), ({"rsl": "x"}, "'ignore' or 'deny'"),
    ({"binding": ("robot",)}, "'robot'"), ({"umbrella_agents": ("NoBot",)}, "fetch.umbrella_agents")])
def test_bad_rules_say_what_is_right(settings, said):
    with pytest.raises(ValueError, match=said):
        PermissionRules(**settings)


def test_rules_come_back_from_a_manifest():
    assert rules_of({"permission": {"unknown": "deny", "umbrella_agents": ["GPTBot"]}}) == PermissionRules(
        unknown="deny", umbrella_agents=("GPTBot",))
    assert rules_of({}) == PermissionRules()


def test_a_refusal_by_a_licence_is_explained():
    host = host_of("http://a.test:80", answered(ROBOTS), "2026-01-01T00:00:00Z", quick())
    told_why = explain(host, "http://a.test/x", quick(rsl="deny"))
    assert (told_why.allowed, told_why.outcome) == (False, "optout_robots")
    assert "rsl 'https://a.test/licence.xml' (robots.txt line 5)" in told_why.why
