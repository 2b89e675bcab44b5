"""What a sitemap says: its URLs, and the images it gives to each.  sitemaps.org XML or plain text; never an XML parser.

Nothing is resolved or expanded, so there is no entity, no DTD and nothing to fetch (S12).  Elements are told by their
local names: the image extension is met under two namespace names (google.com's and sitemaps.org's) and any prefix.
"""
from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Iterator

_MAX_VALUE = 8400                  # characters of one element
# Every piece stops at the next "<", so that no input makes it go back.
_TAG = re.compile(r"<(/?)(?:([A-Za-z_][\w.-]{0,30}):)?(url|loc|image|title|caption|license)(?=[\s/>])([^<>]{0,1000})>")
_INDEX = re.compile(r"<(?:[A-Za-z_][\w.-]{0,30}:)?sitemapindex[\s>]")
_SPACE = re.compile(r"\s*")
_MARKUP = re.compile(r"<[^<>]{0,500}>")
_NOT_PAGES = frozenset({"image", "video", "news", "xhtml"})      # extensions with a loc of their own
_CDATA, _CDATA_END = "<![CDATA[", "]]>"


@dataclasses.dataclass(slots=True)
class NamedImage:
    """An image as a sitemap writes it; empty text where it says nothing."""

    loc: str = ""
    title: str = ""
    caption: str = ""
    license: str = ""


@dataclasses.dataclass(slots=True)
class Entry:
    """A URL as a sitemap writes it, and its images."""

    loc: str = ""
    images: list[NamedImage] = dataclasses.field(default_factory=list)


def read(body: bytes) -> tuple[Iterator[Entry], bool]:
    """Returns the entries of an unpacked sitemap, and whether it is an index: whether they name further sitemaps."""
    text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if not text.startswith("<"):
        return (Entry(line.strip()) for line in re.split(r"[\r\n]+", text) if "://" in line[:10]), False
    return _entries(text), _INDEX.search(text[:65536]) is not None


def _entries(text: str) -> Iterator[Entry]:
    entry = Entry()
    image: NamedImage | None = None        # that we are inside of
    image_prefix = None
    at = 0
    while tag := _TAG.search(text, at):
        at = tag.end()
        closes, prefix, name = bool(tag[1]), tag[2], tag[3]
        if name == "url" or name == "image":
            image = None
            if name == "url":
                if entry.loc:
                    yield entry
                entry = Entry()
            elif not closes:
                image, image_prefix = NamedImage(), prefix
                entry.images.append(image)
            continue
        is_of_image = image is not None and prefix == image_prefix
        if closes or tag[4].endswith("/") or not (is_of_image or (name == "loc" and prefix not in _NOT_PAGES)):
            continue
        value, at = _value(text, at)
        if not value:
            continue
        if is_of_image:
            if not getattr(image, name):
                setattr(image, name, value)
        else:
            if entry.loc:
                yield entry
                entry = Entry()
            entry.loc = value
    if entry.loc:
        yield entry


def _value(text: str, start: int) -> tuple[str, int]:
    """Returns the text of an element that begins at `start` and where it ends; "" for one that does not end."""
    at = _SPACE.match(text, start).end()               # type: ignore[union-attr]
    begin, end_mark = (at + len(_CDATA), _CDATA_END) if text.startswith(_CDATA, at) else (at, "<")
    end = text.find(end_mark, begin, begin + _MAX_VALUE)
    return (html.unescape(text[begin:end]).strip(), end) if end >= 0 else ("", begin)


def plain(text: str) -> str:
    """Returns a title or caption without the markup that some sites put into it.

    >>> plain("<p>A <b>red</b> barn</p>")
    ' A  red  barn '
    """
    return _MARKUP.sub(" ", text)
