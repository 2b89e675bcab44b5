"""Identifiers that a server puts into the links of one visit: dropped, or every round finds every page anew (S10).

Dropped, and not refused, because many such sites link their pages in no other way.
"""
from __future__ import annotations

import re

from crawl import urls

# Names that mean nothing else.
_SURE = r"phpsessid|jsessionid|aspsessionid[a-z]{0,20}|cfid|cftoken|oscsid|zenid|sessionid|session_id|phpsession"
# Names that also number things: only a value that is long and holds digits is an identifier of a visit.
_MAYBE = r"sid|s|session"
_MAYBE_VALUE = r"(?=[^&;]{0,64}\d)[0-9a-z,_-]{20,128}"
_PARAMETER = re.compile(rf"(?:(?:{_SURE})=[^&;]*|(?:{_MAYBE})={_MAYBE_VALUE})", re.IGNORECASE)
_PATH_PARAMETER = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/;?]*", re.IGNORECASE)
_PATH_SEGMENT = re.compile(r"/\([A-Z]\([0-9a-z]{20,40}\)\)(?=/)", re.IGNORECASE)       # ASP.NET without cookies
_SUSPECT = re.compile(rf"[?&;](?:{_SURE}|{_MAYBE})=|/\([A-Z]\(", re.IGNORECASE)


def without_visit_id(url: str) -> str:
    """Returns a normalised URL without the identifiers of a visit in its path and query; mostly the URL itself.

    >>> without_visit_id("http://a.test/shop;jsessionid=8F2A?item=3&PHPSESSID=9b1c&page=2")
    'http://a.test/shop?item=3&page=2'
    >>> without_visit_id("http://a.test/news?sid=1234")
    'http://a.test/news?sid=1234'
    """
    if not _SUSPECT.search(url):
        return url
    whole, _, query = url.partition("?")
    path = _PATH_SEGMENT.sub("", _PATH_PARAMETER.sub("", whole))
    kept = [pair for pair in query.split("&") if not _PARAMETER.fullmatch(pair)]
    return urls.normalize(path + ("?" + "&".join(kept) if query and kept else "")) or url
