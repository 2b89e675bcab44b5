"""The stage `images`: every image URL that judge asks for, downloaded once.

    OUT/images/5c02…/fetch_list-*.parquet  shard-0000/part-*  images-*.parquet

What the images stage that was current before answered for good is carried over, with its addresses: a changed threshold
never downloads again.  That stage is then an input named `known`, and recorded before the first request.  A round of
retries is the same with a stage of the same judge and config as what is known.
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.block_list import BlockFile, block_file
from crawl.config import as_dict, canonical_json, digest
from crawl.errors import UsageError
from crawl.frontier import FrontierRules
from crawl.known_images import stands
from crawl.parts import PartLimits
from crawl.policy import FetchPolicy, Network
from crawl.records import Image, ImageFetch
from crawl.stages import Manifest, Stage, current, current_manifest, funnel_of, read_manifest
from crawl.suppress import suppression
from crawl.tables import FileEntry

# 3: ai.txt and licences are signals, headers of a refused answer; 4: content_type; 5: lists and logs know validators;
# 6: a name that does not exist is not asked for again; 7: captures of robots.txt are stored;
# 8: rows of a list may stand; 9: hosts know their address, lists are grouped by it
FORMAT = 9
Run = Callable[[str, Callable[[Any], None]], None]
Files = tuple[FileEntry, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class ImagesConfig:
    """How images are downloaded: part of the stage's folder name."""

    fetch: FetchPolicy = dataclasses.field(default_factory=FetchPolicy)
    parts: PartLimits = dataclasses.field(default_factory=PartLimits)
    order_seed: int = 0
    shards: int = 1                # fetch shards: hosts of one interleave; as many as workers fetch side by side
    buckets: int = 4               # files of the table
    block_hashes: str = ""         # digest of the list of --block-hashes (crawl/block_list.py)

    def __post_init__(self) -> None:
        for name in ("shards", "buckets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Asked:
    """The stage of the images that a judge asks for, and what is known before it begins."""

    stage: Stage
    config: ImagesConfig
    judge: Manifest
    known: Manifest | None         # whose answers are carried over
    hosts: tuple[str, ...]         # tables of robots answers
    blocked: BlockFile             # hashes of images that are not stored, and the suppress list

    @property
    def has_answers(self) -> bool:
        """Returns whether a URL may be answered without a request."""
        return self.known is not None or bool(self.blocked.suppressed)


def fetch_images(out: str, config: ImagesConfig, network: Network, run: Run, *, retry_failed: bool = False,
                 block_hashes: str = "") -> Manifest:
    """Returns the manifest of the table `images`: one row for each image URL that the current judge asks for.

    Args:
        retry_failed: a finished stage is no end: what failed in it for a reason that may have passed
            (known_images.stands) is asked for again, in a new stage folder; where nothing did, that stage is returned.
        block_hashes: path of a list of hashes; images on it leave their outcome row and nothing else.
    """
    asked = next_images(out, config, retry_failed=retry_failed, block_hashes=block_hashes)
    config = asked.config
    stage, judge, known = asked.stage, asked.judge, asked.known
    finished = stage.finished()
    if finished is not None:
        return finished
    _remember(out, judge, config, known)
    from crawl.fetch_transforms import FetchShards, ReadAnswers, WriteAnswers
    from crawl.transforms import merged

    def fetch(root: Any) -> None:
        wanted, lists, carried = _selected(root, asked, stage.directory)
        parts = lists | "Fetch images" >> FetchShards(
            stage.directory, stage.directory, out, config.shards, config.fetch, network, 0, "image",
            config.parts, asked.hosts, asked.blocked)
        fetched = parts | "Read answers" >> ReadAnswers(stage.directory)
        images = fetched if carried is None else merged(carried, fetched)
        (wanted, images) | "Write images" >> WriteAnswers(stage.directory, config.buckets)

    run(f"images: {judge.rows('fetch')} image URLs", fetch)
    return _commit(stage, config, known)


def next_images(out: str, config: ImagesConfig, *, retry_failed: bool = False, block_hashes: str = "",
                looks_only: bool = False) -> Asked:
    """Returns the stage that `fetch_images` would work on; with `looks_only` nothing is written."""
    blocked = dataclasses.replace(block_file(block_hashes), suppressed=suppression(out))
    if config.block_hashes not in ("", blocked.digest):
        raise UsageError(f"images.block_hashes is {config.block_hashes!r}, the digest of a list: name the list itself "
                         "with --block-hashes FILE")
    config = dataclasses.replace(config, block_hashes=blocked.digest)
    judge = current_manifest(out, "judge")
    crawl = _manifest_of(out, "crawl")
    known = _known(out, judge, config)
    stage = _open(out, judge, config, known, looks_only)
    finished = read_manifest(out, stage.folder)
    if finished is not None and retry_failed and _to_retry(finished):
        known = finished
        if not looks_only:
            _remember(out, judge, config, known)
        stage = _open(out, judge, config, known, looks_only)
    # The crawl has asked most of these hosts for their robots.txt already.
    hosts = tuple(path for manifest in (crawl, known) if manifest and "hosts" in manifest.tables
                  for path in manifest.paths("hosts"))
    return Asked(stage, config, judge, known, hosts, blocked)


def select_images(asked: Asked, run: Run, directory: str) -> tuple[Files, Files]:
    """Returns the fetch lists and the table of what needs no fetch, written below `directory`: for a look ahead."""
    from crawl.transforms import WriteTable, entries_of
    config = asked.config

    def select(root: Any) -> None:
        _, _, carried = _selected(root, asked, directory)
        if carried is not None:
            carried | "Write carried" >> WriteTable(directory, "carried", Image, "url_key", config.buckets)

    run("images: select", select)
    return (tuple(entries_of(directory, "fetch_list", config.shards)),
            tuple(entries_of(directory, "carried", config.buckets)) if asked.has_answers else ())


def _selected(root: Any, asked: Asked, directory: str) -> tuple[Any, Any, Any]:
    """Returns what is wanted, the shards whose lists are written, and what needs no fetch (or None)."""
    from crawl.fetch_transforms import SelectAll, SplitKnown, WriteFetchLists
    from crawl.transforms import ReadTables
    config, known = asked.config, asked.known
    rules = FrontierRules(order_seed=config.order_seed)
    tables: dict[str, tuple[tuple[str, ...], type]] = {"wanted": (asked.judge.paths("fetch"), ImageFetch)}
    if not asked.has_answers:
        wanted, carried = (root | "Read" >> ReadTables(tables))["wanted"], None
        rows = wanted | "Select" >> SelectAll(config.shards, rules)
    else:
        same_list = known is None or known.config.get("block_hashes", "") == config.block_hashes
        read = root | "Read" >> ReadTables(tables | {"known": (known.paths("images") if known else (), Image)})
        wanted = read["wanted"]
        rows, carried = (wanted, read["known"]) | "Split known" >> SplitKnown(
            config.shards, rules, asked.stage.out, None if same_list else asked.blocked, config.fetch.max_pixels,
            asked.blocked.suppressed)
    return wanted, rows | "Write fetch lists" >> WriteFetchLists(directory, config.shards, asked.hosts), carried


def _commit(stage: Stage, config: ImagesConfig, known: Manifest | None) -> Manifest:
    from crawl.parts import committed
    from crawl.transforms import entries_of
    parts = [part for shard in range(config.shards) for part in committed(stage.directory, shard)]
    lists = tuple(entries_of(stage.directory, "fetch_list", config.shards))
    images = tuple(entries_of(stage.directory, "images", config.buckets))
    asked, answered = sum(entry.rows for entry in lists), sum(part.log.rows for part in parts)
    if asked != answered:
        raise AssertionError(f"images: {asked} rows in the fetch lists, {answered} in the logs")
    carried = sum(entry.rows for entry in images) - asked
    tables = {"images": images, "fetch_list": lists,
              "fetch_log": tuple(part.log for part in parts), "hosts": tuple(part.hosts for part in parts),
              "tars": tuple(part.bytes for part in parts),
              "robots": tuple(entry for part in parts for entry in part.robots)}
    notes = [f"{carried} of {carried + asked} image URLs were answered before; their bytes lie in the parts of "
             f"{known.folder} and of what that carried over"] if known else []
    return stage.commit(tables, [funnel_of("images", "image URL", tables["images"])], notes=notes,
                        extra={"carried": carried})


def _open(out: str, judge: Manifest, config: ImagesConfig, known: Manifest | None, looks_only: bool) -> Stage:
    inputs = {"judge": judge.digest} | ({"known": known.digest} if known else {})
    return Stage.open(out, "images", FORMAT, config, inputs, fetches=True, looks_only=looks_only)


def _to_retry(images: Manifest) -> int:
    """Returns how many rows of a finished stage would be asked for again."""
    return sum(count for entry in images.tables["images"] for name, count in entry.outcomes if not stands(name))


def _known(out: str, judge: Manifest, config: ImagesConfig) -> Manifest | None:
    """Returns the stage whose answers count as known.

    A run of the same judge and config takes what it recorded when it began: so a half-finished run goes on in its own
    folder, and a finished one is found again instead of becoming its own past.
    """
    path = _memory(out, judge, config)
    if storage.exists(path):
        folder = json.loads(storage.read_bytes(path))["known"]
        return read_manifest(out, folder) if folder else None
    return _manifest_of(out, "images")


def _remember(out: str, judge: Manifest, config: ImagesConfig, known: Manifest | None) -> None:
    storage.replace_bytes(_memory(out, judge, config),
                          canonical_json({"known": known.folder if known else ""}).encode())


def _memory(out: str, judge: Manifest, config: ImagesConfig) -> str:
    identity = digest({"judge": judge.digest, "config": as_dict(config), "format": FORMAT})
    return storage.join(out, "images", f"known-{identity[:12]}.json")


def _manifest_of(out: str, name: str) -> Manifest | None:
    folder = current(out).get(name)
    return read_manifest(out, folder) if folder else None
