"""Beam wiring of what sitemaps name: sitemaps of robots.txt, images of pages.  No rule lives here."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from crawl.records import Candidate, FetchLog, Host, Link, Page
from crawl.sitemap_images import candidates_of, first_named
from crawl.sitemaps import SitemapRules, named_by
from crawl.tables import read_matching
from crawl.urls import url_key


@dataclasses.dataclass
class NamedSitemaps(beam.PTransform):
    """Names of `hosts` files -> links to the sitemaps that robots.txt names; the bodies beside them are not kept."""

    files: tuple[str, ...]
    rules: SitemapRules

    def expand(self, root: Any) -> Any:
        return root | "Hosts files" >> beam.Create(self.files) | "Sitemaps" >> beam.FlatMap(self._read)

    def _read(self, path: str) -> Iterator[Link]:
        for host in read_matching(path, Host, "sitemaps", bool):
            yield from named_by([(host.authority, host.sitemaps)], self.rules)


@dataclasses.dataclass
class SitemapCandidates(beam.PTransform):
    """(images of sitemaps, pages, fetch logs) of all rounds -> candidates, one for each image of a page."""

    rules: SitemapRules

    def expand(self, tables: tuple[Any, Any, Any]) -> Any:
        images, pages, logs = tables
        first = functools.partial(first_named, most=self.rules.max_images_of_page)
        named = (images | "To their page" >> beam.Map(lambda image: (image.page_key, (image,)))
                 | "First named" >> beam.CombinePerKey(first))
        return ({"images": named, "pages": pages | "Page keys" >> beam.FlatMap(_under_both_urls),
                 "logs": logs | "Log keys" >> beam.FlatMap(_under_both_urls)}
                | "Meet pages" >> beam.CoGroupByKey()
                | "Candidates" >> beam.FlatMapTuple(_candidates))


def _candidates(key: str, found: dict[str, Any]) -> list[Candidate]:
    images = next(iter(found["images"]), ())
    return candidates_of(images, list(found["pages"]), list(found["logs"])) if images else []


def _under_both_urls(row: Page | FetchLog) -> Iterator[tuple[str, Page | FetchLog]]:
    """Yields a row under the URL that was asked for and the one that answered: a sitemap may name either."""
    yield row.url_key, row
    if row.final_url not in ("", row.url):
        yield url_key(row.final_url), row
