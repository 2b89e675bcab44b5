"""What became of a URL, an image or a caption: every row of the finished stages that speaks of it."""
from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from crawl.records import Image
from crawl.stages import current, current_manifest
from crawl.tables import read_table
from filter.records import Best, ClipFacts, ImageFacts, ImageOutcome, Judged, Pair

_TABLES: tuple[tuple[str, str, type, tuple[str, ...]], ...] = (
    ("judge", "judged", Judged, ("image_url", "page_url", "occurrence", "image_key")),
    ("images", "images", Image, ("url", "final_url", "url_key", "sha256")),
    ("features", "features", ImageFacts, ("sha256",)),
    ("clip", "clip", ClipFacts, ("sha256",)),
    ("filter", "image_outcomes", ImageOutcome, ("sha256",)),
    ("filter", "pairs", Pair, ("image_url", "page_url", "image_sha256", "pair_id", "caption")),
    ("filter", "best", Best, ("image_url", "page_url", "image_sha256", "key", "caption")),
)
_KEY_DIGITS = 32


def explain(out: str, what: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (stage and table, row) for every row about a URL, a key, a sha256 or a caption; pictures left out.

    An image named by URL is followed to its bytes, so its facts and outcome are found as well.
    """
    names = {what} - {""}
    finished = current(out)
    for stage, table, record, fields in _TABLES:
        if stage not in finished:
            continue
        for row in _rows(out, stage, table, record):
            if _matches(row, fields, names):
                if isinstance(row, Image) and row.sha256:
                    names |= {row.sha256, row.sha256[:_KEY_DIGITS]}
                plain = dataclasses.asdict(row)
                yield f"{stage}/{table}", plain


def _rows(out: str, stage: str, table: str, record: type) -> Iterator[Any]:
    for path in current_manifest(out, stage).paths(table):
        yield from read_table(path, record)


def _matches(row: Any, fields: tuple[str, ...], names: set[str]) -> bool:
    return any(getattr(row, field) in names for field in fields)


def one_line(where: str, row: dict[str, Any], visible: Callable[[str], str] = repr) -> str:
    """Returns a row as one line for a person; texts from the web are printed as Python writes them."""
    told = [f"{name}={visible(value) if isinstance(value, str) else value}"
            for name, value in row.items() if name in _SHOWN and value not in ("", ())]
    captions = [f"{caption['source']}: {visible(caption['text'] or caption['raw'][:80])} "
                f"{caption['reason'] or 'passed'}" for caption in row.get("captions", ())]
    return "  ".join([f"{where:22}", *told, *captions])


_SHOWN = ("outcome", "caption", "source", "score", "image_url", "page_url", "url", "width", "height", "natural",
          "deviation", "entropy", "unsafe", "sha256", "split", "num_occurrences")
