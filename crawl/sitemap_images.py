"""Images that sitemaps give to a page -> candidates of that page: with its permission, its language, and their texts.

A sitemap is read before most of the pages it names, so this is done when the last round is over and what became of each
page is known.
"""
from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from crawl import consent
from crawl.records import DENY, UNKNOWN, Candidate, FetchLog, Page, Signal, SitemapImage, SourceText

FOUND_IN = "sitemap"
Images = tuple[SitemapImage, ...]


def first_named(groups: Iterable[Images], most: int) -> Images:
    """Returns the first `most` images of one page, each URL once: as the first sitemap (by key) names it.

    Associative, whatever the groups are, so that a page that many sitemaps name needs no long list anywhere.
    """
    best: dict[str, SitemapImage] = {}
    for image in (image for group in groups for image in group):
        known = best.get(image.image_key)
        if known is None or _place(image) < _place(known):
            best[image.image_key] = image
    return tuple(sorted(best.values(), key=_place)[:most])


def _place(image: SitemapImage) -> tuple[str, int]:
    return image.sitemap_key, image.ordinal


def candidates_of(images: Images, pages: Sequence[Page], logs: Sequence[FetchLog]) -> list[Candidate]:
    """Returns the candidates that the images of one page are, in the order of the sitemap.

    Args:
        images: of one page, as `first_named` gives them.
        pages: what was parsed under the page's URL, or arrived there by a redirect.
        logs: how the page was asked for, likewise.

    A page that was refused, by robots.txt, a header or itself, refuses here too; of one that was never asked for the
    permission is unknown, and policy decides (`permission.unknown` of judge).
    """
    rows: list[Page | FetchLog] = [*pages, *logs]
    known = max(rows, key=_rank, default=None)
    signals, permission = (known.signals, known.permission) if known else ((), UNKNOWN)
    page = known if isinstance(known, Page) and permission != DENY else None
    return [_candidate(image, ordinal, len(images), page, signals, permission)
            for ordinal, image in enumerate(images)]


def _rank(row: Page | FetchLog) -> tuple[bool, bool, str, str]:
    """Orders what is known of one URL: a refusal counts whenever it came, then what the page says, the latest word."""
    return row.permission == DENY, isinstance(row, Page), row.fetched_at, row.url_key


def _candidate(image: SitemapImage, ordinal: int, images: int, page: Page | None, signals: tuple[Signal, ...],
               permission: str) -> Candidate:
    texts = [SourceText("image_caption", image.caption), SourceText("image_title", image.title),
             SourceText("page_title", page.title if page else "")]
    occurrence = hashlib.sha256(f"{image.page_key} {image.image_key} {FOUND_IN}".encode()).hexdigest()[:32]
    if image.licence:
        signals = (*signals, *consent.from_licences([("", image.licence)]))
    return Candidate(
        occurrence=occurrence, page_key=image.page_key, page_url=image.page_url, image_key=image.image_key,
        image_url=image.image_url, found_in=FOUND_IN, alternatives=(), texts=tuple(text for text in texts if text.text),
        alt_present=False, declared_width=0, declared_height=0, ordinal=ordinal, images_on_page=images, in_main=False,
        repeats_on_page=1, link_href="", html_lang=page.html_lang if page else "",
        page_title=page.title if page else "", page_text=page.text_sample if page else "", permission=permission,
        signals=signals, page_record_id=page.warc_record_id if page else "",
        page_sha256=page.payload_sha256 if page else "", page_fetched_at=page.fetched_at if page else "")
