"""Permission signals in headers, in meta elements and in robots.txt, each raw and with its own verdict.

A stage keeps the signals and applies `verdict`; a stricter policy later reads the same signals again.  Section 3 of the
crawling reference: robots meta and header, TDMRep, AIPREF (Content-Usage), Content-Signal, RSL licences, and what
robots.txt tells the training agents of others.
"""
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from crawl.records import ALLOW, DENY, UNKNOWN, Signal
from crawl.robots import Decision, Robots

MAX_RAW = 512                      # characters of a signal that are kept
MAX_SIGNALS = 16                   # of one source: each is stored again with every image of a page

# Each of these says "not for an index" or "not for learning": a page or image under it is not used.
REFUSALS = frozenset({"noindex", "none", "noimageindex", "noai", "noimageai", "noml"})
_NO_LINKS = frozenset({"nofollow", "none"})
_META = "meta name="               # begins the evidence of a meta element
# Directives with a value of their own: what stands before the colon is no agent (reference, finding 3).
_VALUED = frozenset({"max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"})
_AGENT = re.compile(r"[A-Za-z0-9_-]+|\*")
_SPLIT = re.compile(r"[,;\s]+")
# Agents that gather for training; what sites tell them is recorded, so that a policy can take it for itself later.
WATCHED_AGENTS = frozenset({
    "amazonbot", "anthropic-ai", "applebot-extended", "bytespider", "ccbot", "claudebot", "cohere-ai", "diffbot",
    "facebookbot", "google-extended", "gptbot", "imagesiftbot", "meta-externalagent", "omgili", "perplexitybot"})
_LICENCE = re.compile(r"<([^<>]{1,2083})>([^<>]{0,512})")          # one link of a Link header (RFC 8288), bounded
RSL_TYPE = "application/rsl+xml"
_NEAREST_LAST = ("tdm_file", "tdm_header", "tdm_meta")
_YES_NO = {"yes": ALLOW, "y": ALLOW, "no": DENY, "n": DENY}


def from_headers(headers: Iterable[tuple[str, str]], tokens: frozenset[str]) -> tuple[Signal, ...]:
    """Returns the signals in response headers; `tokens` are the lower-case agent names that bind us."""
    found: list[Signal] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "x-robots-tag":
            found.append(_directives("x_robots_tag", value, _tagged(value, tokens)))
        elif lower == "robots-tag":
            found.append(_directives("robots_tag", value, _tagged_dictionary(value, tokens)))
        elif lower == "link":
            found += [_licence(url.strip(), "header") for url, rest in _LICENCE.findall(value)
                      if RSL_TYPE in rest.lower() and "license" in rest.lower()]
        elif lower == "tdm-reservation":
            found.append(reservation("tdm_header", value, value, "header"))
        elif lower == "content-usage":
            found.append(Signal("content_usage", value[:MAX_RAW], _train_ai(value), "header"))
    return _few(found)


def from_meta(metas: Iterable[tuple[str, str]], tokens: frozenset[str]) -> tuple[Signal, ...]:
    """Returns the signals in (name, content) of a page's meta elements, in document order."""
    found: list[Signal] = []
    for name, content in metas:
        lower = name.strip().lower()
        if lower == "robots" or lower in tokens:
            found.append(_directives("meta_robots", content, _SPLIT.split(content.lower()), f"{_META}{lower}"))
        elif lower in WATCHED_AGENTS:
            found.append(Signal("meta_robots", content[:MAX_RAW], UNKNOWN, f"{_META}{lower}"))
        elif lower == "tdm-reservation":
            found.append(reservation("tdm_meta", content, content, f"{_META}{lower}"))
    return _few(found)


def from_licences(links: Iterable[tuple[str, str]]) -> tuple[Signal, ...]:
    """Returns the signals in (type, href) of a page's `link rel=license` elements: RSL, or any other licence."""
    return _few([_licence(href, "link rel=license") if kind.strip().lower() == RSL_TYPE
                 else Signal("license", href[:MAX_RAW], UNKNOWN, "link rel=license") for kind, href in links])


def from_robots(robots: Robots, decision: Decision, target: str, token: str) -> tuple[Signal, ...]:
    """Returns the rule that decided on a path, the preference lines of the group that governs us, and the licences.

    The watched agents that have a group of their own and may not come make one more signal, which decides nothing here.
    """
    rule = Signal("robots", decision.rule, ALLOW if decision.allowed else DENY, decision.evidence)
    found: list[Signal] = []
    for line in robots.lines(token):
        if line.key == "content-signal":
            found.append(Signal("content_signal", line.value[:MAX_RAW], _content_signal(line.value),
                                f"robots.txt line {line.number}"))
    for line, value in robots.usage(target, token):
        found.append(Signal("content_usage", line.value[:MAX_RAW], _train_ai(value), f"robots.txt line {line.number}"))
    found += [_licence(line.value, f"robots.txt line {line.number}") for line in robots.licences]
    refused = [(agent, other) for agent in robots.own_groups(WATCHED_AGENTS)
               if not (other := robots.decide(target, agent)).allowed]
    if refused:
        names = ", ".join(agent for agent, _ in refused)
        found.insert(0, Signal("other_agents", names, UNKNOWN, refused[0][1].evidence))
    return rule, *_few(found)


