"""Which images does a page show, and which texts go with each?  A parsed page in, `Candidate` rows out.

One row a DOM node: an `img` (with its `picture` and lazy attributes), a `video` poster, an `input` or `object` that is
an image, a background (CSS, attribute or lazy), an image named in meta, link or JSON-LD.  An image of `noscript` that
repeats the lazy one before it gives that one its URL and is no row of its own.
"""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from collections.abc import Iterator, Sequence

from crawl import css, jsonld, urls
from crawl.html import Document, Element, ParsedPage, ParseLimits, fold, resolve
from crawl.image_choice import Choice, choose, is_image_name
from crawl.image_context import MAX_TEXT, Surroundings, first_words
from crawl.records import Candidate, Page, SourceText

MAX_SIDE = 100_000                 # px; a larger declared size is no size
_REPEATS_OF_A_PLACEHOLDER = 5
_MAX_TEXTS = 16
_LOOKED_AT = 4                     # times max_candidates images: some stand in noscript, some have no address
_SOURCES_BEFORE = 64              # elements before an img in which its sources are looked for
_NAMING = {"meta": "content", "link": "href"}
# The one for finer screens first.
_LAZY_BACKGROUNDS = ("data-bg-multi-hidpi", "data-bg-multi", "data-bg-hidpi", "data-bg-set", "data-bg",
                     "data-background-image", "data-background", "data-bg-src", "data-bg-image")
_SHOWING_TAGS = frozenset({"video", "input", "object"})
_SHOWING = frozenset({"style", "background", *_LAZY_BACKGROUNDS})
_BACKGROUNDS = ("css.lazy", "css.background", "background")
_IMAGE_TAGS = ("img", "amp-img")
_PIXELS = re.compile(r"\s*(\d{1,6})(?:\.\d+)?\s*(?:px)?\s*$", re.IGNORECASE)
_STYLE_WIDTH = re.compile(r"(?:^|;)\s*width\s*:\s*(\d{1,6})(?:\.\d+)?px", re.IGNORECASE)
_STYLE_HEIGHT = re.compile(r"(?:^|;)\s*height\s*:\s*(\d{1,6})(?:\.\d+)?px", re.IGNORECASE)
META_IMAGES = ("og:image", "og:image:url", "og:image:secure_url", "twitter:image", "twitter:image:src")


@dataclasses.dataclass(slots=True)
class _Found:
    """An image on its way to a row."""

    index: int                     # of its element in the document
    choice: Choice | None
    texts: list[SourceText]
    alt_present: bool
    width: int = 0
    height: int = 0
    in_body: bool = True           # False for meta, link and JSON-LD
    behind: bool = False           # a background: it stands behind text and divides none


def find_candidates(parsed: ParsedPage, page: Page, limits: ParseLimits) -> list[Candidate]:
    """Returns the candidates of a page in document order, at most `limits.max_candidates`."""
    document = parsed.document
    found = _body_images(document, parsed.base, _LOOKED_AT * limits.max_candidates) + _named_images(parsed)
    rows = sorted((item for item in found if item.choice is not None), key=lambda item: item.index)
    rows = rows[:limits.max_candidates]
    around = Surroundings(document, [item.index for item in rows
                                     if item.in_body and not item.behind and not _is_dot(item)])
    keys = [urls.url_key(item.choice.url) if item.choice else "" for item in rows]
    repeats = collections.Counter(keys)
    return [_row(item, ordinal, key, repeats[key], len(rows), around, parsed, page)
            for ordinal, (item, key) in enumerate(zip(rows, keys, strict=True))]


def _is_dot(item: _Found) -> bool:
    """Returns whether an image is declared too small to be seen: its place divides no text."""
    return 0 < item.width <= 2 and 0 < item.height <= 2


