"""The plan of a synthetic web: its config, and what is said of one image, one page and one URL."""
from __future__ import annotations

import dataclasses

from crawl.errors import UsageError
from demo.addresses import ImagePath
from demo.captions import PROFILES
from demo.census import Kind

PAGE_SIZES = (8, 14, 10, 12, 9, 13, 11, 11)     # images on a page, in turn
IMAGE_HOSTS = 3                    # the last hosts also carry pictures for the others
GONE_HOST = "gone.test"            # a name at which nothing answers
SCENELESS = frozenset({"text_screenshot", "meme", "placeholder", "banner", "flat_logo", "chart"})
# What stands on every page besides its pictures: path -> the right outcome.
CHROME = {"/static/logo.png": "logo", "/static/icons/mail.png": "icon", "/static/icons/feed.png": "icon",
          "/static/icons/search.png": "icon", "/static/masthead.jpg": "banner", "/static/sale.jpg": "banner",
          "/static/lazy.gif": "placeholder", "/favicon.ico": "icon"}
PIXEL = "/pixel.gif"               # the tracking pixel, with a query of its own on every page


@dataclasses.dataclass(frozen=True, slots=True)
class WebConfig:
    """Everything a synthetic web depends on."""

    seed: int = 1
    num_images: int = 6000         # image slots on article pages; chrome comes on top
    hosts: int = 48
    profile: str = "first"         # first, second: templates, layouts and distractors

    def __post_init__(self) -> None:
        if not 50 <= self.num_images <= 1_000_000:
            raise UsageError(f"num_images={self.num_images} is out of range; choose 50 to 1000000")
        if not 40 <= self.hosts <= 1000:
            raise UsageError(f"hosts={self.hosts} is out of range; choose 40 to 1000")
        if self.profile not in PROFILES:
            raise UsageError(f"profile={self.profile!r} is unknown; choose {' or '.join(PROFILES)}")
        if self.seed < 0:
            raise UsageError(f"seed={self.seed} is negative; choose 0 or more")


@dataclasses.dataclass(frozen=True, slots=True)
class Truth:
    """The right outcome of one image URL."""

    scene_id: int | None           # the scene it shows, None where it shows none or nothing
    expected: str                  # "keep", or why not, in snake_case
    true_captions: tuple[str, ...]  # sentences that are true of the scene


UNKNOWN = Truth(None, "unknown_url", ())


@dataclasses.dataclass(frozen=True, slots=True)
class Slot:
    """One planned image: what it is, where it stands, and how it is addressed."""

    number: int
    kind: Kind
    member: int                    # which of its kind
    host: int                      # of the page
    page: int                      # article number on that host
    place: int                     # on that page, from 0
    scene_id: int | None
    expected: str                  # with the page's fate taken into account
    image_host: str                # the name that serves the bytes
    path: ImagePath


@dataclasses.dataclass(frozen=True, slots=True)
class Article:
    """One planned article page."""

    host: int
    number: int                    # on its host, from 0
    kind: Kind
    reason: str                    # "keep", or why nothing on it is to be kept
    images: range                  # slot numbers
    path: str
