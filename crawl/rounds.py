"""The stage `crawl`: rounds of select, fetch and parse until nothing is due; sitemaps are rows of a round like pages.

    OUT/crawl/9b1f…/round-00/crawldb-*.parquet      what the crawl knew when the round began
                             fetch_list-*.parquet   one sorted list a fetch shard
                             traps-*.parquet        where sites have no end: the largest groups (crawl/traps.py)
                             selected.json          the first job of the round is done: its files
                             shard-0000/part-*      WARC parts, fetch log, robots answers (crawl/parts.py)
                             pages-* links-* candidates-* sitemap_images-*
                             schedule-*.parquet     how many URLs are due again on which day (crawl/schedule.py)
                             fetched.json           the second job is done: its files
                    round-05/candidates-*           after the last round: what sitemaps gave to the pages

A killed crawl goes on at the job it was in, and a fetch job inside its parts.  The driver reads names and counts only.
A recrawl (crawl/recrawl.py) is the same with another beginning: what the crawl before knew, when it is due again.
"""
from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from crawl import run_log, storage, urls
from crawl.block_list import BlockFile
from crawl.config import as_dict, digest
from crawl.errors import UsageError
from crawl.frontier import DUE, REACHED, FrontierRules, seed_entry
from crawl.html import ParseLimits
from crawl.parts import PartLimits, committed
from crawl.policy import FetchPolicy, Network, require_contact
from crawl.records import STORED, Candidate, CrawlEntry, DueDay, FetchLog, FetchRow, Link, Page, SitemapImage, Trap
from crawl.recrawl import ASKS, BEFORE, MOMENT, WHAT_IS_DUE, begun
from crawl.round_funnel import deferred, funnels, rows_of, standing_note
from crawl.schedule import idle_until
from crawl.seeds import read_seeds, way_out
from crawl.sitemaps import SitemapRules
from crawl.stages import Manifest, Stage, current_manifest
from crawl.suppress import suppression
from crawl.tables import FileEntry, from_row, read_table

# 2: links know the kind of their target; 3: srcset and URLs as browsers read them; 4: requests are stored too;
# 5: backgrounds, input, object and itemprop as sources of images; 6: ai.txt, licences and other agents are signals;
# 7: links without identifiers of a visit; 8: images of sitemaps are candidates; 9: code pages by letters;
# 10: fingerprints of pages, URLs beyond the limit of a trap are closed; 11: lazy posters, objects, backgrounds;
# 12: metadata records, validators; 13: a name that does not exist is not asked for again;
# 14: the captures of robots.txt and its like are stored, and rows name the file that decided;
# 15: crawldb knows when a URL is due again; 16: hosts know their address, lists are grouped by it
FORMAT = 16
Run = Callable[[str, Callable[[Any], None]], None]
Tables = dict[str, tuple[FileEntry, ...]]

_MAX_SEED_NOTES = 20
_MAX_TRAP_NOTES = 8
_REACHED_SEED = STORED | {REACHED}


