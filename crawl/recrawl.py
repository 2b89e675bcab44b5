"""The web a second time: what an earlier crawl knows is asked when it is due again, and only for what has changed.

A recrawl is a stage `crawl` whose inputs are the seeds, the manifest of the crawl `before` it, the moment it began and
whether it asks for what is due by its schedule (crawl/schedule.py) or for everything.  The numbers of its rounds go on
where the earlier one's ended.  A page that stands (crawl/revalidate.py), and one that is not due, is a row with the
address of its earlier bytes, parsed again, so that the tables are whole and no byte is stored twice.
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from crawl import storage
from crawl.errors import UsageError
from crawl.frontier import DUE, NOFOLLOW, REACHED, STANDS, FrontierRules, refuse, seed_entry
from crawl.records import STORED, CrawlEntry, Earlier, FetchLog, FetchRow
from crawl.revalidate import earlier_of, stored_of
from crawl.schedule import GONE, is_due
from crawl.stages import Manifest, current_manifest, read_manifest, recorded_time

BEFORE, MOMENT, ASKS = "before", "moment", "asks"
WHAT_IS_DUE, EVERYTHING = "due", "all"       # what a recrawl asks for
# 410 says that it is for good (RFC 9110, 15.5.11); a link that must not be followed opens nothing.
_STAYS = frozenset({GONE, NOFOLLOW, REACHED})


def begun(out: str, asks: str) -> tuple[Manifest, str]:
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
        if is_half and MOMENT in inputs and (inputs.get(BEFORE), inputs.get(ASKS)) == (before.digest, asks):
            return before, inputs[MOMENT]
    return before, recorded_time()


def due_again(entry: CrawlEntry | None, seed: str | None, rules: FrontierRules, sites: frozenset[str],
              moment: str) -> CrawlEntry:
    """Returns what a recrawl begins with for one URL, judged by its own scope and limits.

    Args: entry: what the crawl before knew; seed: the URL where it is one of the seeds; moment: what is due then is
    asked for, what is not and has stored bytes stands; "" for everything.
    """
    if entry is None:
        assert seed is not None
        return seed_entry(seed)
    # What was a seed and is none any more stays a page, one step away: depth 0 is the mark of seeds.
    depth = max(entry.depth, 1) if seed is None else 0
    entry = dataclasses.replace(entry, kind="page" if seed is not None else entry.kind, depth=depth, retries=0)
    if seed is None and entry.status in _STAYS:
        return entry
    status = None if seed is not None else refuse(entry.url, depth, rules, sites)
    if status is not None:
        return dataclasses.replace(entry, status=status, next_due="")
    if not moment or entry.status == DUE or is_due(entry, moment):
        return dataclasses.replace(entry, status=DUE)
    if entry.status in STORED:
        return dataclasses.replace(entry, status=STANDS)
    return entry if seed is None else dataclasses.replace(entry, status=DUE)


def orphan_due(entry: CrawlEntry, first_round: int, rules: FrontierRules, sites: frozenset[str]) -> CrawlEntry:
    """Returns an entry, due where its page was reached by a redirect before and by none since the recrawl began."""
    if entry.status != REACHED or entry.last_round >= first_round:
        return entry
    return dataclasses.replace(entry, status=refuse(entry.url, entry.depth, rules, sites) or DUE)


def with_earlier(row: FetchRow, own: Sequence[FetchLog], arrived: Sequence[FetchLog], stands: bool) -> FetchRow:
    """Returns a row of a fetch list with what is held of its URL.

    Args:
        own: its log rows of the crawl before; arrived: those of URLs that were redirected to it.
        stands: it is not due: its row of before counts, where that has bytes; without any it is asked for.
    """
    kept = stored_of(own) if stands else None
    if kept is not None:
        return dataclasses.replace(row, standing=(kept,))
    earlier: Earlier | None = earlier_of(own) or earlier_of(arrived)
    return dataclasses.replace(row, earlier=(earlier,)) if earlier else row
