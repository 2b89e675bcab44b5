"""Beam wiring of crawl/.  No rule lives here."""
from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl import progress, storage
from crawl.fetch_shard import fetch_shard, image_of
from crawl.frontier import (
    DUE,
    FrontierRules,
    Quota,
    calendar_template,
    fetch_row,
    first_arrival,
    image_row,
    telling_links,
    update,
)
from crawl.html import ParseLimits
from crawl.known_images import may_carry, only_answer
from crawl.parse import parse_page
from crawl.parts import Part, PartLimits
from crawl.policy import FetchPolicy, Network
from crawl.records import CrawlEntry, FetchLog, FetchRow, Host, Image, ImageLog, Link
from crawl.sitemaps import SitemapRules, links_of, named_by
from crawl.table_run import TableConfig, read_table_of
from crawl.tables import FileEntry, encode_table, from_row, read_matching, read_table, stable_hash
from crawl.urls import site, url_key
from crawl.warc import read_response

# Name of the table of FetchRows: one file a fetch shard.
FETCH_LIST = "fetch_list"


@dataclasses.dataclass
class ReadTable(beam.PTransform):
    """Names of committed files -> the records in them, one row group in memory at a time."""

    files: tuple[str, ...]
    record_type: type

    def expand(self, root: Any) -> Any:
        return (root | "Files" >> beam.Create(self.files)
                | "Spread" >> beam.Reshuffle()
                | "Rows" >> beam.FlatMap(read_table, self.record_type))


@dataclasses.dataclass
class ReadTables(beam.PTransform):
    """Name -> (names of committed files, record type), as ReadTable for several tables: name -> their records."""

    tables: dict[str, tuple[tuple[str, ...], type]]

    def expand(self, root: Any) -> Any:
        names = [(name, path) for name, (paths, _) in self.tables.items() for path in paths]
        found = (root | "Files" >> beam.Create(names) | "Spread" >> beam.Reshuffle()
                 | "Rows" >> beam.FlatMapTuple(self._read).with_outputs(*self.tables))
        return {name: found[name] for name in self.tables}

    def _read(self, name: str, path: str) -> Iterator[Any]:
        record_type: Any = self.tables[name][1]
        for row in read_table(path, record_type):
            yield beam.pvalue.TaggedOutput(name, row)


@dataclasses.dataclass
class WriteTable(beam.PTransform):
    """Records -> `buckets` committed files of a table, each sorted by key; output: a FileEntry a file.

    The bucket is a stable hash of the key; an empty bucket is a file without rows, so that the set of names is known
    beforehand.  Rows of equal keys are ordered by the rest of their fields.
    """

    directory: str
    name: str
    record_type: type
    key: str                       # field to hash and sort by
    buckets: int = 4
    only: tuple[str, Any] | None = None    # field and value: write the rows that have it, drop the others

    def expand(self, rows: Any) -> Any:
        if self.only is not None:
            field, value = self.only
            rows = rows | "Only these" >> beam.Filter(lambda row: getattr(row, field) == value)
        markers = rows.pipeline | f"Buckets of {self.name}" >> beam.Create([(n, None) for n in range(self.buckets)])
        keyed = rows | "Bucket" >> beam.Map(lambda row: (stable_hash(getattr(row, self.key)) % self.buckets, row))
        return ((keyed, markers) | "With empty ones" >> beam.Flatten()
                | "Gather" >> beam.GroupByKey()
                | "Write" >> beam.MapTuple(self._write))

    def _write(self, bucket: int, rows: Iterable[Any]) -> FileEntry:
        ordered = sorted((row for row in rows if row is not None),
                         key=lambda row: (getattr(row, self.key), dataclasses.astuple(row)))
        return write_bucket(self.directory, self.name, bucket, self.buckets, self.record_type, ordered)


def given(rows: list[Any]) -> Any:
    """Returns the transform that makes a collection of a few rows at hand."""
    return beam.Create(rows)


def merged(*collections: Any) -> Any:
    """Returns one collection of the elements of several."""
    return collections | beam.Flatten()


