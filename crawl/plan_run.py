"""`--dry-run` of the stages `crawl` and `images`: the select job of a real run, into a folder that is thrown away.

No request is made and nothing below the output root is written; the job's files live in a temporary folder of this
machine, so the job runs on workers that see it.
"""
from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Iterator
from typing import Any

from crawl import storage, urls
from crawl.block_list import BLOCKED, UNCHECKED
from crawl.config import as_dict
from crawl.frontier import DUE
from crawl.images_run import ImagesConfig, next_images, select_images
from crawl.parts import committed
from crawl.plan import ANSWERED, Plan, Planner
from crawl.policy import FetchPolicy, Network
from crawl.records import CrawlEntry, FetchRow, Host, Image
from crawl.rounds import Crawl, CrawlConfig, Run, Tables, nothing_due, open_crawl, read_state, select_due
from crawl.stages import Manifest, current, current_manifest, read_manifest, recorded_time
from crawl.suppress import SUPPRESSED
from crawl.tables import FileEntry, read_column, read_matching, read_table

_OVER_QUOTA, _LAST_ROUND = "not_selected_quota", "not_selected_max_rounds"


def plan_crawl(out: str, seeds_file: str, config: CrawlConfig, network: Network, run: Run, *,
               recrawl: str = "") -> tuple[Plan, str]:
    """Returns what the next round of a crawl would fetch and why not what it knows besides, and its manifest's digest.

    The digest is "" while the crawl is not finished.
    """
    if recrawl and (until := nothing_due(out, seeds_file, config, recrawl)):
        before = current_manifest(out, "crawl")
        plan = _nothing("page", before, config.fetch, network)
        return dataclasses.replace(plan, notes=(f"nothing is due before {until}",)), before.digest
    crawl = open_crawl(out, seeds_file, config, network, run, recrawl=recrawl, looks_only=True)
    finished = read_manifest(out, crawl.stage.folder)
    if finished is not None:
        return _nothing("page", finished, config.fetch, network), finished.digest
    rounds = _finished_rounds(crawl)
    number = crawl.number(rounds)
    with tempfile.TemporaryDirectory(prefix="imagebert-dry-run-") as folder:
        tables = select_due(crawl, rounds, folder)
        lists, directory = _paths(folder, tables["fetch_list"]), crawl.directory(number)
        planner, done_keys = _planner("page", config.fetch, network, lists, directory, config.shards,
                                      crawl.known_hosts(rounds))
        is_last = len(rounds) >= config.max_rounds
        selected: set[str] = set()
        for row in _rows(lists, FetchRow):
            selected.add(row.url_key)
            if is_last:
                planner.count(_LAST_ROUND, row.url)
            elif row.url_key not in done_keys:
                planner.add(row)
        for entry in _rows(_paths(folder, tables["crawldb"]), CrawlEntry):
            if entry.status == DUE and entry.url_key not in selected:
                planner.count(_OVER_QUOTA, entry.url)
            elif entry.status != DUE and entry.last_round < 0:
                planner.count(entry.status, entry.url)
        notes = ["links are known after their pages: each round has a plan of its own"]
        return planner.plan("crawl", f"round {number} of at most {config.max_rounds}", notes), ""


def plan_images(out: str, config: ImagesConfig, network: Network, run: Run, *, retry_failed: bool = False,
                block_hashes: str = "") -> Plan:
    """Returns what the stage `images` would fetch for the current judge."""
    asked = next_images(out, config, retry_failed=retry_failed, block_hashes=block_hashes,
                        looks_only=True)
    finished = read_manifest(out, asked.stage.folder)
    if finished is not None:
        return _nothing("image", finished, config.fetch, network)
    with tempfile.TemporaryDirectory(prefix="imagebert-dry-run-") as folder:
        entries, carried = select_images(asked, run, folder)
        lists = _paths(folder, entries)
        planner, done_keys = _planner("image", config.fetch, network, lists, asked.stage.directory, config.shards,
                                      asked.hosts)
        for row in _rows(lists, FetchRow):
            if row.url_key not in done_keys:
                planner.add(row)
        for image in _rows(_paths(folder, carried), Image):
            planner.count(image.outcome if image.outcome in (BLOCKED, UNCHECKED, SUPPRESSED) else ANSWERED, image.url)
        return planner.plan("images", f"the URLs that {asked.judge.folder} asks for")


def plan_dataset(out: str, seeds_file: str, crawl: CrawlConfig, images: ImagesConfig, judge: Any, network: Network,
                 run: Run, block_hashes: str = "", recrawl: str = "") -> list[Plan]:
    """Returns the plans of both stages that fetch; which images are wanted is known once `judge` has run."""
    pages, digest = plan_crawl(out, seeds_file, crawl, network, run, recrawl=recrawl)
    folder = current(out).get("judge")
    judged = read_manifest(out, folder) if folder else None
    if digest and judged and judged.inputs.get("crawl") == digest and judged.config == as_dict(judge):
        return [pages, plan_images(out, images, network, run, block_hashes=block_hashes)]
    note = ("which images are wanted is known after `imagebert judge`, which asks nobody" if digest else
            "which images are wanted is known after the last round and `imagebert judge`")
    return [dataclasses.replace(pages, notes=(*pages.notes, note))]


def _nothing(kind: str, finished: Manifest, policy: FetchPolicy, network: Network) -> Plan:
    planner = Planner(kind, policy, network, {}, recorded_time())
    return planner.plan(finished.stage, f"finished in {finished.folder}: nothing would be fetched")


def _finished_rounds(crawl: Crawl) -> list[Tables]:
    rounds: list[Tables] = []
    while True:
        selected, fetched = (read_state(crawl, crawl.number(rounds), job) for job in ("selected", "fetched"))
        if selected is None or fetched is None:
            return rounds
        rounds.append(selected | fetched)


def _planner(kind: str, policy: FetchPolicy, network: Network, lists: list[str], directory: str, shards: int,
             hosts: Iterable[str]) -> tuple[Planner, set[str]]:
    """Returns a planner that knows the rules of the lists' sites, and the keys that committed parts answer."""
    sites = {key for path in lists for key in read_column(path, "politeness_key")}
    parts = [part for shard in range(shards) for part in committed(directory, shard)]
    files = [*hosts, *(storage.join(directory, part.hosts.name) for part in parts)]
    known = {host.authority: host for path in files for host in read_matching(
        path, Host, "authority", lambda authority: urls.politeness_key(authority) in sites)}
    done = {key for part in parts for key in read_column(storage.join(directory, part.log.name), "url_key")}
    return Planner(kind, policy, network, known, recorded_time()), done


def _paths(folder: str, entries: Iterable[FileEntry]) -> list[str]:
    return [storage.join(folder, entry.name) for entry in entries]


def _rows(paths: Iterable[str], record_type: type[Any]) -> Iterator[Any]:
    for path in paths:
        yield from read_table(path, record_type)
