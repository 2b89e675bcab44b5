"""What sites allowed their visitor: a file with a registrable domain and a number of requests a second on each line.

    # asked on 3 May, answered by their operator
    example.org  2
    images.example.net  0.5        an error: the domain is example.net, and the rate is of all its hosts together

The rate takes the place of our own pauses there, for pages and images; robots.txt and Retry-After still win.
"""
from __future__ import annotations

import math

from crawl import urls
from crawl.errors import UsageError

_MAX_RATE = 1000.0


def read_host_rates(path: str) -> tuple[tuple[str, float], ...]:
    """Returns (politeness key, requests a second) of each line, sorted; raises UsageError and names the line."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--host-rate {path}: cannot be read: {getattr(error, 'strerror', error)}") from error
    rates: dict[str, float] = {}
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            key, rate = _rate(words)
            if key in rates:
                raise ValueError(f"{key} has a line above")
        except ValueError as error:
            raise UsageError(f"--host-rate {path}, line {number}: {error}") from None
        rates[key] = rate
    return tuple(sorted(rates.items()))


def _rate(words: list[str]) -> tuple[str, float]:
    if len(words) != 2:
        raise ValueError(f"{' '.join(words)[:80]!r} is not HOST RATE, such as `example.org 2`")
    name, text = words
    url = urls.normalize(f"http://{name}/")
    if url is None or urls.target(url) != "/" or "/" in name:
        raise ValueError(f"{name[:80]!r} is no host name")
    key = urls.politeness_key(url)
    if key not in (urls.host(url), urls.host_port(url)):
        raise ValueError(f"{name} belongs to {key}, whose hosts share one rate; write {key}")
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= _MAX_RATE:
        raise ValueError(f"{text[:40]!r} is no number of requests a second above 0 and up to {_MAX_RATE:g}")
    return key, rate
