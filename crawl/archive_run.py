"""The stage `crawl` from archives: WARC or WAT files instead of a crawl, and the tables are the same.

    OUT/crawl/7ad2…/candidates-<id>-00000.parquet   of one archive, in pieces of about `rows_per_file`
                    pages-<id>-00000.parquet        what its pages say of themselves
                    fetch_log-<id>-00000.parquet    every answer in it: how its fetch ended then
                    broken-<id>-00000.parquet       records that were passed over, and why
                    archive-<id>.json               the archive is read: its files

<id> names an archive, its number and the settings, so what an earlier stage has read of a shorter list is copied, not
read again.  Page bytes are not copied: a row names the WARC record it came from.
"""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from crawl import storage
from crawl.archive_inputs import Archive, Chosen, open_archive
from crawl.config import digest
from crawl.errors import UsageError
from crawl.gzip_members import Readable
from crawl.html import ParseLimits
from crawl.index_run import read_picks
from crawl.page_images import PageImages, encode_images
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import Found
from crawl.records import BrokenRow, Candidate, FetchLog, Page
from crawl.sitemaps import SitemapRules
from crawl.stages import Funnel, Manifest, Stage, current, read_manifest
from crawl.tables import FileEntry, commit_table, encode_table, from_row
from crawl.trusted_http import Gone
from crawl.warc_pages import Other, PageRules, page_in
from crawl.warc_reader import Record, read_records
from crawl.wat import found_in_wat

FORMAT = 9                         # 2: backgrounds, input, object, itemprop; 3: licences, what others are told;
                                   # 4: occurrences of several records in one gzip member differ; 5: code pages
                                   # 6: addresses in WARC files; 7: fingerprints; 8: lazy posters, objects;
                                   # 9: log rows know validators
Run = Callable[[str, Callable[[Any], None]], None]
Row = FetchLog | Found | PageImages | BrokenRow | str         # of the last only the name is counted
_TABLES: dict[str, tuple[type, str]] = {"candidates": (Candidate, "occurrence"), "pages": (Page, "url_key"),
                                        "fetch_log": (FetchLog, "url_key"), "broken": (BrokenRow, "row")}
# What a finished crawl has and an archive cannot: no file each, so that readers of a crawl find what they ask for.
_EMPTY = ("links", "hosts", "warc", "fetch_list", "crawldb", "seeds")
_EXCERPT = 200
_BATCH = 256                       # records at a time
_BATCH_BYTES = 32 << 20
_FEW = 20                          # records of which a share says nothing


@dataclasses.dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """How archives are read: part of the stage's folder name."""

    kind: str = "warc"             # warc, wat, index: single records of WARC files
    pages: PageRules = PageRules()
    parse: ParseLimits = ParseLimits()
    rows_per_file: int = 20_000    # about; each row repeats the beginning of its page's text
    max_broken: float = 0.5        # share of broken records above which the stage fails

    def __post_init__(self) -> None:
        if self.kind not in ("warc", "wat", "index"):
            raise ValueError(f"kind is {self.kind!r}; it is 'warc', 'wat' or 'index'")
        if self.rows_per_file < 1:
            raise ValueError(f"rows_per_file is {self.rows_per_file}; it must be at least 1")
        if not 0 <= self.max_broken <= 1:
            raise ValueError(f"max_broken is {self.max_broken}; it is a share, 0 to 1")


def read_archives(out: str, chosen: Chosen, config: ArchiveConfig, run: Run) -> Manifest:
    """Returns the manifest of a stage `crawl` whose pages are the archives'.

    Raises UsageError for an archive that cannot be read, where there is not one page in them, and where more than
    `max_broken` of the records are broken.
    """
    stage = Stage.open(out, "crawl", FORMAT, config,
                       {"captures" if config.kind == "index" else f"{config.kind}s": chosen.identity})
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.fetch_transforms import ReadArchives
    run(f"candidates: read {len(chosen.archives)} {config.kind} files", lambda root: root | "Read archives" >>
        ReadArchives(stage.directory, _known(out), config, chosen.archives))
    states = [_read_state(stage.directory, archive, config) for archive in chosen.archives]
    return _commit(stage, config, chosen, states)


