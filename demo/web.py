"""The synthetic web: which sites, pages and images there are, and the right outcome for every image URL.

Nothing is held in memory but a few numbers per host: an image's kind, its page, its URLs and its truth are computed
from its number, so that 50 and 1,000,000 images cost the same until they are asked for.
"""
from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterator
from urllib.parse import urlsplit

from demo.addresses import PRIVATE, ImagePath, PagePath, image_folder, image_path, page_path, read_image_path
from demo.census import Census
from demo.kinds import HOST_REASONS, HOST_ROLES, IMAGE_KINDS, NO_RULES, PAGE_KINDS, SMALL_HOSTS
from demo.plan import (
    CHROME,
    GONE_HOST,
    IMAGE_HOSTS,
    PAGE_SIZES,
    PIXEL,
    SCENELESS,
    UNKNOWN,
    Article,
    Slot,
    Truth,
    WebConfig,
)
from demo.scenes import Scene, draw_scene


class SyntheticWeb:
    """A web drawn from its config; every method is a pure function of it."""

    def __init__(self, config: WebConfig) -> None:
        self.config = config
        self.hosts = tuple(f"h{number:03d}.test" for number in range(config.hosts))
        self.numbers = {name: number for number, name in enumerate(self.hosts)}
        self.images = Census(config.num_images, IMAGE_KINDS[config.profile], f"{config.seed}/images")
        counts = self._images_per_host()
        self._first_image = [0, *itertools.accumulate(counts)]
        self.articles_of = [self._article_at(count - 1)[0] + 1 for count in counts]
        self._first_article = [0, *itertools.accumulate(self.articles_of)]
        self.num_articles = self._first_article[-1]
        self.articles = Census(self.num_articles, PAGE_KINDS, f"{config.seed}/articles")
        # Hosts without a role of their own, where a redirect may safely lead.
        self.plain_hosts = tuple(number for number in range(config.hosts) if number not in HOST_ROLES)
        self._show_every_kind()
        self.slot = functools.lru_cache(maxsize=16384)(self._slot)
        self.scene = functools.lru_cache(maxsize=16384)(self._scene)

    def _show_every_kind(self) -> None:
        """Gives each kind one image on a page that may be read, in exchange for a kept scene where it has none."""
        keep = self.images.kinds[0]
        free = (number for number in map(functools.partial(self.images.nth, keep), range(self.images.counts["keep"]))
                if self._is_open(number))
        for kind in self.images.kinds[1:]:
            members = [self.images.nth(kind, member) for member in range(min(8, self.images.counts[kind.name]))]
            if not any(map(self._is_open, members)):
                self.images.swap(members[0], next(free))

    def _is_open(self, number: int) -> bool:
        host, page, _ = self._whereabouts(number)
        return self.article(host, page).reason == "keep"

    def _whereabouts(self, number: int) -> tuple[int, int, int]:
        """Returns (host, article, place on it) of an image."""
        host = bisect.bisect_right(self._first_image, number) - 1
        return host, *self._article_at(number - self._first_image[host])

    def _images_per_host(self) -> list[int]:
        total, hosts = self.config.num_images, self.config.hosts
        small = {number: min(SMALL_HOSTS[role], total // hosts)
                 for number, role in HOST_ROLES.items() if role in SMALL_HOSTS}
        share, rest = divmod(total - sum(small.values()), hosts - len(small))
        counts = []
        for number in range(hosts):
            if number in small:
                counts.append(small[number])
            else:
                counts.append(share + (rest > 0))
                rest -= rest > 0
        return counts

    @staticmethod
    def _article_at(offset: int) -> tuple[int, int]:
        """Returns (article, place on it) of the image with that offset on its host."""
        block, rest = divmod(offset, sum(PAGE_SIZES))
        starts = [0, *itertools.accumulate(PAGE_SIZES)]
        index = bisect.bisect_right(starts, rest) - 1
        return block * len(PAGE_SIZES) + index, rest - starts[index]

    def _scene(self, scene_id: int) -> Scene:
        return draw_scene(self.config.seed, scene_id, self.config.profile)

    def role(self, host: int) -> str:
        """Returns the role of a host, "" for most."""
        return HOST_ROLES.get(host, "")

    def scheme(self, host: int) -> str:
        """Returns http or https: a third of the hosts answers over TLS and redirects the rest."""
        return "https" if host % 3 == 1 else "http"

    def origin(self, host: int) -> str:
        """Returns scheme and name of a host."""
        return f"{self.scheme(host)}://{self.hosts[host]}"

    @property
    def seeds(self) -> tuple[str, ...]:
        """Returns the front page of every host; some https sites are known by their http name only."""
        return tuple(f"{'http' if number % 12 == 4 else self.scheme(number)}://{name}/"
                     for number, name in enumerate(self.hosts))

    def article(self, host: int, number: int) -> Article:
        """Returns the plan of one article page."""
        kind, _ = self.articles.kind_of(self._first_article[host] + number)
        start = number // len(PAGE_SIZES) * sum(PAGE_SIZES) + sum(PAGE_SIZES[:number % len(PAGE_SIZES)])
        first = self._first_image[host] + start
        last = min(first + PAGE_SIZES[number % len(PAGE_SIZES)], self._first_image[host + 1])
        where = "hidden" if kind.name == "robots_page" else "article"
        reason = HOST_REASONS.get(self.role(host), kind.expected)
        if reason == "robots_disallowed" and self.role(host) in NO_RULES:
            reason = "keep"
        path = page_path(self.config.profile, PagePath(where, number))
        return Article(host, number, kind, reason, range(first, last), path)

    def _slot(self, number: int) -> Slot:
        kind, member = self.images.kind_of(number)
        host, page, place = self._whereabouts(number)
        reason = self.article(host, page).reason
        scene_id: int | None = number
        if kind.name == "duplicate":
            scene_id = self._original(member)
        elif kind.name in SCENELESS:
            scene_id = None
        image_host, folder = self.hosts[host], image_folder(self.config.profile, host)
        if kind.name == "keep" and member % 16 == 5:
            carrier = self.config.hosts - 1 - member // 16 % IMAGE_HOSTS
            image_host, folder = self.hosts[carrier], "cdn"
        elif kind.name == "robots_path":
            folder = PRIVATE
            if self.role(host) in NO_RULES:
                image_host = self.hosts[self.far_host(number)]
        elif kind.name == "gone_host":
            image_host = GONE_HOST
        path = ImagePath(number, "", folder, _extension(kind.name, member))
        return Slot(number, kind, member, host, page, place, scene_id, kind.expected if reason == "keep" else reason,
                    image_host, path)

    def _original(self, member: int) -> int:
        """Returns the kept scene that a duplicate shows: one whose page may be read."""
        keep = self.images.kinds[0]
        count = self.images.counts[keep.name]
        start = member * 7919 + self.config.seed
        return next(number for step in range(start, start + count)
                    if self._is_open(number := self.images.nth(keep, step % count)))

    def image_url(self, slot: Slot, size: str = "") -> str:
        """Returns the URL at which the bytes of a slot are served."""
        scheme = "http" if slot.image_host == GONE_HOST else self.scheme(self.numbers[slot.image_host])
        path = image_path(self.config.profile, dataclasses.replace(slot.path, size=size))
        return f"{scheme}://{slot.image_host}{path}"

    def shown_url(self, slot: Slot) -> str:
        """Returns the URL that the page gives for a slot: of the bytes, or of a redirect to them."""
        name = slot.kind.name
        if name == "redirect":
            return f"{self.origin(slot.host)}/go/{slot.number}"
        if name == "redirect_far":
            return f"{self.origin(self.far_host(slot.number))}/out/{slot.number}"
        if name == "redirect_loop":
            return f"{self.origin(slot.host)}/loop/{slot.number}/a"
        return self.image_url(slot)

    def far_host(self, number: int) -> int:
        """Returns the host that redirects to another for this slot."""
        return self.plain_hosts[number % len(self.plain_hosts)]

    def slot_at(self, url: str) -> tuple[Slot, str] | None:
        """Returns (slot, size) of an image URL of this web, redirects included; None for any other URL."""
        parts = urlsplit(url)
        host, path = parts.hostname or "", parts.path
        read = read_image_path(self.config.profile, path)
        number = read.number if read else _redirect_number(path)
        if number is None or number >= self.config.num_images or parts.query:
            return None
        slot = self.slot(number)
        if read is not None:
            sized = read.size == "" or slot.kind.name == "keep"
            same = dataclasses.replace(read, size="") == slot.path and host == slot.image_host
            return (slot, read.size) if same and sized else None
        shown = urlsplit(self.shown_url(slot))
        hops = {shown.path, shown.path[:-1] + "b"} if slot.kind.name == "redirect_loop" else {shown.path}
        return (slot, "") if host == shown.hostname and path in hops else None

    def truth(self, image_url: str) -> Truth:
        """Returns the right outcome of an image URL; `unknown_url` for one that this web does not serve."""
        found = self.slot_at(image_url)
        if found is not None:
            slot, size = found
            captions = () if slot.scene_id is None else self.scene(slot.scene_id).captions
            expected = "too_small" if size == "s" and slot.expected == "keep" else slot.expected
            return Truth(slot.scene_id, expected, captions)
        parts = urlsplit(image_url)
        if parts.hostname not in self.numbers:
            return UNKNOWN
        return Truth(None, "tracking_pixel" if parts.path == PIXEL else CHROME.get(parts.path, UNKNOWN.expected), ())

    def slots(self) -> Iterator[Slot]:
        """Yields every planned image, in order, without keeping any."""
        for number in range(self.config.num_images):
            yield self._slot(number)

    def scenes_to_keep(self) -> Iterator[int]:
        """Yields the id of every scene that a faultless run keeps."""
        for slot in self.slots():
            if slot.expected == "keep":
                yield slot.number


def _extension(kind: str, member: int) -> str:
    """Returns jpg for most images, png or webp for some."""
    if kind in ("text_screenshot", "pixel_bomb", "gzip_bomb", "flat_logo", "chart"):
        return "png"
    if kind in ("keep", "duplicate") and member % 25 in (3, 17):
        return "webp" if member % 2 else "png"
    return "jpg"


def _redirect_number(path: str) -> int | None:
    """Returns the slot number of /go/N, /out/N and /loop/N/a."""
    words = path.split("/")
    if len(words) in (3, 4) and words[1] in ("go", "out", "loop") and words[2].isdecimal() and len(words[2]) < 8:
        return int(words[2])
    return None
