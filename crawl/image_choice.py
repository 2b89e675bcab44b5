"""Which URL of a DOM node is the image?  `picture`, `srcset`, `src`, lazy attributes in; one URL out, others beside it.

A lazy page shows a placeholder until its script runs; the real URL then stands in an attribute.  The rule is the same
on every run: the largest width up to 2,048 px, else the largest density, else the lazy attribute, else `src`.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence

from crawl import srcset
from crawl.html import Element, resolve

MAX_ALTERNATIVES = 16

# Attributes that hold the real URL wherever they stand (reference 8.2: Heritrix, trafilatura, well-known scripts).
LAZY = ("data-src", "data-original", "data-lazy-src", "data-lazy", "data-original-src", "data-src-medium",
        "data-src-large", "data-full-src", "data-img-src", "data-actualsrc", "data-delayed-url", "data-echo",
        "data-flickity-lazyload", "data-src-retina", "data-runner-src", "data-src-small")
LAZY_SRCSET = ("data-srcset", "data-lazy-srcset", "data-original-set", "data-src-set")
# Attributes that may hold the image or something else: believed only when `src` is a placeholder.
_PERHAPS = ("data-hi-res-src", "data-large_image", "data-zoom-image", "data-image", "data-url", "data-bg",
            "data-background-image", "data-thumb")
# Picture formats that the next stages do not decode; their URLs stay alternatives.
_UNREADABLE_TYPES = ("image/svg+xml", "image/avif", "image/jxl", "image/heic", "image/apng")
_UNREADABLE_NAME = re.compile(r"\.(?:svgz?|avif|jxl|heic)$", re.IGNORECASE)
_PLACEHOLDER_NAME = re.compile(
    r"(?:^|[/_.-])(?:blank|spacer|placeholder|pixel|transparent|lazy(?:load)?|loading|loader|1x1|clear|empty|dummy)"
    r"(?:[_.-][^/]*)?\.(?:gif|png|svg|jpe?g|webp)$", re.IGNORECASE)
_IMAGE_NAME = re.compile(r"\.(?:jpe?g|png|webp|gif|bmp)$", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Choice:
    """The URL to fetch for one DOM node."""

    url: str                       # normalised
    found_in: str                  # img.src, img.srcset, picture.source, img.data-src, ...
    alternatives: tuple[str, ...]  # normalised, in document order, without `url`
    placeholder: bool              # nothing better than a placeholder was there


@dataclasses.dataclass(frozen=True, slots=True)
class _Option:
    url: str
    found_in: str
    offer: srcset.Offer | None     # of a srcset
    lazy: bool
    readable: bool
    placeholder: bool


def is_image_name(url: str) -> bool:
    """Returns whether a URL's path ends like an image that can be decoded."""
    return bool(_IMAGE_NAME.search(url.partition("?")[0]))


def is_placeholder(url: str, image: Element, repeated: frozenset[str]) -> bool:
    """Returns whether `src` only keeps the place: by its name, its declared 1×1 size, or 5 repeats on the page."""
    return (bool(_PLACEHOLDER_NAME.search(url.partition("?")[0])) or url in repeated
            or (image.attributes.get("width") == "1" and image.attributes.get("height") == "1"))


def choose(image: Element, sources: Sequence[Element], base: str, repeated: frozenset[str]) -> Choice | None:
    """Returns the choice for an `img` and the `source` elements of its `picture`, or None without any http(s) URL.

    Args:
        repeated: normalised `src` URLs that stand on the page 5 times or more.
    """
    options = list(_options(image, sources, base, repeated))
    usable = [option for option in options if option.readable and not option.placeholder]
    chosen = _best(usable) or (options[0] if options else None)
    if chosen is None:
        return None
    others = dict.fromkeys(option.url for option in options if option.url != chosen.url)
    return Choice(chosen.url, chosen.found_in, tuple(others)[:MAX_ALTERNATIVES], chosen.placeholder)


def _best(options: list[_Option]) -> _Option | None:
    offered = [option for option in options if option.offer is not None]
    index = srcset.pick([option.offer for option in offered if option.offer is not None])
    if index is not None:
        return offered[index]
    plain = [option for option in options if option.offer is None]
    for wanted in ([option for option in plain if option.lazy], plain, options):
        if wanted:
            return wanted[0]
    return None


def _options(image: Element, sources: Sequence[Element], base: str, repeated: frozenset[str]) -> Iterator[_Option]:
    for source in sources:
        readable = source.attributes.get("type", "").partition(";")[0].strip().lower() not in _UNREADABLE_TYPES
        for name in ("srcset", *LAZY_SRCSET):
            yield from _of_srcset(source.attributes.get(name, ""), "picture.source", base, readable, image, repeated)
    for name in ("srcset", *LAZY_SRCSET):
        if name in image.attributes:
            yield from _of_srcset(image.attributes[name], f"img.{name}", base, True, image, repeated)
    own = resolve(image.attributes.get("src", ""), base)
    kept_place = own is None or is_placeholder(own, image, repeated)
    for name in LAZY:
        if name in image.attributes:
            yield from _of_attribute(image, name, base, True)
    if own is not None:
        yield _Option(own, "img.src", None, False, _readable(own), kept_place)
    for name in _PERHAPS:
        if name in image.attributes:
            yield from _of_attribute(image, name, base, False)
    if kept_place:
        for name, value in image.attributes.items():
            if name.startswith("data-") and name not in LAZY and name not in _PERHAPS and is_image_name(value):
                yield from _of_attribute(image, name, base, False)


def _of_srcset(value: str, found_in: str, base: str, readable: bool, image: Element,
               repeated: frozenset[str]) -> Iterator[_Option]:
    for offer in srcset.parse_srcset(value):
        url = resolve(offer.url, base)
        if url is not None:
            yield _Option(url, found_in, offer, False, readable and _readable(url),
                          is_placeholder(url, image, frozenset()) if not offer.width else False)


def _of_attribute(image: Element, name: str, base: str, lazy: bool) -> Iterator[_Option]:
    value = image.attributes[name]
    url = resolve(value, base)
    # `data-lazy="true"` and the like are switches, not addresses.
    if url is not None and ("/" in value or is_image_name(value)):
        yield _Option(url, f"img.{name}", None, lazy, _readable(url), False)


def _readable(url: str) -> bool:
    return not _UNREADABLE_NAME.search(url.partition("?")[0])