def bucket_name(name: str, bucket: int, buckets: int) -> str:
    """Returns the file name of one bucket of a table, without its suffix."""
    return f"{name}-{bucket:05d}-of-{buckets:05d}"


def write_bucket(directory: str, name: str, bucket: int, buckets: int, record_type: type,
                 rows: Iterable[Any]) -> FileEntry:
    """Commits one bucket and, after it, its entry as JSON beside it: what `entries_of` reads."""
    stem = bucket_name(name, bucket, buckets)
    data, counted = encode_table(record_type, rows)
    storage.commit_bytes(storage.join(directory, stem + ".parquet"), data)
    entry = FileEntry(name=stem + ".parquet", bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), **counted)
    storage.commit_bytes(storage.join(directory, stem + ".json"),
                         json.dumps(dataclasses.asdict(entry), sort_keys=True).encode())
    return entry


def entries_of(directory: str, name: str, buckets: int) -> Iterator[FileEntry]:
    """Yields the entries of a table's buckets by their numbered names; raises FileNotFoundError for a missing one."""
    for bucket in range(buckets):
        value = json.loads(storage.read_bytes(storage.join(directory, bucket_name(name, bucket, buckets) + ".json")))
        yield from_row(FileEntry, value | {"outcomes": [tuple(pair) for pair in value["outcomes"]]})


@dataclasses.dataclass
class FetchShards(beam.PTransform):
    """Shard numbers -> the committed parts of each shard's fetch list; what is committed is not fetched again.

    The lists are `LIST-00000-of-N.parquet`, sorted by order_key, in `lists`; parts go below `directory`.
    """

    lists: str
    directory: str                 # where the parts go
    out: str
    shards: int
    policy: FetchPolicy
    network: Network
    round_number: int
    kind: str                      # page or image
    limits: PartLimits
    known_hosts: tuple[str, ...] = ()

    def expand(self, root: Any) -> Any:
        return (root | f"Shards of {self.kind}s" >> beam.Create(range(self.shards))
                | "One worker a shard" >> beam.Reshuffle()
                | "Fetch" >> beam.FlatMap(self._fetch)
                # Without a shuffle here the next steps would run inside the fetch loop and stop its clock.
                | "Parts" >> beam.Reshuffle())

    def _fetch(self, shard: int) -> Iterator[Part]:
        path = storage.join(self.lists, bucket_name(FETCH_LIST, shard, self.shards) + ".parquet")
        yield from fetch_shard(path, self.directory, self.out, self.policy, self.network, self.round_number, self.kind,
                               known_hosts=self.known_hosts, limits=self.limits,
                               progress=functools.partial(progress.report, f"{self.kind}s fetched"))


@dataclasses.dataclass
class ReadCaptionTables(beam.PTransform):
    """Root -> the numbers of caption tables, each read into committed files by one worker."""

    directory: str
    config: TableConfig
    tables: tuple[tuple[int, str, str], ...]      # number, path, sha256

    def expand(self, root: Any) -> Any:
        return (root | "Tables" >> beam.Create(self.tables)
                | "One worker a table" >> beam.Reshuffle()
                | "Read table" >> beam.MapTuple(self._read))

    def _read(self, number: int, path: str, sha256: str) -> int:
        read_table_of(self.directory, number, path, sha256, self.config)
        return number


@dataclasses.dataclass
class ParseParts(beam.PTransform):
    """Parts of pages -> (pages, links, candidates); bodies are read by address and stay in the step.

    A sitemap gives links only.
    """

    out: str
    directory: str
    policy: FetchPolicy
    limits: ParseLimits
    sitemaps: SitemapRules

    def expand(self, parts: Any) -> Any:
        found = parts | "Parse" >> beam.FlatMap(self._parse).with_outputs("links", "candidates", main="pages")
        return found["pages"], found["links"], found["candidates"]

    def _parse(self, part: Part) -> Iterator[Any]:
        for log in read_table(storage.join(self.directory, part.log.name), FetchLog):
            if log.outcome != "ok":
                continue
            answer = read_response(storage.join(self.out, log.part), log.offset, log.length,
                                   self.policy.page_decoded_bytes)
            if log.kind == "sitemap":
                for link in links_of(log, answer.body, self.sitemaps):
                    yield beam.pvalue.TaggedOutput("links", link)
                continue
            found = parse_page(log, answer.body, self.policy.tokens, self.limits)
            yield found.page
            for link in found.links:
                yield beam.pvalue.TaggedOutput("links", link)
            for candidate in found.candidates:
                yield beam.pvalue.TaggedOutput("candidates", candidate)


