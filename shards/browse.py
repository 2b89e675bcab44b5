"""What the sample browser shows: one page of samples that pass some filters, and everything of one sample.

A page begins at a cursor `SHARD.ROW` and reads the tables beside the shards from there on, so the last page of ten
million samples costs as much as the first.
"""
from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from crawl.errors import UsageError
from shards.census import site_of
from shards.manifest import ShardSet
from shards.samples import sample_rows

PAGE = 60                          # samples
_COLUMNS = ("key", "caption", "score", "source", "page_language", "page_url")


@dataclasses.dataclass(frozen=True, slots=True)
class Filters:
    """What a person asks for; empty means anything."""

    contains: str = ""             # in the caption, in any case
    split: str = ""
    site: str = ""                 # registrable domain of the page
    language: str = ""
    least: float = 0.0             # score
    most: float = 1.0

    @staticmethod
    def of(asked: dict[str, str]) -> Filters:
        """Returns the filters of a query string; raises UsageError for a score that is no number."""
        try:
            least, most = float(asked.get("least") or 0), float(asked.get("most") or 1)
        except ValueError:
            raise UsageError("least and most are scores, numbers from 0 to 1") from None
        return Filters(asked.get("contains", "").strip(), asked.get("split", ""), asked.get("site", "").strip(),
                       asked.get("language", "").strip(), least, most)

    def let(self, row: dict[str, Any]) -> bool:
        """Returns whether a row passes."""
        return (self.least <= row["score"] <= self.most and self.contains.casefold() in row["caption"].casefold()
                and (not self.language or row["page_language"] == self.language)
                and (not self.site or site_of(row["page_url"]) == self.site))


@dataclasses.dataclass(frozen=True, slots=True)
class Tile:
    """One sample on a page."""

    shard: int                     # its number in the manifest
    key: str
    caption: str
    score: float
    source: str
    site: str


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """A page of samples."""

    tiles: tuple[Tile, ...]
    after: str                     # cursor of the next page, "" at the end


def page_of(shards: ShardSet, filters: Filters, cursor: str = "", size: int = PAGE) -> Page:
    """Returns the samples from a cursor on that pass; raises UsageError for a cursor that no page gave."""
    found = list(itertools.islice(_passing(shards, filters, *_place(cursor)), size + 1))
    after = f"{found[size][0]}.{found[size][1]}" if len(found) > size else ""
    return Page(tuple(Tile(number, row["key"], row["caption"], row["score"], row["source"], site_of(row["page_url"]))
                      for number, _, row in found[:size]), after)


def _passing(shards: ShardSet, filters: Filters, first: int, start: int) -> Iterator[tuple[int, int, dict[str, Any]]]:
    for number, shard in enumerate(shards.shards):
        if number < first or (filters.split and shard.split != filters.split):
            continue
        rows = sample_rows(dataclasses.replace(shards, shards=(shard,)), _COLUMNS)
        for place, row in enumerate(rows):
            if (number > first or place >= start) and filters.let(row):
                yield number, place, row


def _place(cursor: str) -> tuple[int, int]:
    shard, dot, row = (cursor or "0.0").partition(".")
    if not (dot and shard.isdecimal() and row.isdecimal() and len(cursor) < 40):
        raise UsageError("after: not the place of a page; begin at the first page")
    return int(shard), int(row)