def _row(item: _Found, ordinal: int, key: str, repeats: int, images: int, around: Surroundings, parsed: ParsedPage,
         page: Page) -> Candidate:
    assert item.choice is not None
    texts = list(item.texts)
    link = ""
    alternatives = list(item.choice.alternatives)
    if item.in_body:
        alone = not item.behind and not _is_dot(item)
        texts += [SourceText("figcaption", text) for text in around.captions(item.index)] if alone else []
        texts.append(SourceText("heading", around.heading(item.index)))
        if alone:
            before, after = around.windows(item.index)
            texts += [SourceText("surrounding", before), SourceText("surrounding", after)]
        link = _link_around(item.index, around, parsed)
        if link and is_image_name(link) and link != item.choice.url and link not in alternatives:
            alternatives.append(link)
    texts.append(SourceText("page_title", parsed.title))
    occurrence = hashlib.sha256(f"{page.url_key} {key} {ordinal}".encode()).hexdigest()[:32]
    return Candidate(
        occurrence=occurrence, page_key=page.url_key, page_url=page.url, image_key=key, image_url=item.choice.url,
        found_in=item.choice.found_in, alternatives=tuple(alternatives),
        texts=tuple(dict.fromkeys(text for text in texts if text.text))[:_MAX_TEXTS], alt_present=item.alt_present,
        declared_width=item.width, declared_height=item.height, ordinal=ordinal, images_on_page=images,
        in_main=item.in_body and around.in_main(item.index), repeats_on_page=repeats, link_href=link,
        html_lang=around.language(item.index) or page.html_lang, page_title=parsed.title, page_text=page.text_sample,
        permission=page.permission, signals=page.signals, page_record_id=page.warc_record_id,
        page_sha256=page.payload_sha256, page_fetched_at=page.fetched_at)


def _link_around(index: int, around: Surroundings, parsed: ParsedPage) -> str:
    for ancestor in around.ancestors(index):
        element = parsed.document.elements[ancestor]
        if element.tag == "a" and element.attributes.get("href", "").strip():
            return resolve(element.attributes["href"], parsed.base) or ""
    return ""


def _body_images(document: Document, base: str, most: int) -> list[_Found]:
    """Returns the first `most` images of the body; those of noscript are merged into the lazy image they stand for."""
    elements = document.elements
    indices = document.tagged(*_IMAGE_TAGS)[:most]
    repeated: frozenset[str] = frozenset()
    if len(indices) >= _REPEATS_OF_A_PLACEHOLDER:
        plain = collections.Counter(resolve(elements[index].attributes.get("src", ""), base) for index in indices)
        repeated = frozenset(url for url, count in plain.items() if url and count >= _REPEATS_OF_A_PLACEHOLDER)
    found: list[_Found] = []
    for index in indices:
        element = elements[index]
        # A repeated `src` is a placeholder only on a node that has something else to offer.
        choice = choose(element, _sources(document, index), base, repeated)
        width, height = declared_size(element)
        item = _Found(index, choice, _own_texts(document, element), "alt" in element.attributes, width, height)
        if not element.in_noscript:
            found.append(item)
        elif choice is not None:
            _merge_noscript(found, item, document, choice)
    showing = [index for index, element in enumerate(elements)
               if element.attributes and not _SHOWING.isdisjoint(element.attributes)]
    for index in sorted({*showing, *document.tagged(*_SHOWING_TAGS)}.difference(document.tagged(*_IMAGE_TAGS))):
        if len(found) >= 2 * most:
            break
        element = elements[index]
        for found_in, values in _shown_by(element):
            shown = [url for value in values if (url := resolve(value, base)) is not None]
            if shown:
                found.append(_Found(index, Choice(shown[0], found_in, tuple(dict.fromkeys(shown[1:])), False),
                                    _own_texts(document, element), "alt" in element.attributes,
                                    *declared_size(element), behind=found_in in _BACKGROUNDS))
                break
    return found


