"""The stage `crawl` from tables of URLs and captions: no page is fetched, and the table `candidates` is the same.

    OUT/crawl/41c0…/candidates-000-00000.parquet   rows of the first table, in pieces of `rows_per_file`
                    broken-000-00000.parquet       rows that were passed over, and why
                    table-000.json                 the first table is read: its files

A candidate of a table has no page: `page_url` is empty, `page_key` names the row alone, and its permission is unknown,
for nobody asked the page.  What an unknown permission means is a setting of judge (`permission.unknown`).
"""
from __future__ import annotations

import collections
import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from crawl import storage, urls
from crawl.caption_tables import Layout, read_rows
from crawl.errors import UsageError
from crawl.html import fold
from crawl.records import UNKNOWN, BrokenRow, Candidate, SourceText
from crawl.stages import Funnel, Manifest, Stage, funnel_of
from crawl.table_columns import MAX_EXTRAS
from crawl.tables import FileEntry, from_row, write_table

FORMAT = 2                         # 2: extras and expected hashes
Run = Callable[[str, Callable[[Any], None]], None]
MAX_TEXT = 2048
_EXCERPT = 200
# What a finished crawl has and a table cannot: no file each, so that readers of a crawl find what they ask for.
_EMPTY = ("pages", "links", "fetch_log", "hosts", "warc", "fetch_list", "crawldb", "seeds")


@dataclasses.dataclass(frozen=True, slots=True)
class TableConfig:
    """How tables of captions are read: part of the stage's folder name."""

    layout: Layout
    kind: str = "table"
    source: str = "alt"            # what captions count as (filter.judging.SOURCES): most such tables hold alt texts
    language: str = ""             # ISO 639-1 of the captions, where the table's maker says so; "" where nobody does
    rows_per_file: int = 50_000

    def __post_init__(self) -> None:
        if self.rows_per_file < 1:
            raise ValueError(f"rows_per_file is {self.rows_per_file}; it must be at least 1")


def read_candidates(out: str, tables: Sequence[str], config: TableConfig, run: Run) -> Manifest:
    """Returns the manifest of a stage `crawl` whose candidates are the rows of tables, `broken` those passed over.

    Raises UsageError for a table that cannot be read, and where not one row of them has a URL.
    """
    digests = {f"table-{number:03d}": _sha256(path) for number, path in enumerate(tables)}
    if len(set(digests.values())) < len(tables):
        raise UsageError(f"--table: two of {', '.join(tables)} hold the same bytes; name each table once")
    stage = Stage.open(out, "crawl", FORMAT, config, digests)
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.fetch_transforms import ReadCaptionTables
    numbered = tuple((number, path, digests[f"table-{number:03d}"]) for number, path in enumerate(tables))
    run(f"candidates: read {len(tables)} tables", lambda root: root | "Read caption tables" >> ReadCaptionTables(
        stage.directory, config, numbered))
    read = [_read_state(stage.directory, number) for number in range(len(tables))]
    found: dict[str, tuple[FileEntry, ...]] = {
        name: tuple(entry for one in read for entry in one[name]) for name in ("candidates", "broken")}
    counts: collections.Counter[str] = collections.Counter()
    for number in range(len(tables)):
        counts.update(_state(stage.directory, number)["counts"])
    return _commit(stage, found, tables, config.layout, counts)


def _commit(stage: Stage, found: dict[str, tuple[FileEntry, ...]], tables: Sequence[str], layout: Layout,
            counts: collections.Counter[str]) -> Manifest:
    candidates, broken = (sum(entry.rows for entry in found[name]) for name in ("candidates", "broken"))
    faults = funnel_of("crawl", "table row", found["broken"]).outcomes
    said = ", ".join(f"{count} {name}" for name, count in faults)
    if not candidates:
        raise UsageError(f"{', '.join(tables)}: no row has an image URL ({said or 'there are no rows'}); check "
                         f"--format, --url-column and --caption-column")
    if layout.hashes and not counts["with_hash"]:
        raise UsageError(f"{', '.join(tables)}: no row has a hash in {', '.join(layout.hashes.values())}, so nothing "
                         f"could be verified; check the --*-column options")
    notes = [f"{broken} of {candidates + broken} rows of the tables were passed over: {said}"] if broken else []
    if counts["left_out"]:
        notes.append(f"{counts['left_out']} values of further columns were not passed through: lists, objects, bytes, "
                     f"or beyond {MAX_EXTRAS} bytes a row; name the wanted columns with --extra-columns")
    funnel = [Funnel("crawl", "table row", candidates + broken, tuple(sorted([("found", candidates), *faults]))),
              Funnel("crawl", "candidate row", candidates, (("found", candidates),))]
    return stage.commit(found | dict.fromkeys(_EMPTY, ()), funnel, notes=notes,
                        extra={"with_hash": counts["with_hash"]})