@dataclasses.dataclass(frozen=True, slots=True)
class CrawlConfig:
    """What a crawl of pages is: part of its folder's name."""

    fetch: FetchPolicy = dataclasses.field(default_factory=FetchPolicy)
    frontier: FrontierRules = dataclasses.field(default_factory=FrontierRules)
    parse: ParseLimits = dataclasses.field(default_factory=ParseLimits)
    sitemaps: SitemapRules = dataclasses.field(default_factory=SitemapRules)
    parts: PartLimits = dataclasses.field(default_factory=PartLimits)
    max_rounds: int = 20
    shards: int = 1                # fetch shards: hosts of one interleave; as many as workers fetch side by side
    buckets: int = 4               # files of each table

    def __post_init__(self) -> None:
        for name in ("max_rounds", "shards", "buckets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


@dataclasses.dataclass(frozen=True, slots=True)
class Crawl:
    """A crawl under way: where it writes and what it obeys."""

    stage: Stage
    config: CrawlConfig
    network: Network
    seeds: tuple[str, ...]
    run: Run
    before: Manifest | None = None         # the crawl that a recrawl goes on from
    moment: str = ""                       # when that began
    asks: str = ""                         # what it asks for: due, or all

    def number(self, rounds: list[Tables]) -> int:
        """Returns the number of the round after those: numbers go on from crawl to crawl, so record ids differ."""
        extra = self.before.extra if self.before else {"rounds": 0}
        return len(rounds) + int(extra.get("next_round", extra["rounds"]))

    def name(self, round_number: int) -> str:
        """Returns the folder of a round, relative to the stage folder."""
        return f"round-{round_number:02d}"

    def directory(self, round_number: int) -> str:
        """Returns the folder of a round with the root."""
        return storage.join(self.stage.directory, self.name(round_number))

    def paths(self, entries: Iterable[FileEntry]) -> tuple[str, ...]:
        """Returns the full names of files that are relative to the stage folder."""
        return tuple(storage.join(self.stage.directory, entry.name) for entry in entries)

    def known_hosts(self, rounds: list[Tables]) -> tuple[str, ...]:
        """Returns the tables `hosts` of the crawl before and of the rounds so far."""
        return (self.before.paths("hosts") if self.before else ()) + tuple(
            path for tables in rounds for path in self.paths(tables["hosts"]))


def crawl_pages(out: str, seeds_file: str, config: CrawlConfig, network: Network, run: Run, *,
                recrawl: str = "") -> Manifest:
    """Returns the manifest of the tables pages, candidates, links, fetch_log, fetch_list, hosts, crawldb, seeds, traps.

    Args:
        recrawl: go on from the current crawl of `out`, which is no end, and ask for what has changed: of what is `due`
            by its schedule, or of `all`.  Where nothing is due, the current crawl is what is returned.

    Raises UsageError for a bad seeds file, when no seed at all can be fetched, and when there is no crawl to recrawl.
    """
    if recrawl and (until := nothing_due(out, seeds_file, config, recrawl)):
        before = current_manifest(out, "crawl")
        run_log.event("nothing_due", folder=before.folder, until=until)
        print(f"crawl: nothing of {before.folder} is due before {until}; --recrawl all asks for everything now",
              file=sys.stderr)
        return before
    crawl = open_crawl(out, seeds_file, config, network, run, recrawl=recrawl)
    finished = crawl.stage.finished()
    if finished is not None:
        return finished
    rounds: list[Tables] = []
    while True:
        selected = _select(crawl, rounds)
        if not rows_of(selected["fetch_list"]) or len(rounds) >= config.max_rounds:
            break
        rounds.append(selected | _fetch_and_parse(crawl, rounds, selected))
    return _commit(crawl, rounds, selected)


def open_crawl(out: str, seeds_file: str, config: CrawlConfig, network: Network, run: Run, *,
               recrawl: str = "", looks_only: bool = False) -> Crawl:
    """Returns the crawl of these seeds, new, half done or finished; with `looks_only` nothing is written."""
    seeds = read_seeds(seeds_file)
    require_contact(config.fetch, network, seeds)
    inputs, before, moment = {"seeds": digest(list(seeds))}, None, ""
    if recrawl:
        before, moment = begun(out, recrawl)
        inputs |= {BEFORE: before.digest, MOMENT: moment, ASKS: recrawl}
    stage = Stage.open(out, "crawl", FORMAT, config, inputs, fetches=True, looks_only=looks_only)
    return Crawl(stage, config, network, seeds, run, before, moment, recrawl)


def nothing_due(out: str, seeds_file: str, config: CrawlConfig, recrawl: str) -> str:
    """Returns the time before which a recrawl has nothing to ask for, "" where it has, or may have.

    With other seeds or settings than the crawl before it may.
    """
    before, moment = begun(out, recrawl)
    is_same = before.inputs.get("seeds") == digest(list(read_seeds(seeds_file))) and before.config == as_dict(config)
    if recrawl != WHAT_IS_DUE or not is_same or "schedule" not in before.tables:
        return ""
    return idle_until((day for path in before.paths("schedule") for day in read_table(path, DueDay)), moment)


def _select(crawl: Crawl, rounds: list[Tables]) -> Tables:
    """Returns crawldb and the fetch lists at the beginning of the next round: the first job of a round."""
    number = crawl.number(rounds)
    done = read_state(crawl, number, "selected")
    return done or _write_state(crawl, number, "selected", select_due(crawl, rounds, crawl.directory(number)))


def select_due(crawl: Crawl, rounds: list[Tables], directory: str) -> Tables:
    """Returns crawldb and the fetch lists of the next round, written below `directory` and named relative to it."""
    number, earlier = crawl.number(rounds), crawl.before
    from crawl.fetch_transforms import WriteFetchLists
    from crawl.frontier_transforms import DueDays, HoldBack, PageContents, SelectDue, UpdateCrawl
    from crawl.recrawl_transforms import DueAgain, OrphansDue, WithEarlier
    from crawl.sitemap_transforms import NamedSitemaps
    from crawl.transforms import ReadTable, ReadTables, WriteTable, entries_of, given, merged
    from crawl.trap_transforms import CloseTraps, LargestTraps
    config = crawl.config
    sites = frozenset(urls.site(url) for url in crawl.seeds)

    def build(root: Any) -> None:
        if rounds:
            before = root | "Read round" >> ReadTables({
                name: (crawl.paths(rounds[-1][name]), record_type) for name, record_type in (
                    ("crawldb", CrawlEntry), ("fetch_list", FetchRow), ("fetch_log", FetchLog), ("links", Link))})
            before["links"] = merged(before["links"], root | "Read sitemaps" >> NamedSitemaps(
                crawl.paths(rounds[-1]["hosts"]), config.sitemaps))
            contents = root | "Read contents" >> PageContents(crawl.paths(rounds[-1]["pages"]))
            entries = (*before.values(), contents) | "Update crawl" >> UpdateCrawl(config.frontier, sites, number - 1)
            if earlier:
                entries = entries | "Orphans" >> OrphansDue(crawl.number([]), config.frontier, sites)
        elif earlier:
            known = root | "Known" >> ReadTable(earlier.paths("crawldb"), CrawlEntry)
            entries = (known, root | "Seeds" >> given(list(crawl.seeds))) | DueAgain(
                config.frontier, sites, crawl.moment if crawl.asks == WHAT_IS_DUE else "")
        else:
            entries = root | "Seeds" >> given([seed_entry(url) for url in crawl.seeds])
        entries = entries | "Hold back" >> HoldBack(suppression(crawl.stage.out)) | "Close traps" >> CloseTraps(
            config.frontier)
        (entries | "Largest traps" >> LargestTraps()
         | "Write traps" >> WriteTable(directory, "traps", Trap, "group", 1))
        (entries | "Schedule" >> DueDays()
         | "Write schedule" >> WriteTable(directory, "schedule", DueDay, "day", 1))
        entries | "Write crawldb" >> WriteTable(directory, "crawldb", CrawlEntry, "url_key", config.buckets)
        entries | "Write seeds" >> WriteTable(directory, "seeds", CrawlEntry, "url_key", 1, only=("depth", 0))
        selected = entries | "Select due" >> SelectDue(config.frontier, config.shards)
        if earlier:
            logs = root | "Earlier logs" >> ReadTable(earlier.paths("fetch_log"), FetchLog)
            selected = (selected, entries, logs) | "Hold earlier" >> WithEarlier(config.shards, config.frontier)
        selected | "Write fetch lists" >> WriteFetchLists(directory, config.shards, crawl.known_hosts(rounds))

    crawl.run(f"crawl: select round {number}", build)
    buckets = {"crawldb": config.buckets, "seeds": 1, "traps": 1, "schedule": 1, "fetch_list": config.shards}
    return {name: tuple(entries_of(directory, name, count)) for name, count in buckets.items()}


def _fetch_and_parse(crawl: Crawl, rounds: list[Tables], selected: Tables) -> Tables:
    """Returns the fetch log, pages, links and candidates of a round: its second job."""
    number = crawl.number(rounds)
    done = read_state(crawl, number, "fetched")
    if done is not None:
        return done
    from crawl.fetch_transforms import FetchShards, ParseParts
    from crawl.transforms import WriteTable, entries_of, given
    directory, config = crawl.directory(number), crawl.config
    def build(root: Any) -> None:
        shards = root | "Shards" >> given(list(range(config.shards)))
        parts = shards | "Fetch pages" >> FetchShards(
            directory, directory, crawl.stage.out, config.shards, config.fetch, crawl.network, number, "page",
            config.parts, crawl.known_hosts(rounds), BlockFile(suppressed=suppression(crawl.stage.out)))
        pages, links, candidates, images = parts | "Parse pages" >> ParseParts(
            crawl.stage.out, directory, config.fetch, config.parse, config.sitemaps)
        pages | "Write pages" >> WriteTable(directory, "pages", Page, "url_key", config.buckets)
        links | "Write links" >> WriteTable(directory, "links", Link, "dst_key", config.buckets)
        candidates | "Write candidates" >> WriteTable(directory, "candidates", Candidate, "occurrence", config.buckets)
        images | "Write sitemap images" >> WriteTable(directory, "sitemap_images", SitemapImage, "page_key",
                                                      config.buckets)

    crawl.run(f"crawl: fetch round {number}, {rows_of(selected['fetch_list'])} pages", build)
    parts = [part for shard in range(config.shards) for part in committed(directory, shard)]
    tables = {name: tuple(entries_of(directory, name, config.buckets))
              for name in ("pages", "links", "candidates", "sitemap_images")}
    tables |= {"fetch_log": tuple(part.log for part in parts), "hosts": tuple(part.hosts for part in parts),
               "warc": tuple(part.bytes for part in parts),
               "robots": tuple(entry for part in parts for entry in part.robots)}
    if rows_of(tables["fetch_log"]) != rows_of(selected["fetch_list"]):
        raise AssertionError(f"round {number}: {rows_of(selected['fetch_list'])} rows in the fetch lists, "
                             f"{rows_of(tables['fetch_log'])} in the logs")
    return _write_state(crawl, number, "fetched", tables)


def _name_images(crawl: Crawl, rounds: list[Tables]) -> Tables:
    """Returns the candidates that sitemaps give to the pages of all rounds, in no job where there are none."""
    if not any(rows_of(tables["sitemap_images"]) for tables in rounds):
        return {"candidates": ()}
    number = crawl.number(rounds)
    done = read_state(crawl, number, "named")
    if done is not None:
        return done
    from crawl.sitemap_transforms import SitemapCandidates
    from crawl.transforms import ReadTables, WriteTable, entries_of
    directory, buckets = crawl.directory(number), crawl.config.buckets
    types: dict[str, type] = {"sitemap_images": SitemapImage, "pages": Page, "fetch_log": FetchLog}

    def build(root: Any) -> None:
        read = root | "Read rounds" >> ReadTables({
            name: (tuple(path for tables in rounds for path in crawl.paths(tables[name])), record_type)
            for name, record_type in types.items()})
        (tuple(read.values()) | "Images of sitemaps" >> SitemapCandidates(crawl.config.sitemaps)
         | "Write candidates" >> WriteTable(directory, "candidates", Candidate, "occurrence", buckets))

    crawl.run("crawl: images of sitemaps", build)
    return _write_state(crawl, number, "named", {"candidates": tuple(entries_of(directory, "candidates", buckets))})


def _commit(crawl: Crawl, rounds: list[Tables], last: Tables) -> Manifest:
    """Finishes the stage; gives it up with a UsageError when no seed was reached."""
    notes = [*_seed_notes(crawl, last), *_trap_notes(crawl, last)]
    left = rows_of(last["fetch_list"])
    if left:
        notes.append(f"{left} pages and more are left due after {len(rounds)} rounds (max_rounds)")
    tables: Tables = {name: tuple(entry for round_tables in rounds for entry in round_tables[name])
                      for name in ("pages", "candidates", "links", "fetch_log", "hosts", "warc", "robots",
                                   "fetch_list", "sitemap_images")}
    from_sitemaps = _name_images(crawl, rounds)["candidates"]
    tables |= {name: last[name] for name in ("crawldb", "seeds", "traps", "schedule")}
    tables["candidates"] += from_sitemaps
    if put_off := deferred(tables):
        notes.append(f"{put_off} fetches were put off (outcomes deferred_*), to be tried again in a later round")
    if crawl.before and (standing := standing_note(tables, crawl.before.folder)):
        notes.append(standing)
    return crawl.stage.commit(tables, funnels(tables, rows_of(from_sitemaps), crawl.before is not None), notes=notes,
                              extra={"rounds": len(rounds), "next_round": crawl.number(rounds), "left_due": left})


def _seed_notes(crawl: Crawl, last: Tables) -> Iterator[str]:
    """Yields a line for each seed that was not reached; raises UsageError when none was."""
    statuses = {entry.url: entry.status
                for path in crawl.paths(last["seeds"]) for entry in read_table(path, CrawlEntry)}
    missed = [url for url in crawl.seeds if statuses[url] not in _REACHED_SEED]
    if len(missed) == len(crawl.seeds):
        url, outcome = missed[0], statuses[missed[0]]
        crawl.stage.give_up()
        raise UsageError(f"none of the {len(crawl.seeds)} seeds could be fetched; the first, {url}, ended as "
                         f"{_said(outcome)}: {way_out(url, outcome)}")
    for url in missed[:_MAX_SEED_NOTES]:
        yield (f"seed {url} was not fetched: {_said(statuses[url])}; {way_out(url, statuses[url])}, "
               f"then remove {crawl.stage.folder} below the output folder and run again")
    if len(missed) > _MAX_SEED_NOTES:
        yield f"{len(missed) - _MAX_SEED_NOTES} more seeds were not fetched; the table `seeds` has their outcomes"


def _trap_notes(crawl: Crawl, last: Tables) -> Iterator[str]:
    """Yields a line for each of the largest groups of URLs that a rule closed."""
    found = sorted((trap for path in crawl.paths(last["traps"]) for trap in read_table(path, Trap)),
                   key=lambda trap: (-trap.urls, trap.status, trap.group))
    for trap in found[:_MAX_TRAP_NOTES]:
        yield f"{trap.status}: {trap.urls} URLs of {trap.group} were not asked for, such as {trap.examples[0]}"
    if len(found) > _MAX_TRAP_NOTES:
        yield f"the table `traps` has {len(found) - _MAX_TRAP_NOTES} more groups of URLs that were not asked for"


def _said(status: str) -> str:
    return "a passing fault, still due after the last round" if status == DUE else status


def _write_state(crawl: Crawl, number: int, job: str, tables: Tables) -> Tables:
    """Commits the files of a finished job, named relative to the stage folder."""
    named = {name: tuple(dataclasses.replace(entry, name=storage.join(crawl.name(number), entry.name))
                         for entry in entries) for name, entries in tables.items()}
    value = {name: [dataclasses.asdict(entry) for entry in entries] for name, entries in named.items()}
    storage.commit_bytes(storage.join(crawl.directory(number), f"{job}.json"),
                         (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())
    return named


def read_state(crawl: Crawl, number: int, job: str) -> Tables | None:
    """Returns the tables of a job (`selected`, `fetched`) of a round, None while it is not finished."""
    path = storage.join(crawl.directory(number), f"{job}.json")
    if not storage.exists(path):
        return None
    value = json.loads(storage.read_bytes(path))
    return {name: tuple(from_row(FileEntry, entry | {"outcomes": [tuple(pair) for pair in entry["outcomes"]]})
                        for entry in entries) for name, entries in value.items()}
