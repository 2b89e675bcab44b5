import pytest

from crawl import consent
from crawl.records import ALLOW, DENY, UNKNOWN, Signal
from crawl.robots import Robots

OURS = frozenset({"imagebot"})


def of_header(name, value):
    return consent.verdict(consent.from_headers([(name, value)], OURS))


@pytest.mark.parametrize("value, verdict", [
    ("noindex", DENY), ("NOAI", DENY), ("none", DENY), ("noimageai, nofollow", DENY), ("noml", DENY),
    ("noimageindex", DENY),
    ("noai, max-image-preview:large", DENY), ("max-snippet:-1, noai", DENY),
    ("unavailable_after: 25 Jun 2030 15:00:00 PST, noimageai", DENY),
    ("unavailable_after: Mon, 25 Jun 2030 15:00:00 PST, none", DENY),
    ("imagebot: noindex", DENY), ("otherbot: noindex", UNKNOWN), ("otherbot: nofollow, noindex", UNKNOWN),
    ("otherbot: noarchive, imagebot: noai", DENY),
    ("otherbot: unavailable_after: 25 Jun 2030 15:00:00 PST, noai", UNKNOWN),
    ("all", UNKNOWN), ("nofollow", UNKNOWN), ("", UNKNOWN), ("max-snippet:noai", UNKNOWN)])
def test_x_robots_tag(value, verdict):
    assert of_header("X-Robots-Tag", value) == verdict


@pytest.mark.parametrize("value, verdict", [
    ("*=noindex; ExampleBot=nosnippet", DENY), ("ExampleBot=noindex; *=nosnippet", UNKNOWN), ("imagebot=noai", DENY)])
def test_robots_tag_of_the_new_draft(value, verdict):
    assert of_header("robots-tag", value) == verdict


@pytest.mark.parametrize("value, verdict", [
    ("train-ai=n", DENY), ("train-ai=y", ALLOW), ("search=y, train-ai=n;exp=1", DENY),
    ("train-ai=n, train-ai=y", ALLOW),
    ("train-ai=no", UNKNOWN), ("train-ai", UNKNOWN), ("Train=n,,", UNKNOWN), ("search=n", UNKNOWN)])
def test_content_usage(value, verdict):
    assert of_header("Content-Usage", value) == verdict


@pytest.mark.parametrize("value, verdict", [("1", DENY), ("0", ALLOW), ("2", UNKNOWN), (" 1 ", DENY)])
def test_tdm_reservation(value, verdict):
    assert of_header("TDM-Reservation", value) == verdict
    assert consent.verdict(consent.from_meta([("tdm-reservation", value)], OURS)) == verdict


def test_a_pages_meta_reservation_overrides_its_header_and_nothing_resets():
    header = consent.from_headers([("tdm-reservation", "1")], OURS)
    assert consent.verdict(header + consent.from_meta([("tdm-reservation", "0")], OURS)) == ALLOW
    assert consent.verdict(header + consent.from_meta([("tdm-reservation", "x")], OURS)) == DENY
    assert consent.verdict(header + consent.from_meta([], OURS)) == DENY
    assert consent.verdict((Signal("robots", "", DENY, ""),
                            *consent.from_meta([("tdm-reservation", "0")], OURS))) == DENY


@pytest.mark.parametrize("metas, verdict", [
    ([("robots", "noindex, follow")], DENY), ([("ROBOTS", "NoAI")], DENY), ([("imagebot", "none")], DENY),
    ([("googlebot", "noindex")], UNKNOWN), ([("robots", "index"), ("robots", "noimageindex")], DENY),
    ([("robots", "nofollow")], UNKNOWN), ([], UNKNOWN)])
def test_meta_robots(metas, verdict):
    assert consent.verdict(consent.from_meta(metas, OURS)) == verdict


def test_content_signal_of_our_group_only():
    text = b"User-agent: *\nContent-Signal: search=yes, ai-train=no\nAllow: /\nUser-agent: imagebot\nAllow: /"
    robots = Robots(text)
    for token, verdict in (("other", DENY), ("imagebot", ALLOW)):
        assert consent.verdict(consent.from_robots(robots, robots.decide("/", token), "/", token)) == verdict


@pytest.mark.parametrize("target, verdict", [("/a/x", DENY), ("/a/free/x", ALLOW), ("/b", UNKNOWN), ("/a", UNKNOWN)])
def test_content_usage_in_robots_txt_goes_by_the_longest_path(target, verdict):
    robots = Robots(b"User-agent: *\nContent-Usage: search=y\nContent-Usage: /a/ train-ai=n\n"
                    b"Content-Usage: /a/free/ train-ai=y\nDisallow: /secret")
    signals = [signal for signal in consent.from_robots(robots, robots.decide(target, "me"), target, "me")
               if signal.name == "content_usage"]
    assert len(signals) == 1 and consent.verdict(signals) == verdict


def test_raw_values_are_kept_and_cut():
    signal, = consent.from_headers([("X-Robots-Tag", "noai, " + "x" * 2000)], OURS)
    assert len(signal.raw) == 512 and signal.evidence == "header: noai"


def test_a_flood_of_signals_is_cut_and_the_verdict_stays():
    metas = [("robots", f"max-snippet:{n}") for n in range(200)] + [("robots", "noai")]
    signals = consent.from_meta(metas, OURS)
    assert len(signals) == consent.MAX_SIGNALS and consent.verdict(signals) == "deny"
    lines = "".join(f"Content-Signal: search=yes, n={n}\n" for n in range(200)) + "Content-Signal: ai-train=no\n"
    robots = Robots(b"User-agent: *\n" + lines.encode())
    signals = consent.from_robots(robots, robots.decide("/", "x"), "/", "x")
    assert len(signals) == consent.MAX_SIGNALS + 1 and consent.verdict(signals) == "deny"