def refuses_agents(signal: Signal, agents: frozenset[str]) -> bool:
    """Returns whether a stored signal refuses one of these lower-case agent names, whoever fetched it."""
    if signal.name == "other_agents":
        return not agents.isdisjoint(signal.raw.split(", "))
    if signal.name == "x_robots_tag":
        return not REFUSALS.isdisjoint(_tagged(signal.raw, agents))
    if signal.name == "robots_tag":
        return not REFUSALS.isdisjoint(_tagged_dictionary(signal.raw, agents))
    if signal.name == "meta_robots":
        named = signal.evidence.removeprefix(_META).partition(":")[0]
        return named in agents and not REFUSALS.isdisjoint(_SPLIT.split(signal.raw.lower()))
    return False


def forbids_links(signals: Iterable[Signal], tokens: frozenset[str]) -> bool:
    """Returns whether a header or meta element asks everyone or us not to follow the links of a page."""
    for signal in signals:
        told: Iterable[str] = ()
        if signal.name == "x_robots_tag":
            told = _tagged(signal.raw, tokens)
        elif signal.name == "robots_tag":
            told = _tagged_dictionary(signal.raw, tokens)
        elif signal.name == "meta_robots" and signal.evidence.removeprefix(_META).partition(":")[0] in {
                "robots", *tokens}:
            told = _SPLIT.split(signal.raw.lower())
        if not _NO_LINKS.isdisjoint(told):
            return True
    return False


def _few(found: list[Signal]) -> tuple[Signal, ...]:
    """Returns at most MAX_SIGNALS; where there are more, those that deny come first, so that the verdict stays."""
    if len(found) > MAX_SIGNALS:
        found = sorted(found, key=lambda signal: signal.verdict != DENY)[:MAX_SIGNALS]
    return tuple(found)


def verdict(signals: Sequence[Signal]) -> str:
    """Returns deny if any signal denies, else allow if any allows, else unknown.

    Of the TDM reservations the nearest known one counts: a page's meta element, its header, the site's file (TDMRep).
    """
    reservations = [signal for signal in signals if signal.name in _NEAREST_LAST and signal.verdict != UNKNOWN]
    counted = {signal.verdict for signal in signals if signal.name not in _NEAREST_LAST}
    reservations.sort(key=lambda signal: _NEAREST_LAST.index(signal.name))
    counted.update(signal.verdict for signal in reservations[-1:])
    return DENY if DENY in counted else ALLOW if ALLOW in counted else UNKNOWN


def _licence(url: str, evidence: str) -> Signal:
    """Returns terms that nobody here has read: what they mean is a matter of policy."""
    return Signal("rsl", url[:MAX_RAW], UNKNOWN, evidence)


def _directives(name: str, raw: str, directives: Iterable[str], evidence: str = "header") -> Signal:
    refused = [directive for directive in directives if directive in REFUSALS]
    return Signal(name, raw[:MAX_RAW], DENY if refused else UNKNOWN,
                  f"{evidence}: {', '.join(dict.fromkeys(refused))}" if refused else evidence)


def _tagged(value: str, tokens: frozenset[str]) -> list[str]:
    """Returns the directives of an X-Robots-Tag value that address everyone or us."""
    ours = True
    found = []
    for item in value.lower().split(","):
        head, colon, rest = (part.strip() for part in item.partition(":"))
        if colon and head not in _VALUED and _AGENT.fullmatch(head):
            ours = head == "*" or head in tokens
            head, colon, rest = (part.strip() for part in rest.partition(":"))
        if ours and not colon:
            found += _SPLIT.split(head)
    return found


def _tagged_dictionary(value: str, tokens: frozenset[str]) -> list[str]:
    """Returns the directives of a `Robots-Tag: *=noindex; ExampleBot=nosnippet` value that address everyone or us."""
    found = []
    for item in value.lower().split(";"):
        agent, equals, directives = (part.strip() for part in item.partition("="))
        if not equals:
            found += _SPLIT.split(agent)
        elif agent == "*" or agent in tokens:
            found += _SPLIT.split(directives.strip("()\" "))
    return found


def reservation(name: str, value: str, raw: str, evidence: str) -> Signal:
    """Returns a TDM reservation: 1 reserves, 0 does not, anything else is as if it were not there."""
    return Signal(name, raw[:MAX_RAW], {"1": DENY, "0": ALLOW}.get(value.strip(), UNKNOWN), evidence)


def _train_ai(value: str) -> str:
    """Returns what a Content-Usage dictionary says of `train-ai`: the last one wins, a malformed list is unknown."""
    found = UNKNOWN
    for member in value.split(","):
        key, equals, rest = member.strip(" \t").partition("=")
        if not re.fullmatch(r"[a-z*][a-z0-9_.*-]*", key):
            return UNKNOWN
        if key == "train-ai":
            token = rest.partition(";")[0].strip()
            found = {"y": ALLOW, "n": DENY}.get(token, UNKNOWN) if equals else UNKNOWN
    return found


def _content_signal(value: str) -> str:
    """Returns what a Content-Signal line says of `ai-train`."""
    found = UNKNOWN
    for member in value.lower().split(","):
        key, _, token = (part.strip() for part in member.partition("="))
        if key == "ai-train":
            found = _YES_NO.get(token, UNKNOWN)
    return found