def _shown_by(element: Element) -> Iterator[tuple[str, Sequence[str]]]:
    """Yields where an element that is no img names images, and their URLs as written, the one to take first.

    An `area` names none: it is a place on an image that stands elsewhere.
    """
    attributes = element.attributes
    if element.tag == "video":
        yield "video.poster", [attributes.get("poster", "")]
        yield "video.data-poster", [attributes.get("data-poster", "")]
    elif element.tag == "input":
        if attributes.get("type", "").strip().lower() == "image":
            yield "input.src", [attributes.get("src", "")]
    elif element.tag == "object":
        is_image = attributes.get("type", "").strip().lower().startswith("image/")
        for name in ("data", "data-src"):
            if is_image or is_image_name(attributes.get(name, "")):
                yield f"object.{name}", [attributes.get(name, "")]
    for name in _LAZY_BACKGROUNDS:
        if name in attributes:
            value = attributes[name]
            values = css.urls_of(f"image-set({value})" if name == "data-bg-set" else value)
            if "/" in values[0] or is_image_name(values[0]):
                yield "css.lazy", values
    if "style" in attributes and "background" in attributes["style"].lower():
        offers = sorted(css.background_images(attributes["style"]), key=lambda offer: -offer.density)
        yield "css.background", [offer.url for offer in offers]
    if "background" in attributes:
        yield "background", [attributes["background"]]


def _merge_noscript(found: list[_Found], item: _Found, document: Document, choice: Choice) -> None:
    url = choice.url
    for other in found:
        if other.choice is not None and (url == other.choice.url or url in other.choice.alternatives):
            _take_texts(other, item)
            return
    if found:
        lazy = found[-1]
        # The noscript follows its image directly or in the same small container.
        near = document.elements[lazy.index].parent
        parent = document.elements[near].parent if near >= 0 else -1
        close = any(place >= 0 and place <= item.index < document.last[place] for place in (near, parent))
        if close and (lazy.choice is None or lazy.choice.placeholder) and not document.elements[lazy.index].in_noscript:
            others = (lazy.choice.url, *lazy.choice.alternatives) if lazy.choice else ()
            lazy.choice = Choice(url, "noscript", (*choice.alternatives, *others), False)
            _take_texts(lazy, item)
            return
    item.choice = dataclasses.replace(choice, found_in="noscript")
    found.append(item)


def _take_texts(lazy: _Found, fallback: _Found) -> None:
    have = {text.source for text in lazy.texts}
    lazy.texts += [text for text in fallback.texts if text.source not in have]
    lazy.alt_present = lazy.alt_present or fallback.alt_present
    lazy.width, lazy.height = lazy.width or fallback.width, lazy.height or fallback.height


def _sources(document: Document, index: int) -> list[Element]:
    """Returns the source elements before an img in its picture (HTML, "update the source set")."""
    parent = document.elements[index].parent
    while parent >= 0 and document.elements[parent].tag == "noscript":
        parent = document.elements[parent].parent
    if parent < 0 or document.elements[parent].tag != "picture":
        return []
    return [element for element in document.elements[max(parent + 1, index - _SOURCES_BEFORE):index]
            if element.tag == "source"]


def _own_texts(document: Document, element: Element) -> list[SourceText]:
    attributes = element.attributes
    labels = [document.text_of(index)
              for attribute in ("aria-labelledby", "aria-describedby") if attribute in attributes
              for name in attributes[attribute].split()[:4] if (index := document.identified(name)) is not None]
    texts = [("alt", attributes.get("alt", "")), ("title", attributes.get("title", "")),
             ("aria_label", attributes.get("aria-label", "")), *(("aria_label", label) for label in labels)]
    return _texts(texts)


def _texts(texts: list[tuple[str, str]]) -> list[SourceText]:
    folded = [SourceText(source, first_words(fold(text), MAX_TEXT)) for source, text in texts if text]
    return [text for text in folded if text.text]


