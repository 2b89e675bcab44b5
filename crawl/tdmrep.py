"""/.well-known/tdmrep.json: what a site says of text and data mining (TDMRep, W3C Community Group report).

The first entry whose location fits a path counts.  A file that is missing or malformed says nothing.
"""
from __future__ import annotations

import json

from crawl.consent import MAX_RAW, reservation
from crawl.records import Signal
from crawl.robots import Pattern, canonical

PATH = "/.well-known/tdmrep.json"


class TdmRep:
    """The reservations of one origin."""

    def __init__(self, data: bytes) -> None:
        self._entries: list[tuple[Pattern, Signal]] = []
        try:
            value = json.loads(data) if data else []
        except (ValueError, RecursionError):
            return
        for number, entry in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(entry, dict) and isinstance(entry.get("location"), str):
                flag = entry.get("tdm-reservation")
                raw = json.dumps(entry, sort_keys=True)[:MAX_RAW]
                signal = reservation("tdm_file", str(flag) if type(flag) in (int, str) else "", raw,
                                     f"tdmrep.json entry {number}")
                self._entries.append((Pattern(entry["location"]), signal))

    def signals(self, target: str) -> tuple[Signal, ...]:
        """Returns the reservation of a path and query, or nothing where the file is silent.

        >>> TdmRep(b'[{"location": "/", "tdm-reservation": 1}]').signals("/x")[0].verdict
        'deny'
        """
        path = canonical(target, is_pattern=False)
        return next(((signal,) for pattern, signal in self._entries if pattern.matches(path)), ())
