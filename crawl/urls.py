"""URLs: one parser (WHATWG, by ada) for links, keys, robots, the dial guard and politeness.

Every other module takes URLs that went through `normalize`; `url_key` of such a URL is its identity everywhere.
"""
from __future__ import annotations

import functools
import hashlib
import ipaddress
import re

import ada_url

from crawl import suffixes

MAX_URL = 2083                     # characters; what old browsers took, and longer ones are traps (reference, S3)
_BEGINNINGS = ("http://", "https://")
_DEFAULT_PORTS = {"http:": 80, "https:": 443}
# What HTML attributes carry around a URL; inside a URL a control character is an attack or an accident.
_OUTER_SPACE = " \t\r\n\f"
_CONTROLS = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0))))

# A URL that is its own serialisation: most are.  No host that could be a number, no Punycode, no dot segment, nothing
# that would be encoded, no fragment.
_PLAIN = re.compile(r"https?+://(?!\.|[^/]*xn--)(?:[a-z0-9_-]++\.)+[a-z][a-z0-9-]*+"
                    r"/(?!\.|%2[eE])(?:[A-Za-z0-9_~!$&()*+,;=:@-]++|[.](?!/)|%(?!2[eE])|/(?!\.|%2[eE]))*+"
                    r"(?:\?[A-Za-z0-9_~!$&()*+,;=:@/%.-]*+)?+")


def normalize(url: str, base: str | None = None) -> str | None:
    """Returns the WHATWG serialisation without fragment, resolved against `base`; None for what is not to be fetched.

    None: another scheme than http(s), user info, a control character, a host that is none, over 2,083 characters.
    The answer is ASCII, and normalising it again changes nothing.

    >>> normalize("HTTP://Bücher.example:80/a/../ü?q#top")
    'http://xn--bcher-kva.example/%C3%BC?q'
    >>> normalize("cat.jpg", "https://a.example/x/page.html")
    'https://a.example/x/cat.jpg'
    >>> normalize("http://me:secret@a.example/") is None
    True
    """
    whole = url if base is None else _joined(url, base)
    if _PLAIN.fullmatch(whole) and len(whole) <= MAX_URL:
        return whole
    url = url.strip(_OUTER_SPACE)
    if len(url) > 4 * MAX_URL or not _CONTROLS.isdisjoint(url):
        return None
    try:
        text = ada_url.normalize_url(url) if base is None else ada_url.join_url(base, url)
    except ValueError:
        return None
    # What follows reads the serialisation: in it "#" and an "@" of the authority stand for nothing else.
    text = text.partition("#")[0]
    if not text.startswith(_BEGINNINGS) or "@" in text.partition("://")[2].partition("/")[0]:
        return None
    return text if len(text) <= MAX_URL and text.isascii() else None


def _joined(url: str, base: str) -> str:
    """Returns a reference resolved against a normalised URL as far as that is done by putting the two together.

    Where the result is no _PLAIN URL it may be wrong: ada is asked then.
    """
    if url[:4] == "http" or ":" in url:
        return url
    origin, folder = _beginnings(base)
    if url[:1] == "/":
        return url if url[1:2] == "/" else origin + url
    while url[:3] == "../":
        url = url[3:]
        folder = folder[:folder.rfind("/", len(origin), -1) + 1] or folder
    return folder + url if url and url[0] not in "?#" else ""


@functools.lru_cache(maxsize=256)
def _beginnings(base: str) -> tuple[str, str]:
    """Returns what a reference to a path and one to a neighbour begin with: without and with a `/` at the end."""
    path = base.partition("?")[0]
    return path[:path.find("/", 8)], path[:path.rfind("/") + 1]


def url_key(url: str) -> str:
    """Returns 32 hex digits of sha256 of a normalised URL."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


@functools.lru_cache(maxsize=16384)
def _parts(url: str) -> tuple[str, str, int, str]:
    """Returns scheme, host, port and target; a request asks for them a dozen times."""
    parsed = ada_url.URL(url)
    protocol, port = parsed.protocol, parsed.port
    return (protocol.removesuffix(":"), parsed.hostname.strip("[]").removesuffix("."),
            int(port) if port else _DEFAULT_PORTS[protocol], parsed.pathname + parsed.search)


def scheme(url: str) -> str:
    """Returns `http` or `https`."""
    return _parts(url)[0]


def host(url: str) -> str:
    """Returns the host name or IP literal as it is dialled: lower case, IPv6 without brackets, no final dot."""
    return _parts(url)[1]


def port(url: str) -> int:
    """Returns the port, the scheme's own when none is written."""
    return _parts(url)[2]


def target(url: str) -> str:
    """Returns path and query: what robots rules are matched against."""
    return _parts(url)[3]


def host_port(url: str) -> str:
    """Returns `host:port`, IPv6 in brackets, the port always written.

    >>> host_port("https://a.example/x")
    'a.example:443'
    """
    name = host(url)
    return f"[{name}]:{port(url)}" if ":" in name else f"{name}:{port(url)}"


def authority(url: str) -> str:
    """Returns `scheme://host:port`: what one robots.txt governs (RFC 9309, section 2.3).

    >>> authority("https://a.example/x")
    'https://a.example:443'
    """
    return f"{scheme(url)}://{host_port(url)}"


def politeness_key(url: str) -> str:
    """Returns whose server a request loads: the registrable domain, or host:port of an IP literal or a bare name.

    Private suffixes count (each blog of a hoster is its own domain); of a suffix nobody registered (`.test`) the last
    two labels are taken.

    >>> politeness_key("https://img.news.co.uk/a.jpg"), politeness_key("http://www.h017.test:8080/")
    ('news.co.uk', 'h017.test')
    >>> politeness_key("http://127.0.0.1:18080/a")
    '127.0.0.1:18080'
    """
    return _registrable(host(url)) or host_port(url)


def site(url: str) -> str:
    """Returns what counts as one site for staying on it: the same as the politeness key."""
    return politeness_key(url)


@functools.lru_cache(maxsize=65536)
def _registrable(name: str) -> str:
    """Returns the registrable domain of a host name, "" for an IP literal or a name of one label."""
    if is_ip(name) or "." not in name:
        return ""
    return suffixes.registrable(name) or ".".join(name.split(".")[-2:])


def is_ip(name: str) -> bool:
    """Returns whether a host is an IP literal (IPv6 without brackets)."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
