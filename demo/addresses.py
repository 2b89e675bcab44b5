"""Paths of the synthetic web in its two profiles: built for a page, and read back when a client asks for one."""
from __future__ import annotations

import dataclasses
import re

SIZES = ("", "s", "l")             # as published; small (half); large (one and a half)


@dataclasses.dataclass(frozen=True, slots=True)
class ImagePath:
    """An image path read back."""

    number: int                    # of the image slot
    size: str                      # one of SIZES
    folder: str
    extension: str


@dataclasses.dataclass(frozen=True, slots=True)
class PagePath:
    """A page path read back: an article, or page `part` (from 1) of a listing."""

    kind: str                      # article, hidden, listing
    number: int
    part: int = 1


_FOLDERS = {"first": ("img", "media/photos", "images", "assets/uploads"),
            "second": ("files", "content/pics", "sites/default/files", "i")}
_SIZE_NAMES = {"first": {"": "", "s": "_s", "l": "_l"}, "second": {"": "-full", "s": "-160w", "l": "-2x"}}
_IMAGE = {
    "first": re.compile(r"/([a-z/]+)/(\d{7,9})(|_s|_l)\.(jpg|png|webp)"),
    "second": re.compile(r"/([a-z/]+)/p([0-9a-f]{6,9})(-full|-160w|-2x)\.(jpg|png|webp)")}
PRIVATE = "private"                # the folder robots.txt disallows
_ARTICLE = {"first": "/a/{}.html", "second": "/journal/{}/"}
_HIDDEN = {"first": "/members/{}.html", "second": "/internal/{}/"}
_LISTING = {"first": "/topics/{}/{}.html", "second": "/tags/{}/?p={}"}
_PAGE = {
    "first": {"article": re.compile(r"/a/(\d{1,9})\.html"), "hidden": re.compile(r"/members/(\d{1,9})\.html"),
              "listing": re.compile(r"/topics/(\d{1,9})/(\d{1,9})\.html")},
    "second": {"article": re.compile(r"/journal/(\d{1,9})/"), "hidden": re.compile(r"/internal/(\d{1,9})/"),
               "listing": re.compile(r"/tags/(\d{1,9})/\?p=(\d{1,9})")}}


def image_folder(profile: str, host: int) -> str:
    """Returns the folder in which that host keeps its pictures, without slashes at the ends."""
    return _FOLDERS[profile][host % len(_FOLDERS[profile])]


def image_path(profile: str, image: ImagePath) -> str:
    """Returns the path of an image.

    >>> image_path("first", ImagePath(12, "s", "img", "jpg"))
    '/img/0000012_s.jpg'
    """
    name = f"{image.number:07d}" if profile == "first" else f"p{image.number:06x}"
    return f"/{image.folder}/{name}{_SIZE_NAMES[profile][image.size]}.{image.extension}"


def read_image_path(profile: str, path: str) -> ImagePath | None:
    """Returns what `image_path` was given, or None for any other path.

    >>> read_image_path("second", "/i/p00000c-2x.png")
    ImagePath(number=12, size='l', folder='i', extension='png')
    """
    match = _IMAGE[profile].fullmatch(path)
    if match is None:
        return None
    folder, number, size, extension = match.groups()
    sizes = {name: size for size, name in _SIZE_NAMES[profile].items()}
    return ImagePath(int(number, 10 if profile == "first" else 16), sizes[size], folder, extension)


def page_path(profile: str, page: PagePath) -> str:
    """Returns the path of an article or of one page of a listing.

    >>> page_path("second", PagePath("listing", 3, 2))
    '/tags/3/?p=2'
    """
    if page.kind == "listing":
        return _LISTING[profile].format(page.number, page.part)
    return (_HIDDEN if page.kind == "hidden" else _ARTICLE)[profile].format(page.number)


def read_page_path(profile: str, path: str) -> PagePath | None:
    """Returns what `page_path` was given, or None for any other path."""
    for kind, pattern in _PAGE[profile].items():
        match = pattern.fullmatch(path)
        if match:
            return PagePath(kind, *map(int, match.groups()))
    return None


def hidden_folder(profile: str) -> str:
    """Returns the directory of pages that robots.txt disallows, with slashes."""
    return _HIDDEN[profile].split("{")[0]
