"""Beam wiring of fetching and parsing: fetch lists, shards, parts, what is already known.  No rule lives here."""
from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl import progress, storage
from crawl.address_groups import addresses_of, as_mapping, with_shard
from crawl.archive_inputs import Archive
from crawl.archive_run import ArchiveConfig, read_archive_of
from crawl.block_list import BlockFile, BlockList
from crawl.fetch_shard import fetch_shard, image_of
from crawl.frontier import FrontierRules, image_row
from crawl.html import ParseLimits
from crawl.known_images import carried_as, may_carry, one_for_one, suppressed_answer
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import links_of_refused
from crawl.parts import Part, PartLimits, remove_leftovers, shard_name
from crawl.policy import FetchPolicy, Network
from crawl.records import STORED, FetchLog, FetchRow, Image, ImageLog, ServerAddress
from crawl.sitemaps import Named, SitemapRules
from crawl.stages import record_as, recorded_epoch
from crawl.suppress import Suppression
from crawl.table_run import TableConfig, read_table_of
from crawl.tables import FileEntry, read_matching, read_plain, read_table, stable_hash
from crawl.transforms import ReadTable, WriteTable, bucket_name, by_url_key, write_bucket
from crawl.warc import read_response

# Name of the table of FetchRows: one file a fetch shard.
FETCH_LIST = "fetch_list"
ADDRESSES = "addresses"            # of ServerAddresses, where there are several shards


@dataclasses.dataclass
class WriteFetchLists(beam.PTransform):
    """FetchRows -> one committed list a shard, sorted by order_key, empty ones too; output: the shards' numbers.

    Servers that were met before are put with those of their address; the table `addresses` says which.
    """

    directory: str
    shards: int
    hosts: tuple[str, ...] = ()    # tables of what was met before

    def expand(self, rows: Any) -> Any:
        if self.shards > 1:
            rows = self._grouped(rows)
        return self._written(rows)

    def _grouped(self, rows: Any) -> Any:
        table = storage.join(self.directory, bucket_name(ADDRESSES, 0, 1) + ".parquet")
        if storage.exists(table):          # of a run that was stopped: since then more may have been met
            known = (rows.pipeline | "Addresses of before" >> ReadTable((table,), ServerAddress)
                     | "As pairs" >> beam.Map(lambda row: (row.politeness_key, row.address)))
            return rows | "By address" >> beam.Map(
                lambda row, addresses: with_shard(row, self.shards, addresses), beam.pvalue.AsDict(known))
        known = (rows.pipeline | "Hosts files" >> beam.Create(self.hosts, reshuffle=False)
                 | "Addresses" >> beam.FlatMap(lambda path: addresses_of(read_plain(path, ("authority", "address"))))
                 | "Smallest" >> beam.CombinePerKey(min))
        written = (known | "Address rows" >> beam.MapTuple(ServerAddress)
                   | "Write addresses" >> WriteTable(self.directory, ADDRESSES, ServerAddress, "politeness_key", 1))
        # A list is fetched as soon as it is written, so the table has to be there before any row is in its shard.
        return rows | "By address" >> beam.Map(
            lambda row, addresses, table: with_shard(row, self.shards, addresses),
            beam.pvalue.AsDict(known), beam.pvalue.AsList(written))

    def _written(self, rows: Any) -> Any:
        markers = rows.pipeline | "Lists" >> beam.Create([(shard, None) for shard in range(self.shards)])
        keyed = rows | "By shard" >> beam.Map(lambda row: (row.shard, row))
        return ((keyed, markers) | "With empty lists" >> beam.Flatten()
                | "Gather lists" >> beam.GroupByKey()
                | "Write lists" >> beam.MapTuple(self._write))

    def _write(self, shard: int, rows: Iterable[Any]) -> int:
        ordered = sorted((row for row in rows if row is not None), key=lambda row: (row.order_key, row.url_key))
        write_bucket(self.directory, FETCH_LIST, shard, self.shards, FetchRow, ordered)
        return shard