@dataclasses.dataclass
class NamedSitemaps(beam.PTransform):
    """Names of `hosts` files -> links to the sitemaps that robots.txt names; the bodies beside them are not kept."""

    files: tuple[str, ...]
    rules: SitemapRules

    def expand(self, root: Any) -> Any:
        return root | "Hosts files" >> beam.Create(self.files) | "Sitemaps" >> beam.FlatMap(self._read)

    def _read(self, path: str) -> Iterator[Link]:
        for host in read_matching(path, Host, "sitemaps", bool):
            yield from named_by([(host.authority, host.sitemaps)], self.rules)


@dataclasses.dataclass
class UpdateCrawl(beam.PTransform):
    """(crawldb, fetch list, fetch log, links) of a round -> crawldb of the next."""

    rules: FrontierRules
    sites: frozenset[str]
    round_number: int

    def expand(self, tables: tuple[Any, Any, Any, Any]) -> Any:
        entries, asked, logs, links = tables
        arrivals = (logs | "Redirected" >> beam.Filter(_is_redirected)
                    | "Arrivals" >> beam.Map(lambda log: (url_key(log.final_url), (log,)))
                    | "First arrival" >> beam.CombinePerKey(first_arrival))
        telling = (links | "To targets" >> beam.Map(lambda link: (link.dst_key, (link,)))
                   | "Telling links" >> beam.CombinePerKey(telling_links))
        return ({"entries": entries | "Entry key" >> beam.Map(_by_url_key),
                 "asked": asked | "List key" >> beam.Map(_by_url_key),
                 "logs": logs | "Log key" >> beam.Map(_by_url_key), "links": telling, "arrivals": arrivals}
                | "Meet" >> beam.CoGroupByKey()
                | "Update" >> beam.MapTuple(self._update))

    def _update(self, key: str, found: dict[str, Any]) -> CrawlEntry:
        entry = next(iter(found["entries"]), None)
        links = [link for group in found["links"] for link in group]
        arrivals = [log for group in found["arrivals"] for log in group]
        return update(entry, list(found["asked"]), list(found["logs"]), links, arrivals, self.rules, self.sites,
                      self.round_number)


def _by_url_key(row: Any) -> tuple[str, Any]:
    return row.url_key, row


def _is_redirected(log: FetchLog) -> bool:
    return log.outcome == "ok" and log.final_url not in ("", log.url)


@dataclasses.dataclass
class SelectDue(beam.PTransform):
    """crawldb -> rows of the fetch list, within the quotas of calendars and sites."""

    rules: FrontierRules
    shards: int

    def expand(self, entries: Any) -> Any:
        rules = self.rules
        known = entries | "Due or fetched" >> beam.FlatMap(_by_site_and_template).with_outputs("dated", main="plain")
        of_calendars = (known["dated"]
                        | "Calendar quota" >> beam.CombinePerKey(
                            _QuotaFn(rules.max_calendar_pages, rules.max_calendar_pages, rules))
                        | "Of calendars" >> beam.FlatMapTuple(lambda template, chosen: [
                            (site(entry.url), entry) for entry in chosen]))
        return ((known["plain"], of_calendars) | "All due" >> beam.Flatten()
                | "Site quota" >> beam.CombinePerKey(
                    _QuotaFn(rules.max_pages_per_site_round, rules.max_pages_per_site, rules))
                | "Rows" >> beam.FlatMapTuple(lambda name, chosen: [
                    fetch_row(entry, self.shards, rules) for entry in chosen]))


def _by_site_and_template(entry: CrawlEntry) -> Iterator[Any]:
    """Yields what counts for the quotas: a due page of a calendar passes the calendar's quota first."""
    if entry.status != DUE and entry.last_round < 0:
        return
    template = calendar_template(entry.url)
    if template is not None:
        yield beam.pvalue.TaggedOutput("dated", (template, entry))
    if template is None or entry.status != DUE:
        yield site(entry.url), entry


