"""The Public Suffix List: under which names does anybody register?  https://publicsuffix.org/list/

The list is the one that the package tldextract brings along.  Its code is not imported: it loads an HTTP client, which
took half of the time that a sandbox needs to start.  Never the network, never a cache folder of the user.
"""
from __future__ import annotations

import functools
import importlib.util
import pathlib
import re

_RULE = re.compile(r"^(?!//)\S+", re.MULTILINE)


@functools.cache
def rules() -> frozenset[str]:
    """Returns the rules of the list, private ones included, in ASCII; `*` and `!` are as they stand there."""
    spec = importlib.util.find_spec("tldextract")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package tldextract, which brings the Public Suffix List along, is not installed")
    text = pathlib.Path(spec.origin).with_name(".tld_set_snapshot").read_text(encoding="utf-8")
    return frozenset(rule if rule.isascii() else ".".join(map(_ascii, rule.split("."))) for rule in _RULE.findall(text))


def registrable(name: str) -> str:
    """Returns the public suffix of a host name (ASCII, lower case) and the label before it; "" where no rule matches.

    A name that is a suffix itself is returned whole.

    >>> registrable("img.news.co.uk"), registrable("co.uk"), registrable("www.h017.test")
    ('news.co.uk', 'co.uk', '')
    """
    known = rules()
    labels = name.split(".")
    for place in range(len(labels)):                   # the longest first; an exception is longer than its wildcard
        above = ".".join(labels[place + 1:])
        whole = f"{labels[place]}.{above}" if above else labels[place]
        if f"!{whole}" in known:
            return whole
        if whole in known or above and f"*.{above}" in known:
            return ".".join(labels[max(place - 1, 0):])
    return ""


def _ascii(label: str) -> str:
    return label if label.isascii() else "xn--" + label.encode("punycode").decode()
