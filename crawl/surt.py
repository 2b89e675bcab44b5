"""SURT: a URL as a key that sorts by domain, subdomain, path, as web archives and their indexes write it.

The form is that of the Internet Archive's `surt` package 0.3.1, which the tools that write CDX files call, so that
keys match theirs.  Different URLs may have one SURT: it finds captures and is no identity (`urls.url_key` is one).
"""
from __future__ import annotations

import re
import urllib.parse

from crawl import urls

_PRINTABLE = "!\"$&'()*+,-./:;<=>?@[\\]^_`{|}~"         # stand as they are; "#" and "%" do not
_WWW = re.compile(r"www\d*\.")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SESSION_FOLDERS = tuple(re.compile(rf"(.*/){folder}/([^?]+\.aspx.*)") for folder in (
    r"\((?:[a-z]\([0-9a-z]{24}\))+\)", r"\([0-9a-z]{24}\)"))
_SESSION_PARAMETERS = tuple(re.compile(rf"(.*){parameter}(?:&(.*))?") for parameter in (
    "jsessionid=[0-9a-z]{32}", "phpsessid=[0-9a-z]{32}", "sid=[0-9a-z]{32}", "aspsessionid[a-z]{8}=[a-z]{24}",
    "cfid=[^&]+&cftoken=[^&]+"))


def surt(url: str) -> str:
    """Returns the SURT of a normalised URL: ASCII without a space, no scheme, no default port, no `www.`.

    Lower case throughout; parameters in order, session identifiers and a final slash gone.

    >>> surt("https://www.News.Example.org:8080/A//b/?z=1&a=%41#top")
    'org,example,news:8080)/a/b?a=a&z=1'
    """
    whole = urls.normalize(url)
    if whole is None:
        raise ValueError(f"{url[:200]!r} is no http(s) URL to make a SURT of")
    path, _, query = urls.target(whole).partition("?")
    port = urls.port(whole)
    suffix = "" if port == _DEFAULT_PORTS[urls.scheme(whole)] else f":{port}"
    return f"{_host(urls.host(whole))}{suffix}){_path(path)}" + (f"?{found}" if (found := _query(query)) else "")


def _host(name: str) -> str:
    name = name.replace("..", ".").strip(".")
    if www := _WWW.match(name):
        name = name[www.end():]
    return ",".join(reversed(name.split(".")))


def _path(path: str) -> str:
    kept: list[bytes] = []
    for segment in _decoded(path).split(b"/")[1:]:
        if segment == b"..":
            kept = kept[:-1] if kept else [segment]
        elif segment != b".":
            kept.append(segment)
    # An empty segment is dropped anywhere but at the end, where it is the final slash.
    path = _encoded(b"/" + b"/".join([one for one in kept[:-1] if one] + kept[-1:])).lower()
    for pattern in _SESSION_FOLDERS:
        if found := pattern.fullmatch(path):
            path = found[1] + found[2]
    return path.removesuffix("/") if len(path) > 1 else path


def _query(query: str) -> str:
    query = _encoded(_decoded(query)).lower()
    for pattern in _SESSION_PARAMETERS:
        if found := pattern.fullmatch(query):
            query = found[1] + (found[2] or "")
    if len(query) <= 1:
        return query
    return "&".join("=".join(pair) for pair in sorted(tuple(one.split("=", 1)) for one in query.split("&")))


def _decoded(text: str) -> bytes:
    """Returns the bytes of a text whose percent-encoding, and that of the result, is undone until none is left."""
    data = text.encode("ascii")
    while (less := urllib.parse.unquote_to_bytes(data)) != data:
        data = less
    return data


def _encoded(data: bytes) -> str:
    return urllib.parse.quote_from_bytes(data, safe=_PRINTABLE)
