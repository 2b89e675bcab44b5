"""/ai.txt: what a site wants to be used for training, in the syntax of robots.txt (proposed by Spawning).

Its patterns are file kinds as often as paths: `*.jpg`, or `.jpg`, anywhere in a path.  The longest pattern wins, as in
robots.txt.  A file that is missing, or is a page that says so, tells nothing.
"""
from __future__ import annotations

from crawl.records import ALLOW, DENY, Signal
from crawl.robots import Robots

PATH = "/ai.txt"


class AiTxt:
    """The rules of one ai.txt."""

    def __init__(self, data: bytes) -> None:
        self._rules = Robots(data, relaxed=True)

    def signals(self, target: str, token: str) -> tuple[Signal, ...]:
        """Returns the rule that decides on a path and query, or nothing where none does.

        >>> AiTxt(b"User-Agent: *\\nDisallow: *.jpg").signals("/a/b.jpg", "me")[0].verdict
        'deny'
        """
        decision = self._rules.decide(target, token)
        if not decision.line:
            return ()
        return (Signal("ai_txt", decision.rule, ALLOW if decision.allowed else DENY, f"ai.txt {decision.evidence}"),)
