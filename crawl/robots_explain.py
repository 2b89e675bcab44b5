"""Why may a URL be fetched, or why not?  One authority's answers in; lines that a person can follow out."""
from __future__ import annotations

import dataclasses

from crawl import urls
from crawl.policy import FetchPolicy, Network
from crawl.records import FetchRow, Host, Signal
from crawl.robots import Robots
from crawl.robots_access import Access, whole_lines
from crawl.visits import Visits


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """What is decided about one URL, and what decided it."""

    url: str
    allowed: bool
    outcome: str                   # ok, or the outcome the row of a crawl would have: robots_denied, bad_url, ...
    why: str                       # one line
    agent: str                     # the product token that was looked up
    robots: str                    # ok, unavailable, forbidden, unreachable; "" when it was not asked for
    http_status: int
    group: str                     # token of the group that governs the agent, "" when none does
    line: int                      # of the rule that decided, 0 when none did
    rule: str                      # e.g. `Disallow: /private`
    crawl_delay_s: float
    sitemaps: tuple[str, ...]
    signals: tuple[Signal, ...]    # the rule again, and every preference that robots.txt, tdmrep.json and ai.txt tell


def explain_file(body: bytes, paths: list[str], policy: FetchPolicy) -> list[Explanation]:
    """Returns what a robots.txt with this body decides about paths of its site.

    Args:
        paths: normalised URLs, or paths that are read as `https://example.com/PATH`.

    Raises ValueError for one that makes no URL.
    """
    found = []
    cut = whole_lines(body[:policy.robots_bytes], len(body) > policy.robots_bytes)
    robots = Robots(cut)
    for path in paths:
        url = urls.normalize(path, "https://example.com/")
        if url is None:
            raise ValueError(f"{path[:200]!r} is neither a path nor an http(s) URL")
        host = Host(authority=urls.authority(url), robots="ok", cause="ok", http_status=200, hops=0, final_url="",
                    fetched_at="", expires_at="", unreachable_since="", looks_html=False, truncated=cut != body,
                    crawl_delay_s=robots.crawl_delay(policy.product_token), sitemaps=tuple(robots.sitemaps), sha256="",
                    body=cut, tdm_cause="", tdm_body=b"")
        found.append(explain(host, url, policy))
    return found


def explain(host: Host, url: str, policy: FetchPolicy) -> Explanation:
    """Returns what the answers of an authority decide about one of its URLs, a normalised one."""
    outcome, signals = Access(host, policy).ask(url)
    robots = Robots(host.body if host.robots == "ok" else b"")
    decision = robots.decide(urls.target(url), policy.product_token)
    told = next((signal for signal in signals if signal.name == "robots"), None)
    if host.robots == "ok" and told is not None and told.evidence != decision.evidence:
        # An agent whose refusal we take for ours decided.
        decision = next(robots.decide(urls.target(url), agent) for agent in policy.umbrella_agents
                        if robots.decide(urls.target(url), agent).evidence == told.evidence)
    return Explanation(
        url=url, allowed=not outcome, outcome=outcome or "ok", why=_why(host, outcome, signals, policy),
        agent=policy.product_token, robots=host.robots, http_status=host.http_status, group=decision.group,
        line=decision.line, rule=decision.rule, crawl_delay_s=host.crawl_delay_s, sitemaps=host.sitemaps,
        signals=signals)


def _why(host: Host, outcome: str, signals: tuple[Signal, ...], policy: FetchPolicy) -> str:
    status = f"status {host.http_status}" if host.http_status else host.cause
    if host.robots == "unavailable":
        reason = (f"there is no robots.txt ({status}), and then everything is allowed (RFC 9309, section 2.3.1.3)"
                  if host.http_status < 500 and host.http_status != 429 else
                  f"robots.txt was out of reach for {policy.robots_reprieve_days} days ({status})")
    elif host.robots == "forbidden":
        refuses = policy.robots_forbidden == "disallow"
        reason = (f"robots.txt is closed to us ({status}); the setting robots_forbidden={policy.robots_forbidden} "
                  f"takes that {'for a refusal, where RFC 9309 would allow' if refuses else 'as RFC 9309 does'}")
    elif host.robots == "unreachable":
        reason = f"robots.txt is out of reach ({status}), and until it is not nothing is allowed (RFC 9309, 2.3.1.4)"
    else:
        reason = next(signal.evidence for signal in signals if signal.name == "robots")
    if outcome.startswith("optout_"):
        # A licence says neither allow nor deny; with rsl=deny it is what refuses.
        denied = next((signal for signal in signals if signal.verdict == "deny"), None) or next(
            signal for signal in signals if signal.name == "rsl")
        return f"{denied.name} {denied.raw!r} ({denied.evidence}) reserves it; robots rules: {reason}"
    return reason


def ask(url: str, policy: FetchPolicy, network: Network) -> Explanation:
    """Returns what the site of a normalised URL says today: asks for the site's own files, never for the URL."""
    visits = Visits(policy, network, "page", {}, rules_only=True)
    key = urls.url_key(url)
    row = FetchRow(key, key, url, "page", 0, urls.politeness_key(url), 0)
    visit = next(visit for visit in visits.run([row]) if visit is not None)
    host = next((host for host in visits.new_hosts if host.authority == urls.authority(url)), None)
    if host is not None:
        return explain(host, url, policy)
    return Explanation(url=url, allowed=False, outcome=visit.fetched.outcome,
                       why=f"no request may be made for it: {visit.fetched.outcome}", agent=policy.product_token,
                       robots="", http_status=0, group="", line=0, rule="", crawl_delay_s=0.0, sitemaps=(),
                       signals=visit.signals)
