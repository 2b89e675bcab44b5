"""What became of the rows of all rounds of a crawl, counted from committed files."""
from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

from crawl.frontier import is_deferred
from crawl.records import NOT_DUE, NOT_MODIFIED, STORED, UNCHANGED
from crawl.stages import Funnel, funnel_of
from crawl.tables import FileEntry

Tables = Mapping[str, tuple[FileEntry, ...]]


def rows_of(entries: Iterable[FileEntry]) -> int:
    """Returns how many rows some files have."""
    return sum(entry.rows for entry in entries)


def funnels(tables: Tables, from_sitemaps: int, is_recrawl: bool) -> list[Funnel]:
    """Returns the funnel of a crawl: pages (how each fetch ended, a stored one as what it became), images, rows, URLs.

    Args:
        from_sitemaps: candidates that sitemaps gave.
        is_recrawl: then a line says how the fetches ended themselves: what stands, what is new.
    """
    asked, named, candidates = (rows_of(tables[name]) for name in ("fetch_list", "sitemap_images", "candidates"))
    fetched = _outcomes(tables["fetch_log"])
    became = fetched + _outcomes(tables["pages"])
    stored = sum(became.pop(name, 0) for name in STORED)
    became["sitemap_read"] = stored - rows_of(tables["pages"])
    found = [_funnel("fetch", asked, fetched)] if is_recrawl else []
    found.append(_funnel("page", asked, became))
    if named:
        ended = {"candidate": from_sitemaps, "repeated_or_over_limit": named - from_sitemaps}
        found.append(_funnel("image in a sitemap", named, ended))
    return [*found, _funnel("candidate row", candidates, {"found": candidates}),
            funnel_of("crawl", "known URL", tables["crawldb"])]


def deferred(tables: Tables) -> int:
    """Returns how many fetches were put off."""
    return sum(count for name, count in _outcomes(tables["fetch_log"]).items() if is_deferred(name))


def standing_note(tables: Tables, before: str) -> str:
    """Returns the note of a recrawl about the bytes that lie elsewhere; `before` is the folder of the crawl before.

    "" where there are none.
    """
    fetched = _outcomes(tables["fetch_log"])
    told, same, not_due = fetched[NOT_MODIFIED], fetched[UNCHANGED], fetched[NOT_DUE]
    asked = fetched.total() - not_due
    waiting = f"{not_due} stored URLs are not due again yet; " if not_due else ""
    return (f"{waiting}{told + same} of {asked} fetches found what the crawl before has ({told} not modified, {same} "
            f"the same bytes again): their bodies lie in the parts of {before} and of what that carried over"
            if told + same + not_due else "")


def _outcomes(entries: Iterable[FileEntry]) -> collections.Counter[str]:
    totals: collections.Counter[str] = collections.Counter()
    for entry in entries:
        totals.update(dict(entry.outcomes))
    return totals


def _funnel(unit: str, rows: int, outcomes: Mapping[str, int]) -> Funnel:
    return Funnel("crawl", unit, rows, tuple(sorted((name, count) for name, count in outcomes.items() if count)))