def read_archive_of(directory: str, known: str, archive: Archive, config: ArchiveConfig) -> None:
    """Commits the tables of one archive and, last, its state: what was read before is not read again."""
    name = _state_name(archive, config)
    if storage.exists(storage.join(directory, name)):
        return
    if known and storage.exists(storage.join(known, name)):
        state = storage.read_bytes(storage.join(known, name))
        for entry in (entry for entries in _entries(json.loads(state)).values() for entry in entries):
            storage.commit_bytes(storage.join(directory, entry.name), storage.read_bytes(
                storage.join(known, entry.name)))
        storage.commit_bytes(storage.join(directory, name), state)
        return
    counts: collections.Counter[str] = collections.Counter()
    entries: dict[str, list[FileEntry]] = {table: [] for table in _TABLES}
    rows: dict[str, list[Any]] = {table: [] for table in _TABLES}
    images: list[PageImages] = []
    waiting = 0                            # rows in `images`

    def flush() -> None:
        nonlocal waiting
        for table, (record_type, key) in _TABLES.items():
            name = f"{table}-{_identity(archive, config)}-{len(entries[table]):05d}.parquet"
            if rows[table]:
                some = sorted(rows[table], key=operator.attrgetter(key))     # of equal keys in the order of the file
                entries[table].append(commit_table(directory, name, *encode_table(record_type, some)))
                rows[table].clear()
            elif table == "candidates" and waiting:
                entries[table].append(commit_table(directory, name, *encode_images(images)))
                images.clear()
                waiting = 0

    for row in _rows(archive, config):
        if isinstance(row, str):
            counts[row] += 1
        elif isinstance(row, PageImages):
            rows["pages"].append(row.page)
            if row.rows:
                images.append(row)
                waiting += len(row.rows)
        elif isinstance(row, Found):
            rows["pages"].append(row.page)
            rows["candidates"] += row.candidates
        else:
            rows["broken" if isinstance(row, BrokenRow) else "fetch_log"].append(row)
        if max(waiting, *map(len, rows.values())) >= config.rows_per_file:
            flush()
    flush()
    value = {"counts": dict(sorted(counts.items())),
             "tables": {table: [dataclasses.asdict(entry) for entry in entries[table]] for table in _TABLES}}
    storage.commit_bytes(storage.join(directory, name), (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())


def _rows(archive: Archive, config: ArchiveConfig) -> Iterator[Row]:
    """Yields what the records of one archive give, in no order that counts."""
    if config.kind == "index":
        yield from _rows_of_records(archive, enumerate(read_picks(archive)), config)
        return
    try:
        with open_archive(archive) as file:
            yield from (rows_of_wat if config.kind == "wat" else rows_of_warc)(archive, file, config)
    except Gone as error:
        yield BrokenRow(table=archive.number, row=0, outcome=error.outcome, excerpt=archive.location[-_EXCERPT:])


def rows_of_warc(archive: Archive, file: Readable, config: ArchiveConfig) -> Iterator[Row]:
    """Yields the log rows, pages and broken records of a WARC file; its pages are parsed in a sandbox."""
    return _rows_of_records(archive, enumerate((archive.name, record) for record in read_records(file)), config)


def _rows_of_records(archive: Archive, records: Iterable[tuple[int, tuple[str, Record]]],
                     config: ArchiveConfig) -> Iterator[Row]:
    """Yields what numbered records of a part give."""
    settings = ParseSettings(tuple(sorted(config.pages.tokens)), config.parse, SitemapRules())
    with page_sandbox(settings) as box:
        for some in _batches(records):
            pages: list[tuple[str, FetchLog, bytes]] = []
            for number, (part, record) in some:
                read = page_in(record, config.pages, part)
                if isinstance(read, Other):
                    yield _other(archive, record, read)
                    continue
                yield read[0]
                if read[0].outcome == "ok":
                    pages.append((_place(archive, record, number, part), *read))
            answers = parsed_pages(box, ((log, body) for _, log, body in pages))
            for (place, _, _), found in zip(pages, answers, strict=True):
                assert isinstance(found, Found)
                yield of_capture(found, place)


def _batches(records: Iterable[tuple[int, tuple[str, Record]]]) -> Iterator[list[tuple[int, tuple[str, Record]]]]:
    """Yields numbered records a few at a time: reading and parsing go on side by side, and memory has a bound."""
    some: list[tuple[int, tuple[str, Record]]] = []
    size = 0
    for number, (part, record) in records:
        some.append((number, (part, record)))
        size += len(record.block)
        if len(some) >= _BATCH or size >= _BATCH_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


def rows_of_wat(archive: Archive, file: Readable, config: ArchiveConfig) -> Iterator[Row]:
    """Yields the log rows, pages and broken records of a WAT file."""
    for number, record in enumerate(read_records(file)):
        read = found_in_wat(record, config.pages, config.parse.max_candidates, _place(archive, record, number))
        if isinstance(read, Other):
            yield _other(archive, record, read)
        else:
            yield from (row for row in read if row is not None)


def _place(archive: Archive, record: Record, number: int, part: str = "") -> str:
    """Returns what names one capture among all; one gzip member may hold several records."""
    if archive.base:
        return f"{archive.base}{part} {record.offset}"
    return f"{archive.identity} {record.offset} {number}"


def of_capture(found: Found, place: str) -> Found:
    """Returns what a page gives with occurrences of this capture alone: archives hold a URL more than once."""
    return dataclasses.replace(found, candidates=tuple(
        dataclasses.replace(one, occurrence=hashlib.sha256(f"{place} {one.occurrence}".encode()).hexdigest()[:32])
        for one in found.candidates))


def _other(archive: Archive, record: Record, read: Other) -> Row:
    if not read.broken:
        return read.outcome
    return BrokenRow(table=archive.number, row=record.offset, outcome=read.outcome,
                     excerpt=record.fields.get("warc-target-uri", "")[:_EXCERPT])


def _commit(stage: Stage, config: ArchiveConfig, chosen: Chosen, states: Sequence[dict[str, Any]]) -> Manifest:
    tables = {table: tuple(entry for state in states for entry in _entries(state)[table]) for table in _TABLES}
    totals: collections.Counter[str] = collections.Counter()
    for state in states:
        totals.update(state["counts"])
    for table in ("broken", "fetch_log", "pages"):
        for entry in tables[table]:
            totals.update(dict(entry.outcomes))
    totals["ok"] -= sum(entry.rows for entry in tables["pages"])       # a page counts as what it became
    if totals.pop("ok"):
        raise AssertionError("a page that was there to be parsed has no row")
    rows = {name: sum(entry.rows for entry in entries) for name, entries in tables.items()}
    broken, candidates = rows["broken"], rows["candidates"]
    total = sum(totals.values())
    said = ", ".join(f"{count} {name}" for name, count in sorted(totals.items()))
    if not rows["pages"]:
        raise UsageError(f"{chosen.named}: no page in it ({said or 'no record at all'}); give files "
                         f"with pages, or the other of --kind warc and --kind wat")
    if total >= _FEW and broken > config.max_broken * total:
        raise UsageError(f"{chosen.named}: {broken} of {total} records are broken ({said}); get the files again, or "
                         f"take what is left with --set max_broken=1")
    notes = [f"{broken} of {total} records were passed over as broken: the table `broken` names each with the number "
             f"of its file and its offset"] if broken else []
    funnel = [Funnel("crawl", "archive record", total, tuple(sorted(totals.items()))),
              Funnel("crawl", "candidate row", candidates, (("found", candidates),) if candidates else ())]
    return stage.commit(tables | dict.fromkeys(_EMPTY, ()), funnel, notes=notes,
                        extra={"archives": [archive.name for archive in chosen.archives]})


def _known(out: str) -> str:
    """Returns the folder of the current crawl, "" without one: it may have read some of these archives."""
    folder = current(out).get("crawl")
    return storage.join(out, folder) if folder and read_manifest(out, folder) is not None else ""


def _identity(archive: Archive, config: ArchiveConfig) -> str:
    return digest({"archive": archive.identity, "number": archive.number, "config": dataclasses.asdict(config),
                   "format": FORMAT})[:16]


def _state_name(archive: Archive, config: ArchiveConfig) -> str:
    return f"archive-{_identity(archive, config)}.json"


def _read_state(directory: str, archive: Archive, config: ArchiveConfig) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(storage.read_bytes(storage.join(directory, _state_name(archive, config))))
    return value


def _entries(state: dict[str, Any]) -> dict[str, list[FileEntry]]:
    return {name: [from_row(FileEntry, entry | {"outcomes": [tuple(pair) for pair in entry["outcomes"]]})
                   for entry in entries] for name, entries in state["tables"].items()}
