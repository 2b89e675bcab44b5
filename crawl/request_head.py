"""What we send for a URL: the header lines of a request, and the whole head as the line carries it."""
from __future__ import annotations

from crawl import urls

_ACCEPT = {"page": "text/html,application/xhtml+xml,*/*;q=0.1", "sitemap": "application/xml,text/xml,*/*;q=0.1",
           "robots": "text/plain,*/*;q=0.1", "image": "image/jpeg,image/png,image/webp,image/gif,*/*;q=0.1"}


def accept_lines(kind: str) -> list[str]:
    """Returns the header lines that a request for a `page`, `sitemap`, `image` or `robots` file adds."""
    return [f"Accept: {_ACCEPT[kind]}", f"Accept-Encoding: {'identity' if kind == 'image' else 'gzip, br'}"]


def request_head(url: str, kind: str, user_agent: str, more: tuple[str, ...] = ()) -> bytes:
    """Returns the bytes that `fetch.Client` sends for a normalised URL: libcurl's order of lines, over HTTP/1.1.

    Args: more: further header lines, the conditions of a request.

    >>> request_head("http://a.test/x?y", "page", "bot/1.0").splitlines()[:3]
    [b'GET /x?y HTTP/1.1', b'Host: a.test', b'User-Agent: bot/1.0']
    """
    host = f"[{urls.host(url)}]" if ":" in urls.host(url) else urls.host(url)
    usual = {"http": 80, "https": 443}[urls.scheme(url)]
    named = host if urls.port(url) == usual else f"{host}:{urls.port(url)}"
    lines = [f"GET {urls.target(url)} HTTP/1.1", f"Host: {named}", f"User-Agent: {user_agent}", *accept_lines(kind),
             *more]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
