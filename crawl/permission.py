"""What a policy makes of the permission signals of a row: permission = f(signals, rules), with no request.

The crawl stores every signal raw and judges it as it fetches.  Later stages judge the same signals again by their own
`PermissionRules`: stricter rules remove rows, with a stable reason; no rules bring back what was never fetched.
docs/permission.md says what each signal means.
"""
from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crawl import consent
from crawl.records import DENY, UNKNOWN, Signal

# Which signals with a verdict of their own a source can know; one that it cannot know says neither allow nor deny.
_OF_ANSWER = ("x_robots_tag", "robots_tag", "tdm_header", "content_usage", "meta_robots", "tdm_meta")
KNOWN_SIGNALS: dict[str, tuple[str, ...]] = {
    "live": ("robots", "content_signal", "tdm_file", "ai_txt", *_OF_ANSWER),
    "recorded": _OF_ANSWER,        # answers that somebody else fetched (Common Crawl, WARC files)
    "table": (),                   # URLs and captions
}
SIGNALS = KNOWN_SIGNALS["live"]


@dataclasses.dataclass(frozen=True, slots=True)
class PermissionRules:
    """What is refused beyond what the crawl refused itself."""

    unknown: str = "allow"                    # allow or deny: a row for which no binding signal says allow or deny
    binding: tuple[str, ...] = SIGNALS        # whose word counts, e.g. ("robots",) with unknown=deny
    umbrella_agents: tuple[str, ...] = ()     # other agents whose refusal counts as ours, e.g. CCBot, GPTBot
    rsl: str = "ignore"                       # ignore or deny: a licence (RSL) that nobody here has read

    def __post_init__(self) -> None:
        if self.unknown not in ("allow", "deny"):
            raise ValueError(f"unknown is {self.unknown!r}; it is 'allow' or 'deny'")
        if self.rsl not in ("ignore", "deny"):
            raise ValueError(f"rsl is {self.rsl!r}; it is 'ignore' or 'deny'")
        for name in self.binding:
            if name not in SIGNALS:
                raise ValueError(f"binding: there is no signal {name!r} with a verdict; there are {', '.join(SIGNALS)}")
        for agent in self.umbrella_agents:
            if agent.lower() not in consent.WATCHED_AGENTS:
                raise ValueError(f"umbrella_agents: what sites say of {agent!r} is not recorded; recorded are "
                                 f"{', '.join(sorted(consent.WATCHED_AGENTS))}; for another one set "
                                 f"fetch.umbrella_agents before the crawl")


def refusal(signals: Sequence[Signal], permission: str, rules: PermissionRules) -> str:
    """Returns what refuses a row: the name of a signal, `recorded` for a verdict without one, `unknown`, or "".

    Args:
        permission: the verdict stored with the row; a stored deny stays one under any rules, and of a row without
            signals it is all there is.

    >>> licence = Signal("rsl", "https://a.example/l.xml", "unknown", "robots.txt line 1")
    >>> refusal((licence,), "allow", PermissionRules()), refusal((licence,), "allow", PermissionRules(rsl="deny"))
    ('', 'rsl')
    """
    if permission == DENY:
        return next((signal.name for signal in signals if signal.verdict == DENY), "recorded")
    agents = frozenset(agent.lower() for agent in rules.umbrella_agents)
    for signal in signals:
        if (signal.name == "rsl" and rules.rsl == "deny") or (agents and consent.refuses_agents(signal, agents)):
            return signal.name
    bound = [signal for signal in signals if signal.name in rules.binding]
    told = consent.verdict(bound) if signals else permission
    if told == DENY:               # a reservation that one nearer to the page took back, which does not bind
        return next(signal.name for signal in bound if signal.verdict == DENY)
    return "unknown" if told == UNKNOWN and rules.unknown == "deny" else ""


def reason(signals: Sequence[Signal], permission: str, rules: PermissionRules) -> str:
    """Returns the stable reason of a row that is refused, "" of another: not_permitted is the crawl's own verdict.

    >>> reason((), "deny", PermissionRules()), reason((), "unknown", PermissionRules(unknown="deny"))
    ('not_permitted', 'not_permitted_unknown')
    """
    cause = refusal(signals, permission, rules)
    return cause and ("not_permitted" if permission == DENY else f"not_permitted_{cause}")


def never_fetched(outcomes: Iterable[tuple[str, int]]) -> str:
    """Returns the note of a judge about the rows that the crawl refused, from (outcome, count); "" without such rows.

    >>> never_fetched([("ok", 5), ("robots_denied", 3), ("optout_meta", 1)])    # doctest: +ELLIPSIS
    '4 pages were refused when they were crawled (1 optout_meta, 3 robots_denied): ...'
    """
    refused: collections.Counter[str] = collections.Counter()
    for name, count in outcomes:
        if name == "robots_denied" or name.startswith("optout_"):
            refused[name] += count
    said = ", ".join(f"{count} {name}" for name, count in sorted(refused.items()))
    return said and (f"{refused.total()} pages were refused when they were crawled ({said}): their bodies were not "
                     "kept, so no setting of permission.* brings them back, only a new crawl with other settings of "
                     "fetch.*")


def rules_of(config: Mapping[str, Any]) -> PermissionRules:
    """Returns the rules in the config that a judge's manifest carries."""
    written: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value
                               for name, value in config.get("permission", {}).items()}
    return PermissionRules(**written)