@dataclasses.dataclass
class FetchShards(beam.PTransform):
    """Numbers of shards whose lists are written -> their committed parts; what is committed is not fetched again.

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
    blocked: BlockFile = dataclasses.field(default_factory=BlockFile)   # images whose bytes are not stored
    epoch: str = dataclasses.field(default_factory=recorded_epoch)      # of the driver, when the job is built

    def expand(self, lists: Any) -> Any:
        return (lists | "One worker a shard" >> beam.Reshuffle()
                | "Fetch" >> beam.FlatMap(self._fetch)
                # Without a shuffle here the next steps would run inside the fetch loop and stop its clock.
                | "Parts" >> beam.Reshuffle())

    def _fetch(self, shard: int) -> Iterator[Part]:
        record_as(self.epoch)
        path = storage.join(self.lists, bucket_name(FETCH_LIST, shard, self.shards) + ".parquet")
        grouped = storage.join(self.lists, bucket_name(ADDRESSES, 0, 1) + ".parquet")
        yield from fetch_shard(path, self.directory, self.out, self.policy, self.network, self.round_number, self.kind,
                               known_hosts=self.known_hosts, limits=self.limits, blocked=self.blocked,
                               shards=self.shards,
                               addresses=as_mapping(read_table(grouped, ServerAddress)) if self.shards > 1 else {},
                               progress=functools.partial(progress.report, f"{self.kind}s fetched", shard))
        # Also where the list is empty: other shards take a lease here, and may be killed as they do.
        remove_leftovers(storage.join(self.directory, shard_name(shard)))


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
class ReadArchives(beam.PTransform):
    """Root -> the numbers of archives, each read into committed files by one worker."""

    directory: str
    known: str                     # folder of an earlier stage, which may have read some of them; "" without one
    config: ArchiveConfig
    archives: tuple[Archive, ...]

    def expand(self, root: Any) -> Any:
        return (root | "Archives" >> beam.Create(self.archives)
                | "One worker an archive" >> beam.Reshuffle()
                | "Read archive" >> beam.Map(self._read))

    def _read(self, archive: Archive) -> int:
        read_archive_of(self.directory, self.known, archive, self.config)
        return archive.number


@dataclasses.dataclass
class ParseParts(beam.PTransform):
    """Parts of pages -> (pages, links, candidates, images of sitemaps).

    Bodies are read by address and stay in the step.
    """

    out: str
    directory: str
    policy: FetchPolicy
    limits: ParseLimits
    sitemaps: SitemapRules

    def expand(self, parts: Any) -> Any:
        settings = ParseSettings(tuple(sorted(self.policy.tokens)), self.limits, self.sitemaps)
        work = _ParseFn(self.out, self.directory, self.policy.page_decoded_bytes, settings)
        found = parts | "Parse" >> beam.ParDo(work).with_outputs("links", "candidates", "images", main="pages")
        return found["pages"], found["links"], found["candidates"], found["images"]


class _ParseFn(beam.DoFn):
    """Holds a sandbox as long as Beam holds it."""

    def __init__(self, out: str, directory: str, most_bytes: int, settings: ParseSettings) -> None:
        self._out, self._directory, self._most_bytes, self._settings = out, directory, most_bytes, settings

    def setup(self) -> None:
        self._box = page_sandbox(self._settings)

    def teardown(self) -> None:
        self._box.close()

    def process(self, part: Part) -> Iterator[Any]:
        for found in parsed_pages(self._box, self._stored(part)):
            if isinstance(found, Named):
                for image in found.images:
                    yield beam.pvalue.TaggedOutput("images", image)
            else:
                yield found.page
                for candidate in found.candidates:
                    yield beam.pvalue.TaggedOutput("candidates", candidate)
            for link in found.links:
                yield beam.pvalue.TaggedOutput("links", link)
        for log in read_matching(storage.join(self._directory, part.log.name), FetchLog, "links", bool):
            for link in links_of_refused(log):
                yield beam.pvalue.TaggedOutput("links", link)

    def _stored(self, part: Part) -> Iterator[tuple[FetchLog, bytes]]:
        for log in read_table(storage.join(self._directory, part.log.name), FetchLog):
            if log.outcome in STORED:
                yield log, read_response(storage.join(self._out, log.part), log.offset, log.length,
                                         self._most_bytes).body


@dataclasses.dataclass
class SelectAll(beam.PTransform):
    """ImageFetch rows -> rows of the fetch list, where nothing was answered before."""

    shards: int
    rules: FrontierRules

    def expand(self, wanted: Any) -> Any:
        return wanted | "Rows" >> beam.Map(image_row, self.shards, self.rules)


@dataclasses.dataclass
class SplitKnown(beam.PTransform):
    """(wanted, answered before) -> (rows of the fetch list, rows that need no fetch).

    Wanted are ImageFetch rows, answered are Image rows of an earlier stage.
    """

    shards: int
    rules: FrontierRules
    out: str = ""
    blocked: BlockFile | None = None       # hashes to ask earlier answers about; None where they were asked already
    max_pixels: int = 0
    suppressed: Suppression = dataclasses.field(default_factory=lambda: Suppression(()))

    def expand(self, tables: tuple[Any, Any]) -> Any:
        wanted, answered = tables
        split = ({"wanted": wanted | "Wanted key" >> beam.Map(by_url_key),
                  "answered": answered | "Answered key" >> beam.Map(by_url_key)}
                 | "Meet images" >> beam.CoGroupByKey()
                 | "Split" >> beam.ParDo(_SplitFn(self)).with_outputs("carried", main="list"))
        return split["list"], split["carried"]


class _SplitFn(beam.DoFn):
    """Holds a list of hashes as long as Beam holds it."""

    def __init__(self, how: SplitKnown) -> None:
        self._shards, self._rules, self._out, self._file, self._max_pixels, self._suppressed = (
            how.shards, how.rules, how.out, how.blocked, how.max_pixels, how.suppressed)

    def setup(self) -> None:
        self._block_list = None if self._file is None else BlockList(self._file, self._max_pixels)

    def teardown(self) -> None:
        if self._block_list is not None:
            self._block_list.close()

    def process(self, met: tuple[str, dict[str, Any]]) -> Iterator[Any]:
        asked = next(iter(met[1]["wanted"]), None)
        if asked is None:
            return
        known = next(iter(met[1]["answered"]), None)
        removed = suppressed_answer(asked, known, self._suppressed)
        if removed is not None:
            yield beam.pvalue.TaggedOutput("carried", removed)
            return
        if known is not None and not may_carry(known):
            known = None
        if known is not None and self._block_list is not None:
            known = carried_as(known, self._out, self._block_list)
        if known is not None:
            yield beam.pvalue.TaggedOutput("carried", known)
        else:
            yield image_row(asked, self._shards, self._rules)


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
class WriteAnswers(beam.PTransform):
    """(wanted, images) -> the committed files of the table `images`, as WriteTable makes them.

    Raises where a wanted URL has not exactly one row, or a row nobody wanted it: keys and rows meet in the bucket that
    is written, so a row is shuffled once.
    """

    directory: str
    buckets: int

    def expand(self, tables: tuple[Any, Any]) -> Any:
        wanted, images = tables
        markers = wanted.pipeline | "Buckets" >> beam.Create([(bucket, None) for bucket in range(self.buckets)])
        asked = wanted | "Asked" >> beam.Map(lambda row: (self._bucket(row), row.url_key))
        answered = images | "Answered" >> beam.Map(lambda row: (self._bucket(row), row))
        return ((markers, asked, answered) | "All" >> beam.Flatten()
                | "Meet" >> beam.GroupByKey()
                | "Write" >> beam.MapTuple(self._write))

    def _bucket(self, row: Any) -> int:
        return stable_hash(row.url_key) % self.buckets

    def _write(self, bucket: int, met: Iterable[Any]) -> FileEntry:
        asked, answered = [], []
        for one in met:
            if isinstance(one, str):
                asked.append(one)
            elif one is not None:
                answered.append(one)
        return write_bucket(self.directory, "images", bucket, self.buckets, Image, one_for_one(asked, answered))