class _QuotaFn(beam.CombineFn):
    """frontier.Quota as a combiner: bounded accumulators."""

    def __init__(self, per_round: int, overall: int, rules: FrontierRules) -> None:
        self._per_round = per_round
        self._overall = overall
        self._rules = rules

    def create_accumulator(self) -> Quota:
        return Quota(self._per_round, self._overall)

    def add_input(self, quota: Quota, entry: CrawlEntry) -> Quota:
        quota.add([entry], self._rules)
        return quota

    def merge_accumulators(self, quotas: Iterable[Quota]) -> Quota:
        merged = self.create_accumulator()
        for quota in quotas:
            merged.merge(quota)
        return merged

    def extract_output(self, quota: Quota) -> list[CrawlEntry]:
        return quota.selected()


@dataclasses.dataclass
class WriteFetchLists(beam.PTransform):
    """FetchRows -> one committed list a shard, sorted by order_key, empty ones too; output: a FileEntry a list."""

    directory: str
    shards: int

    def expand(self, rows: Any) -> Any:
        markers = rows.pipeline | "Lists" >> beam.Create([(shard, None) for shard in range(self.shards)])
        keyed = rows | "By shard" >> beam.Map(lambda row: (row.shard, row))
        return ((keyed, markers) | "With empty lists" >> beam.Flatten()
                | "Gather lists" >> beam.GroupByKey()
                | "Write lists" >> beam.MapTuple(self._write))

    def _write(self, shard: int, rows: Iterable[Any]) -> FileEntry:
        ordered = sorted((row for row in rows if row is not None), key=lambda row: (row.order_key, row.url_key))
        return write_bucket(self.directory, FETCH_LIST, shard, self.shards, FetchRow, ordered)


@dataclasses.dataclass
class SplitKnown(beam.PTransform):
    """(wanted, answered before) -> (rows of the fetch list, rows that need no fetch).

    Wanted are ImageFetch rows, answered are Image rows of an earlier stage.
    """

    shards: int
    rules: FrontierRules

    def expand(self, tables: tuple[Any, Any]) -> Any:
        wanted, answered = tables
        split = ({"wanted": wanted | "Wanted key" >> beam.Map(_by_url_key),
                  "answered": answered | "Answered key" >> beam.Map(_by_url_key)}
                 | "Meet images" >> beam.CoGroupByKey()
                 | "Split" >> beam.FlatMapTuple(self._split).with_outputs("carried", main="list"))
        return split["list"], split["carried"]

    def _split(self, key: str, found: dict[str, Any]) -> Iterator[Any]:
        asked = next(iter(found["wanted"]), None)
        if asked is None:
            return
        known = next(iter(found["answered"]), None)
        if known is not None and may_carry(known):
            yield beam.pvalue.TaggedOutput("carried", known)
        else:
            yield image_row(asked, self.shards, self.rules)


@dataclasses.dataclass
class ReadAnswers(beam.PTransform):
    """Parts of images -> Image rows, one for each log row."""

    directory: str

    def expand(self, parts: Any) -> Any:
        return parts | "Answers" >> beam.FlatMap(self._read)

    def _read(self, part: Part) -> Iterator[Image]:
        for log in read_table(storage.join(self.directory, part.log.name), ImageLog):
            yield image_of(log)


@dataclasses.dataclass
class AnswerAll(beam.PTransform):
    """(wanted, images) -> images; raises where a wanted URL has not exactly one row, or a row nobody wanted it."""

    def expand(self, tables: tuple[Any, Any]) -> Any:
        wanted, images = tables
        return ({"wanted": wanted | "Asked key" >> beam.Map(_by_url_key),
                 "images": images | "Image key" >> beam.Map(_by_url_key)}
                | "Meet answers" >> beam.CoGroupByKey()
                | "One for one" >> beam.MapTuple(lambda key, found: only_answer(
                    key, list(found["wanted"]), list(found["images"]))))
