"""What of a row goes in a purge: pure rules over plain rows of any table, by the names of their columns.

A row goes when it is about something that was removed: its image, its URL, its page.  Of any other row the URLs that
were removed are cut out, and of rows about a page that showed a removed image the texts that stood with it.
"""
from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from crawl import urls
from crawl.suppress import Suppression

Row = dict[str, Any]
HASHES = ("sha256", "image_sha256", "stored_sha256")
URLS = ("url", "final_url", "image_url", "page_url", "dst_url", "authority")
URL_KEYS = ("url_key", "image_key", "page_key", "src_key", "dst_key")
REVISIT = ("revisit_part", "revisit_offset", "revisit_length")     # where a recrawl says that earlier bytes stand
# What is read of every row to know whether it goes, and where its bytes are.
NARROW = ("key", *HASHES, *URLS, *URL_KEYS, "part", "offset", "length", *REVISIT, "warc_record_id",
          "format", "kind", "outcome")
# Rows of regions with such an outcome share the bytes of no region at all, which say nothing of any image.
_SHARED = "no_regions_"
# Texts of one image; others (surrounding, headings, the page's) are the page's and may be its neighbours'.
OWN_SOURCES = frozenset({"alt", "title", "figcaption", "aria_label", "table", "image_caption", "image_title"})
_MIN_PHRASE = 12                   # characters: shorter ones stand anywhere
_URL = re.compile(r"https?://[^\s\"'<>]+")


@dataclasses.dataclass(frozen=True)
class Targets:
    """What is to be absent."""

    suppressed: Suppression
    sha256s: frozenset[str] = frozenset()          # of images
    urls: frozenset[str] = frozenset()             # that gave these images
    url_keys: frozenset[str] = frozenset()         # of them, and of pages and images that a rule names
    shown_on: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)   # key of a page -> texts there
    ranges: Mapping[str, frozenset[tuple[int, int]]] = dataclasses.field(default_factory=dict)   # part -> bytes

    @property
    def keys(self) -> frozenset[str]:
        """Returns the keys of samples."""
        return frozenset(sha256[:32] for sha256 in self.sha256s) | frozenset(self.suppressed.keys)

    def as_json(self) -> Row:
        """Returns plain values, sorted: what a journal holds."""
        return {"sha256s": sorted(self.sha256s), "urls": sorted(self.urls), "url_keys": sorted(self.url_keys),
                "shown_on": {page: sorted(texts) for page, texts in sorted(self.shown_on.items())},
                "ranges": {part: sorted(map(list, pieces)) for part, pieces in sorted(self.ranges.items())}}

    def also(self, value: Row) -> Targets:
        """Returns these targets with those of a journal."""
        shown = {page: frozenset(texts) | self.shown_on.get(page, frozenset())
                 for page, texts in value["shown_on"].items()}
        ranges = {part: frozenset((start, length) for start, length in pieces) | self.ranges.get(part, frozenset())
                  for part, pieces in value["ranges"].items()}
        return Targets(self.suppressed, self.sha256s | set(value["sha256s"]), self.urls | set(value["urls"]),
                       self.url_keys | set(value["url_keys"]), {**self.shown_on, **shown}, {**self.ranges, **ranges})


class RowRule:
    """Targets, ready to be asked about rows."""

    def __init__(self, targets: Targets) -> None:
        self.targets = targets
        self._keys = targets.keys
        self._addresses = targets.suppressed.of_addresses

    def names(self, url: str) -> bool:
        """Returns whether a URL is to be absent."""
        return url in self.targets.urls or bool(self._addresses) and self._addresses.names(url)

    def goes(self, row: Row) -> bool:
        """Returns whether the whole row is about something removed."""
        return (row.get("key", "") in self._keys
                or any(row.get(name, "") in self.targets.sha256s for name in HASHES)
                or any(row.get(name, "") in self.targets.url_keys for name in URL_KEYS)
                or any(self.names(url) for name in URLS if (url := row.get(name, ""))))

    def loses_bytes(self, row: Row) -> bool:
        """Returns whether the bytes a row points to go: with the row, or the page that showed a removed image."""
        page = "warc_record_id" in row and row.get("url_key", "") in self.targets.shown_on
        shared = row.get("outcome", "").startswith(_SHARED)
        return bool(row.get("part")) and not shared and (page or self.goes(row))

    def cleaned(self, row: Row) -> Row:
        """Returns a row that stays without what it says of something removed."""
        if self.loses_bytes(row):
            row = row | {"part": "", "offset": 0, "length": 0}
        phrases = frozenset() if "split" in row else self.targets.shown_on.get(_page_of(row), frozenset())
        return {name: self._clean(value, phrases) for name, value in row.items()}

    def _clean(self, value: Any, phrases: frozenset[str]) -> Any:
        if isinstance(value, str):
            if "://" in value:
                value = _URL.sub(lambda found: "" if self._is_gone(found.group()) else found.group(), value)
            for phrase in phrases:
                if phrase in value:
                    value = value.replace(phrase, "")
        elif isinstance(value, list):
            return [self._clean(one, phrases) for one in value if not (isinstance(one, str) and self._is_gone(one))]
        elif isinstance(value, dict):
            return {name: self._clean(one, phrases) for name, one in value.items()}
        return value

    def _is_gone(self, text: str) -> bool:
        return "://" in text and (self.names(text) or self.names(text.rstrip(").,;:!?]")))


def phrases_of(row: Row) -> frozenset[str]:
    """Returns the texts of a candidate row that are of its image alone."""
    return frozenset(one["text"] for one in row.get("texts", ())
                     if one["source"] in OWN_SOURCES and len(one["text"]) >= _MIN_PHRASE)


def _page_of(row: Row) -> str:
    """Returns the key of the page a row is about, "" for none."""
    key = row.get("page_key") or (urls.url_key(row["page_url"]) if row.get("page_url") else row.get("url_key", ""))
    return str(key)
