"""What an answer for /robots.txt means: RFC 9309, sections 2.3.1 and 2.4, rules R-1 to R-6 of the crawling reference.

    ok            the rules in the body govern
    unavailable   400 to 499 but the ones below: everything is allowed
    forbidden     401 and 403: by `FetchPolicy.robots_forbidden` (default: disallow)
    unreachable   429, 5xx, a network fault, too many redirects, half a body: nothing is allowed, and it is asked again
"""
from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence

from crawl import urls
from crawl.ai_txt import PATH as AI_TXT_PATH
from crawl.ai_txt import AiTxt
from crawl.answers import OK_STATUSES, Fetched
from crawl.consent import from_robots
from crawl.policy import FetchPolicy
from crawl.records import ALLOW, DENY, Host, Signal
from crawl.robots import Decision, Robots
from crawl.stages import later
from crawl.tdmrep import PATH as TDMREP_PATH
from crawl.tdmrep import TdmRep

ROBOTS_PATH = "/robots.txt"
_HOUR = 3600
_DAY = 24 * _HOUR
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age\s*=\s*\"?(\d{1,9})", re.IGNORECASE)
# There is nobody to ask: the page would end the same way, and this says why.
_NO_SERVER = frozenset({"blocked_address", "dns_error", "dns_failure", "connect_error", "tls_error"})
_OUTCOMES = {"tdm_file": "optout_tdmrep", "ai_txt": "optout_ai_txt"}      # else a line of robots.txt refused
_HTML = re.compile(rb"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)


def robots_url(authority: str) -> str:
    """Returns where the rules of an authority are: /robots.txt, on that scheme, host and port only (R-1)."""
    return str(urls.normalize(authority + "/robots.txt"))


def host_of(authority: str, fetched: Fetched, now: str, policy: FetchPolicy, old: Host | None = None) -> Host:
    """Returns the state of an authority after its robots.txt was asked for at the time `now`.

    An old copy stands in while the file is unreachable, for `robots_reprieve_days` (R-4); after that, and without an
    old copy, an unreachable file forbids until those days are over, then it counts as unavailable.
    """
    answer = fetched.answer
    state = _state(fetched)
    body = whole_lines(answer.body, answer.truncated) if state == "ok" else b""
    host = Host(
        authority=authority, robots=state, cause=fetched.outcome, http_status=answer.status,
        hops=len(fetched.redirects), final_url=fetched.final_url, fetched_at=now,
        expires_at=later(now, _lifetime(answer.header("cache-control")) if state != "unreachable" else _HOUR),
        unreachable_since="", looks_html=bool(_HTML.match(body)), truncated=state == "ok" and answer.truncated,
        crawl_delay_s=0.0, sitemaps=(), sha256=hashlib.sha256(body).hexdigest(), body=body,
        tdm_cause="", tdm_body=old.tdm_body if old else b"", ai_cause="", ai_body=old.ai_body if old else b"")
    if state == "ok":
        robots = Robots(body)
        sitemaps = (urls.normalize(text, robots_url(authority)) for text in robots.sitemaps)
        return dataclasses.replace(host, crawl_delay_s=robots.crawl_delay(policy.product_token),
                                   visit_time=robots.visit_time(policy.product_token),
                                   sitemaps=tuple(dict.fromkeys(filter(None, sitemaps))))
    return _unreachable(host, now, policy, old) if state == "unreachable" else host


def _unreachable(host: Host, now: str, policy: FetchPolicy, old: Host | None) -> Host:
    since = old.unreachable_since if old and old.unreachable_since else now
    reprieve = later(since, policy.robots_reprieve_days * _DAY) > now
    if old and old.robots != "unreachable" and reprieve:
        return dataclasses.replace(old, expires_at=host.expires_at, unreachable_since=since)
    return dataclasses.replace(host, robots="unreachable" if reprieve else "unavailable", unreachable_since=since)


def files_after(url: str, policy: FetchPolicy) -> tuple[str, ...]:
    """Returns the URLs of the files that are asked for after this one of an authority, in order."""
    paths = (ROBOTS_PATH, TDMREP_PATH, *((AI_TXT_PATH,) if policy.ai_txt else ()))
    following = paths[paths.index(urls.target(url)) + 1:] if urls.target(url) in paths else ()
    return tuple(str(urls.normalize(path, url)) for path in following)


def with_file(host: Host, url: str, fetched: Fetched) -> Host:
    """Returns the state of an authority after one of `files_after` was asked for."""
    return with_ai_txt(host, fetched) if urls.target(url) == AI_TXT_PATH else with_tdmrep(host, fetched)


def without_file(host: Host, url: str, outcome: str) -> Host:
    """Returns the state of an authority one of whose files may not be asked for: what was known of it stays."""
    if urls.target(url) == AI_TXT_PATH:
        return dataclasses.replace(host, ai_cause=outcome)
    return dataclasses.replace(host, tdm_cause=outcome)


def with_tdmrep(host: Host, fetched: Fetched) -> Host:
    """Returns the state of an authority after its tdmrep.json was asked for: a fault leaves what was known before."""
    return dataclasses.replace(host, tdm_cause=fetched.outcome, tdm_body=_newest(host.tdm_body, fetched))


def with_ai_txt(host: Host, fetched: Fetched) -> Host:
    """Returns the state of an authority after its ai.txt was asked for: as with_tdmrep; a long file is cut."""
    answer = fetched.answer
    whole = dataclasses.replace(fetched, answer=dataclasses.replace(
        answer, body=whole_lines(answer.body, answer.truncated), truncated=False))
    return dataclasses.replace(host, ai_cause=fetched.outcome, ai_body=_newest(host.ai_body, whole))


def _newest(known: bytes, fetched: Fetched) -> bytes:
    if fetched.outcome == "ok" and not fetched.answer.truncated:
        return fetched.answer.body
    return b"" if fetched.outcome.startswith("http_4") and fetched.answer.status != 429 else known


def is_fresh(host: Host, now: str, policy: FetchPolicy) -> bool:
    """Returns whether the answers may still be used without asking again (R-5), and none that we want is missing."""
    return now < host.expires_at and bool(host.ai_cause or not policy.ai_txt)


def _state(fetched: Fetched) -> str:
    if fetched.outcome != "ok" and not fetched.outcome.startswith("http_"):
        return "unreachable"                 # R-4; and more than five redirects or a loop, stricter than R-2 asks
    status = fetched.answer.status
    if status in OK_STATUSES:
        return "ok"
    if status in (401, 403):
        return "forbidden"
    return "unavailable" if 400 <= status <= 499 and status != 429 else "unreachable"


def whole_lines(body: bytes, truncated: bool) -> bytes:
    """Returns the body up to its last complete line when it was cut (R-6)."""
    return body[:max(body.rfind(b"\n"), body.rfind(b"\r")) + 1] if truncated else body


def _lifetime(cache_control: str) -> int:
    """Returns for how many seconds a copy serves: its max-age, at least an hour and at most a day (R-5)."""
    found = _MAX_AGE.search(cache_control)
    return min(_DAY, max(int(found[1]), _HOUR)) if found else _DAY


class Access:
    """What one authority permits us: its rules and its preference lines."""

    def __init__(self, host: Host, policy: FetchPolicy) -> None:
        self.host = host
        self._policy = policy
        self._tdmrep = TdmRep(host.tdm_body)
        self._ai_txt = AiTxt(host.ai_body if policy.ai_txt else b"")
        self._robots = Robots(host.body if host.robots == "ok" else b"")
        self._forbidden = host.robots == "forbidden" and policy.robots_forbidden == "disallow"

    def ask(self, url: str) -> tuple[str, tuple[Signal, ...]]:
        """Returns the outcome that keeps us from a URL ("" for none), and the signals found."""
        if self.host.robots == "unreachable":
            outcome = self.host.cause if self.host.cause in _NO_SERVER else "deferred_robots_unreachable"
            return outcome, (self._whole("unreachable", DENY),)
        if self._forbidden:
            return "robots_denied", (self._whole("forbidden", DENY),)
        target = urls.target(url)
        if self.host.robots != "ok":
            signals: tuple[Signal, ...] = (self._whole(self.host.robots, ALLOW),)
        else:
            signals = from_robots(self._robots, self._decide(target), target, self._policy.product_token)
        signals += self._tdmrep.signals(target) + self._ai_txt.signals(target, self._policy.product_token)
        return _refusal(signals, self._policy), signals

    def _decide(self, target: str) -> Decision:
        decision = self._robots.decide(target, self._policy.product_token)
        for agent in self._policy.umbrella_agents:
            if decision.allowed and self._robots.group(agent) == agent.lower():
                decision = self._robots.decide(target, agent)
        return decision

    def _whole(self, state: str, verdict: str) -> Signal:
        return Signal("robots", "", verdict, f"robots.txt {state}: {self.host.cause}, status {self.host.http_status}")


def _refusal(signals: Sequence[Signal], policy: FetchPolicy) -> str:
    denied = {signal.name for signal in signals if signal.verdict == DENY}
    if policy.rsl == "deny":
        denied.update(signal.name for signal in signals if signal.name == "rsl")
    if "robots" in denied:
        return "robots_denied"
    for name in ("content_signal", "content_usage", "rsl", "tdm_file", "ai_txt"):
        if name in denied:
            return _OUTCOMES.get(name, "optout_robots")
    return ""
