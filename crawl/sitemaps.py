"""Which URLs does a sitemap name, and which images on them?  Rules over what crawl/sitemap_text.py reads; gzip too.

Rule R-21 of the crawling reference.  A sitemap speaks for its own site only, wherever robots.txt named it: pages that
lie elsewhere are not taken, so that nobody's sitemap sends the crawl to somebody else.  Its images may lie anywhere, as
those of a page may.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from crawl import urls
from crawl.decode import decode
from crawl.html import fold, resolve
from crawl.image_context import MAX_TEXT, first_words
from crawl.records import FetchLog, Link, SitemapImage
from crawl.sitemap_text import Entry, NamedImage, plain, read
from crawl.visit_ids import without_visit_id

_GZIP_MAGIC = b"\x1f\x8b"
_MAX_RATIO = 500                   # sitemaps repeat themselves
_MAX_CHARACTERS = 16 << 20         # of all images of one file: URLs and texts
_MAX_LICENCE = 512


@dataclasses.dataclass(frozen=True, slots=True)
class SitemapRules:
    """How far sitemaps are followed: part of the identity of a crawl."""

    follow: bool = True
    max_urls: int = 50_000         # of one file, as sitemaps.org says
    max_bytes: int = 50 << 20      # of one file, unpacked
    max_index_depth: int = 2       # indexes on the way from robots.txt to a list
    max_files_of_a_host: int = 100     # named by one robots.txt
    max_images: int = 50_000       # of one file; 0: images of sitemaps are not taken
    max_images_of_page: int = 1_000    # as the image extension says

    def __post_init__(self) -> None:
        for name in ("max_urls", "max_bytes", "max_files_of_a_host", "max_images_of_page"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("max_index_depth", "max_images"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 0")


@dataclasses.dataclass(frozen=True, slots=True)
class Named:
    """What one sitemap names."""

    links: tuple[Link, ...] = ()
    images: tuple[SitemapImage, ...] = ()


def named_by(hosts: Iterable[tuple[str, tuple[str, ...]]], rules: SitemapRules) -> Iterator[Link]:
    """Yields a link to each sitemap that an authority's robots.txt names on its own site.

    Args:
        hosts: authority and the sitemaps it names, as normalised URLs.
    """
    for authority, sitemaps in hosts:
        own = [url for url in sitemaps if urls.site(url) == urls.site(authority)]
        for url in own[:rules.max_files_of_a_host] if rules.follow else ():
            yield _link(urls.url_key(authority), url, 1, "sitemap")


def named_in(log: FetchLog, body: bytes, rules: SitemapRules) -> Named:
    """Returns what a fetched sitemap names: pages, one step from a seed, and their images; or further sitemaps.

    The depth of a sitemap is 1 for one that robots.txt names, and one more with each index.
    """
    if body.startswith(_GZIP_MAGIC):
        body = decode(body, "gzip", rules.max_bytes, _MAX_RATIO).body
    base = log.final_url or log.url
    entries, is_index = read(body[:rules.max_bytes])
    links: dict[str, Link] = {}
    images = _Images(rules, log.url_key, base)
    for entry in entries:
        url = urls.normalize(entry.loc, base)
        url = url and without_visit_id(url)
        if url is None or urls.site(url) != urls.site(base):
            continue
        if is_index and log.depth > rules.max_index_depth:
            break
        if url not in links and len(links) >= rules.max_urls:
            break
        if is_index:
            links[url] = _link(log.url_key, url, log.depth + 1, "sitemap")
            continue
        links[url] = link = _link(log.url_key, url, 1, "page")
        images.take(link, entry)
    return Named(tuple(links.values()), tuple(images.found))


class _Images:
    """Gathers the images of one sitemap, within its limits."""

    def __init__(self, rules: SitemapRules, sitemap_key: str, base: str) -> None:
        self.found: list[SitemapImage] = []
        self._rules, self._sitemap_key, self._base = rules, sitemap_key, base
        self._characters = 0

    def take(self, page: Link, entry: Entry) -> None:
        for named in entry.images[:self._rules.max_images_of_page]:
            if len(self.found) >= self._rules.max_images or self._characters >= _MAX_CHARACTERS:
                return
            url = resolve(named.loc, self._base)
            if url is None:
                continue
            image = self._row(page, url, named)
            self._characters += len(url) + len(image.title) + len(image.caption) + len(page.dst_url)
            self.found.append(image)

    def _row(self, page: Link, url: str, named: NamedImage) -> SitemapImage:
        title, caption = (first_words(fold(plain(text)), MAX_TEXT) for text in (named.title, named.caption))
        return SitemapImage(
            page_key=page.dst_key, page_url=page.dst_url, image_key=urls.url_key(url), image_url=url,
            sitemap_key=self._sitemap_key, ordinal=len(self.found), title=title, caption=caption,
            licence=(resolve(named.license, self._base) or "")[:_MAX_LICENCE])


def _link(source: str, url: str, depth: int, kind: str) -> Link:
    return Link(src_key=source, dst_key=urls.url_key(url), dst_url=url, depth=depth, nofollow=False, kind=kind)
