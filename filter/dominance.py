"""Is an image what its page is about?  The paper's dominant-image detector (section 1.1) as rules."""
from __future__ import annotations

import dataclasses
import posixpath
import re
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit

from crawl.records import Candidate
from filter.reasons import check_reasons

# The rules about a page and an image's place on it that can be switched off.
REASONS = ("vector_or_icon_url", "boilerplate_url", "repeated_on_page", "declared_too_small", "declared_too_narrow",
           "page_language", "decorative", "not_in_main")


@dataclasses.dataclass(frozen=True, slots=True)
class DominanceRules:
    """The limits of `reject_occurrence`."""

    max_repeats_on_page: int = 3         # the same URL more often on one page is a bullet or an icon
    min_declared_side: int = 100         # px; a thumbnail may link a larger file, an icon does not
    max_declared_aspect: float = 4.0     # longer to shorter declared side: banners and rules
    let_pass: tuple[str, ...] = ()       # reasons of REASONS that reject nothing

    def __post_init__(self) -> None:
        check_reasons(self.let_pass, REASONS)


_FURNITURE = re.compile(
    r"(?:^|[^a-z])(?:sprites?|icons?|ico|favicon|logos?|pixel|banners?|spacer|blank|bullet|badges?|buttons?|btn|avatar|"
    r"gravatar|emoji|smiley|spinner|loading|loader|placeholder|transparent|tracking|tracker|beacon|1x1|arrow|nav|rss|"
    r"captcha|adserver|doubleclick|clear)(?:[^a-z]|$)")
_ADVERTISING_HOST = re.compile(r"(?:^|\.)(?:ads?|adserver|pixel|track(?:er|ing)?|analytics|stats|beacon)\d*\.")
_NAMED = ("og:", "twitter:", "link", "meta", "json", "sitemap")
_VECTOR_OR_ICON = (".svg", ".svgz", ".ico", ".cur")


def reject_occurrence(candidate: Candidate, rules: DominanceRules) -> str | None:
    """Returns why an occurrence is not worth a download, or None; `is_aside` needs its page and is asked later."""
    return next((reason for reason in _failing(candidate, rules) if reason not in rules.let_pass), None)


def _failing(candidate: Candidate, rules: DominanceRules) -> Iterator[str]:
    reason = reject_url(candidate.image_url)
    if reason:
        yield reason
    if candidate.repeats_on_page > rules.max_repeats_on_page:
        yield "repeated_on_page"
    sides = [side for side in (candidate.declared_width, candidate.declared_height) if side > 0]
    if sides and min(sides) < rules.min_declared_side:
        yield "declared_too_small"
    if len(sides) == 2 and max(sides) > rules.max_declared_aspect * min(sides):
        yield "declared_too_narrow"


def reject_url(url: str) -> str | None:
    """Returns why a URL alone says that the image is page furniture, or None.

    >>> reject_url("https://a.example/img/site-logo.png"), reject_url("https://a.example/silicon/iconic-view.jpg")
    ('boilerplate_url', None)
    """
    parts = urlsplit(url)
    path = unquote(parts.path).lower()
    if posixpath.splitext(path)[1] in _VECTOR_OR_ICON:
        return "vector_or_icon_url"
    if _FURNITURE.search(path) or _ADVERTISING_HOST.search((parts.hostname or "").lower()):
        return "boilerplate_url"
    return None


def is_aside(in_main: bool, found_in: str, page_has_main_image: bool) -> bool:
    """Returns whether an occurrence stands in nav, header, footer or aside while others stand in the main part.

    An image that the page names in its head (og:image) or its sitemap is about the page wherever it stands.
    """
    return not in_main and page_has_main_image and not found_in.startswith(_NAMED)
