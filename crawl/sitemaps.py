"""Which URLs does a sitemap name?  sitemaps.org XML, index or list, or plain text; gzip too; never an XML parser.

Rule R-21 of the crawling reference.  A sitemap speaks for its own site only, wherever robots.txt named it: what lies
elsewhere is not taken, so that nobody's sitemap sends the crawl to somebody else.
"""
from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterable, Iterator

from crawl import urls
from crawl.decode import decode
from crawl.records import FetchLog, Link
from crawl.visit_ids import without_visit_id

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_RATIO = 500                   # sitemaps repeat themselves
# Every piece stops at the next "<", so that no input makes it go back.
_LOC = re.compile(r"<(?:([A-Za-z_][\w.-]{0,30}):)?loc\s*>\s*(?:<!\[CDATA\[)?([^<]{0,8400})<")
_INDEX = re.compile(r"<(?:[A-Za-z_][\w.-]{0,30}:)?sitemapindex[\s>]")
_NOT_PAGES = frozenset({"image", "video", "news", "xhtml"})      # extensions with a loc of their own


@dataclasses.dataclass(frozen=True, slots=True)
class SitemapRules:
    """How far sitemaps are followed: part of the identity of a crawl."""

    follow: bool = True
    max_urls: int = 50_000         # of one file, as sitemaps.org says
    max_bytes: int = 50 << 20      # of one file, unpacked
    max_index_depth: int = 2       # indexes on the way from robots.txt to a list
    max_files_of_a_host: int = 100     # named by one robots.txt

    def __post_init__(self) -> None:
        for name in ("max_urls", "max_bytes", "max_files_of_a_host"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.max_index_depth < 0:
            raise ValueError(f"max_index_depth is {self.max_index_depth}; it must be at least 0")


def named_by(hosts: Iterable[tuple[str, tuple[str, ...]]], rules: SitemapRules) -> Iterator[Link]:
    """Yields a link to each sitemap that an authority's robots.txt names on its own site.

    Args:
        hosts: authority and the sitemaps it names, as normalised URLs.
    """
    for authority, sitemaps in hosts:
        own = [url for url in sitemaps if urls.site(url) == urls.site(authority)]
        for url in own[:rules.max_files_of_a_host] if rules.follow else ():
            yield _link(urls.url_key(authority), url, 1, "sitemap")


def links_of(log: FetchLog, body: bytes, rules: SitemapRules) -> Iterator[Link]:
    """Yields the links of a fetched sitemap: to pages, one step from a seed, or to further sitemaps.

    The depth of a sitemap is 1 for one that robots.txt names, and one more with each index.
    """
    if body.startswith(_GZIP_MAGIC):
        body = decode(body, "gzip", rules.max_bytes, _MAX_RATIO).body
    base = log.final_url or log.url
    found, is_index = _parse(body[:rules.max_bytes])
    seen: set[str] = set()
    for text in found:
        url = urls.normalize(text, base)
        url = url and without_visit_id(url)
        if url is None or url in seen or urls.site(url) != urls.site(base):
            continue
        if is_index and log.depth > rules.max_index_depth:
            return
        seen.add(url)
        yield _link(log.url_key, url, log.depth + 1, "sitemap") if is_index else _link(log.url_key, url, 1, "page")
        if len(seen) >= rules.max_urls:
            return


def _parse(body: bytes) -> tuple[Iterator[str], bool]:
    """Returns the URLs as written, and whether they are those of further sitemaps."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return (line.strip() for line in re.split(r"[\r\n]+", text) if "://" in line[:10]), False
    locs = (html.unescape(found[2].strip().removesuffix("]]>").strip()) for found in _LOC.finditer(text)
            if found[1] not in _NOT_PAGES)
    return locs, _INDEX.search(text[:65536]) is not None


def _link(source: str, url: str, depth: int, kind: str) -> Link:
    return Link(src_key=source, dst_key=urls.url_key(url), dst_url=url, depth=depth, nofollow=False, kind=kind)
