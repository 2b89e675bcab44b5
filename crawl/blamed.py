"""What was kept apart: bytes that killed or hung a sandbox, and bodies that `--keep-denied` stored though refused.

Rows of committed tables, of the current stages `crawl`, `images` and `features`; no body is opened for this.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from crawl import quarantine, storage
from crawl.records import DENY, FetchLog, Image, Page
from crawl.stages import Manifest, current, read_manifest
from crawl.tables import read_matching

# What crawl/sandbox_client.py blames an item for, after the work it was in.
_BLAMED = frozenset(f"{work}_{reason}" for work in ("parse", "sitemap", "decode")
                    for reason in ("crashed", "timeout", "out_of_memory"))
_DENIED = frozenset({"optout_header", "optout_meta"})


@dataclasses.dataclass(frozen=True, slots=True)
class KeptApart:
    """One body that no later stage gets, and where it lies."""

    stage: str                     # crawl, images, features
    kind: str                      # page (or sitemap), image
    reason: str                    # parse_crashed, decode_timeout, optout_header, ...
    url: str                       # as found: text of the web
    evidence: str                  # of a refusal: the signals that refuse
    file: str                      # relative to the output root, "" where the body is nowhere
    offset: int
    length: int                    # 0 for a file that holds nothing else
    sha256: str                    # hex, of the body


@dataclasses.dataclass(frozen=True, slots=True)
class _Decoded:
    """Columns of the table `features`, which is not this package's."""

    sha256: str
    outcome: str
    part: str
    offset: int
    length: int


def kept_apart(out: str) -> Iterator[KeptApart]:
    """Yields what the current stages of an output root kept apart, stage by stage, in the order of their tables."""
    stages = current(out)
    found = {name: read_manifest(out, stages[name]) for name in ("crawl", "images", "features") if name in stages}
    crawl, images, features = (found.get(name) for name in ("crawl", "images", "features"))
    if crawl is not None:
        yield from _unparsed(crawl)
        yield from _denied(crawl, "page")
    if images is not None:
        yield from _denied(images, "image")
    if images is not None and features is not None:
        yield from _undecoded(features, images)


def _unparsed(crawl: Manifest) -> Iterator[KeptApart]:
    blamed = {page.url_key: page.outcome for path in crawl.paths("pages")
              for page in read_matching(path, Page, "outcome", _BLAMED.__contains__)}
    for path in crawl.paths("fetch_log") if blamed else ():
        for log in read_matching(path, FetchLog, "url_key", blamed.__contains__):
            if log.outcome == "ok":
                yield KeptApart("crawl", "page", blamed[log.url_key], log.url, "", log.part, log.offset, log.length,
                                log.sha256)


def _denied(manifest: Manifest, kind: str) -> Iterator[KeptApart]:
    names = quarantine.names(manifest.directory)
    record_type: Any = FetchLog if kind == "page" else Image
    for path in manifest.paths("fetch_log" if kind == "page" else "images") if names else ():
        for row in read_matching(path, record_type, "url_key", names.__contains__):
            if row.outcome in _DENIED:
                evidence = "; ".join(f"{one.name} {one.raw}" for one in row.signals if one.verdict == DENY)
                for name in names[row.url_key]:
                    yield KeptApart(manifest.stage, kind, row.outcome, row.url, evidence,
                                    storage.join(manifest.folder, name), 0, 0, row.sha256)


def _undecoded(features: Manifest, images: Manifest) -> Iterator[KeptApart]:
    blamed = {found.sha256: found for path in features.paths("features")
              for found in read_matching(path, _Decoded, "outcome", _BLAMED.__contains__)}
    for path in images.paths("images") if blamed else ():
        for image in read_matching(path, Image, "sha256", blamed.__contains__):
            found = blamed[image.sha256]
            yield KeptApart("features", "image", found.outcome, image.url, "", found.part, found.offset, found.length,
                            found.sha256)