def read_table_of(directory: str, number: int, path: str, sha256: str, config: TableConfig) -> None:
    """Commits the candidates of one table and, last, `table-000.json`: what was read before is not read again."""
    state = storage.join(directory, f"table-{number:03d}.json")
    if storage.exists(state):
        return
    entries: dict[str, list[FileEntry]] = collections.defaultdict(list)
    counts: collections.Counter[str] = collections.Counter()
    rows = candidates_of(path, number, sha256, config, counts)
    for piece in itertools.count():
        some = list(itertools.islice(rows, config.rows_per_file))
        if not some:
            break
        good = sorted((row for row in some if isinstance(row, Candidate)), key=lambda row: row.occurrence)
        bad = [row for row in some if isinstance(row, BrokenRow)]
        for name, record_type, chosen in (("candidates", Candidate, good), ("broken", BrokenRow, bad)):
            if chosen:
                entries[name].append(write_table(directory, f"{name}-{number:03d}-{piece:05d}.parquet",
                                                 record_type, chosen))      # type: ignore[arg-type]
    value: dict[str, Any] = {name: [dataclasses.asdict(entry) for entry in entries[name]]
                             for name in ("candidates", "broken")} | {"counts": dict(counts)}
    storage.commit_bytes(state, (json.dumps(value, sort_keys=True, indent=1) + "\n").encode())


def candidates_of(path: str, number: int, sha256: str, config: TableConfig,
                  counts: collections.Counter[str]) -> Iterator[Candidate | BrokenRow]:
    """Yields each row of a table as a candidate, or as the broken row it is; equal bytes give equal candidates.

    Counts in `counts` the candidates `with_hash`, and the values of further columns that were `left_out`.
    """
    for at, row in enumerate(read_rows(path, config.layout)):
        url = None if row.fault else urls.normalize(row.url)
        if url is None:
            yield BrokenRow(table=number, row=at, outcome=row.fault or "bad_url", excerpt=row.url[:_EXCERPT])
            continue
        counts["with_hash"] += bool(row.expected)
        counts["left_out"] += row.left_out
        text = fold(row.caption)[:MAX_TEXT]
        page_key, image_key = urls.url_key(f"table {sha256} row {at}"), urls.url_key(url)
        yield Candidate(
            occurrence=hashlib.sha256(f"{page_key} {image_key} 0".encode()).hexdigest()[:32], page_key=page_key,
            page_url="", image_key=image_key, image_url=url, found_in="table", alternatives=(),
            texts=(SourceText(config.source, text),) if text else (), alt_present=False, declared_width=0,
            declared_height=0, ordinal=0, images_on_page=1, in_main=True, repeats_on_page=1, link_href="",
            html_lang=config.language, page_title="", page_text="", permission=UNKNOWN, signals=(),
            page_record_id="", page_sha256="", page_fetched_at="", extras=row.extras, expected=row.expected)


def _sha256(path: str) -> str:
    if storage.is_remote(path) or os.path.isdir(path):
        raise UsageError(f"--table {path}: this is no local file; copy the table here, and name each file of a folder")
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"--table {path}: cannot read it ({error.strerror or error})") from error


def _read_state(directory: str, number: int) -> dict[str, list[FileEntry]]:
    return {name: [from_row(FileEntry, entry | {"outcomes": [tuple(pair) for pair in entry["outcomes"]]})
                   for entry in entries] for name, entries in _state(directory, number).items() if name != "counts"}


def _state(directory: str, number: int) -> dict[str, Any]:
    return json.loads(storage.read_bytes(storage.join(directory, f"table-{number:03d}.json")))
