"""The web a second time: what an earlier crawl knows is due again, and asked only for what has changed.

A recrawl is a stage `crawl` whose inputs are the seeds, the manifest of the crawl `before` it and the moment it began.
The numbers of its rounds go on where the earlier one's ended.  A page that stands (crawl/revalidate.py) is a row with
the address of its earlier bytes, parsed again, so that the tables are whole and no byte is stored twice.
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from crawl import storage
from crawl.errors import UsageError
from crawl.frontier import DUE, NOFOLLOW, REACHED, FrontierRules, refuse, seed_entry
from crawl.records import CrawlEntry, Earlier, FetchLog, FetchRow
from crawl.revalidate import earlier_of
from crawl.stages import Manifest, current_manifest, read_manifest, recorded_time

BEFORE, MOMENT = "before", "moment"
# 410 says that it is for good (RFC 9110, 15.5.11); a link that must not be followed opens nothing.
_STAYS = frozenset({"http_410", NOFOLLOW, REACHED})


def begun(out: str) -> tuple[Manifest, str]:
    """Returns the crawl to go on from and the moment of the recrawl: of the one that was stopped, else now.

    Raises UsageError where the current stage `crawl` knows no URLs: there is none, or tables or archives made it.
    """
    before = current_manifest(out, "crawl")
    if not before.tables.get("crawldb"):
        raise UsageError(f"{out}: the current crawl, {before.folder}, was read from tables or archives and has no URLs "
                         "to ask for again; crawl from seeds first, without --recrawl")
    path = storage.join(out, "crawl", "open.json")
    if storage.exists(path):
        opened = json.loads(storage.read_bytes(path))
        inputs = opened.get("inputs", {})
        is_half = read_manifest(out, opened["folder"]) is None
        if is_half and inputs.get(BEFORE) == before.digest and MOMENT in inputs:
            return before, inputs[MOMENT]
    return before, recorded_time()


def due_again(entry: CrawlEntry | None, seed: str | None, rules: FrontierRules, sites: frozenset[str]) -> CrawlEntry:
    """Returns what a recrawl begins with for one URL, judged by its own scope and limits.

    Args: entry: what the crawl before knew; seed: the URL where it is one of the seeds.
    """
    if entry is None:
        assert seed is not None
        return seed_entry(seed)
    if seed is not None:
        return dataclasses.replace(entry, kind="page", depth=0, status=DUE, retries=0)
    # What was a seed and is none any more stays a page, one step away: depth 0 is the mark of seeds.
    depth = max(entry.depth, 1)
    if entry.status in _STAYS:
        return dataclasses.replace(entry, depth=depth, retries=0)
    status = refuse(entry.url, depth, rules, sites) or DUE
    return dataclasses.replace(entry, depth=depth, status=status, retries=0)


def orphan_due(entry: CrawlEntry, first_round: int, rules: FrontierRules, sites: frozenset[str]) -> CrawlEntry:
    """Returns an entry, due where its page was reached by a redirect before and by none since the recrawl began."""
    if entry.status != REACHED or entry.last_round >= first_round:
        return entry
    return dataclasses.replace(entry, status=refuse(entry.url, entry.depth, rules, sites) or DUE)


def with_earlier(row: FetchRow, own: Sequence[FetchLog], arrived: Sequence[FetchLog]) -> FetchRow:
    """Returns a row of a fetch list with what is held of its URL.

    Args: own: its log rows of the crawl before; arrived: those of URLs that were redirected to it.
    """
    earlier: Earlier | None = earlier_of(own) or earlier_of(arrived)
    return dataclasses.replace(row, earlier=(earlier,)) if earlier else row