def declared_size(element: Element) -> tuple[int, int]:
    """Returns the width and height in px that attributes or style declare, 0 for what is not declared or relative."""
    attributes = element.attributes
    style = attributes.get("style", "")
    sides = []
    for name, pattern in (("width", _STYLE_WIDTH), ("height", _STYLE_HEIGHT)):
        match = _PIXELS.match(attributes.get(name, "")) or pattern.search(style)
        side = int(match.group(1)) if match else 0
        sides.append(side if side <= MAX_SIDE else 0)
    return sides[0], sides[1]


def _named_images(parsed: ParsedPage) -> list[_Found]:
    """Returns the images of meta, link and JSON-LD, one row a URL: a later naming only adds its texts."""
    found: dict[str, _Found] = {}
    for item in (*_meta_images(parsed), *_linked_images(parsed), *_jsonld_images(parsed)):
        assert item.choice is not None
        first = found.setdefault(item.choice.url, item)
        if first is not item and len(first.texts) < _MAX_TEXTS:
            first.texts += [text for text in item.texts if text not in first.texts]
            first.width, first.height = first.width or item.width, first.height or item.height
    return list(found.values())


def _meta_images(parsed: ParsedPage) -> Iterator[_Found]:
    """Yields og:image and twitter:image; `og:image:alt`, `:width` and `:height` belong to the image before them."""
    named = dict(reversed(parsed.metas))
    places = parsed.document.tagged("meta")
    last: _Found | None = None
    for place, (name, content) in zip(_meta_places(parsed, places), parsed.metas, strict=False):
        family = "twitter" if name.startswith("twitter:") else "og"
        if name in META_IMAGES:
            url = resolve(content, parsed.base)
            if url is None or (last is not None and last.choice is not None and last.choice.url == url):
                continue
            if last is not None:
                yield last
            described = named.get(f"{family}:description") or named.get("og:description", "")
            last = _Found(place, Choice(url, f"{family}:image", (), False), _texts([("og_description", described)]),
                          False, in_body=False)
        elif last is not None and name in ("og:image:alt", "twitter:image:alt"):
            last.texts = _texts([("alt", content)]) + last.texts
            last.alt_present = True
        elif last is not None and name in ("og:image:width", "og:image:height"):
            match = _PIXELS.match(content)
            side = int(match.group(1)) if match else 0
            if name.endswith("width"):
                last.width = side if side <= MAX_SIDE else 0
            else:
                last.height = side if side <= MAX_SIDE else 0
    if last is not None:
        yield last


def _meta_places(parsed: ParsedPage, places: list[int]) -> list[int]:
    elements = parsed.document.elements
    return [place for place in places if "content" in elements[place].attributes
            and (elements[place].attributes.get("name") or elements[place].attributes.get("property")
                 or elements[place].attributes.get("http-equiv"))]


def _linked_images(parsed: ParsedPage) -> Iterator[_Found]:
    for index in parsed.document.tagged(*_NAMING):
        element = parsed.document.elements[index]
        if element.tag == "link" and "image_src" in element.attributes.get("rel", "").lower().split():
            url = resolve(element.attributes.get("href", ""), parsed.base)
            if url is not None:
                yield _Found(index, Choice(url, "link.image_src", (), False), [], False, in_body=False)
        elif element.tag in _NAMING and "image" in element.attributes.get("itemprop", "").split():
            url = resolve(element.attributes.get(_NAMING[element.tag], ""), parsed.base)
            if url is not None:
                yield _Found(index, Choice(url, "itemprop.image", (), False), [], False, in_body=False)


def _jsonld_images(parsed: ParsedPage) -> Iterator[_Found]:
    for index, script in parsed.document.raw_texts.items():
        if parsed.document.elements[index].tag != "script":
            continue
        for image in jsonld.images_of(script):
            url = resolve(image.url, parsed.base)
            if url is not None:
                yield _Found(index, Choice(url, "json-ld", (), False),
                             _texts([("figcaption", image.caption), ("og_description", image.description)]), False,
                             image.width, image.height, in_body=False)
