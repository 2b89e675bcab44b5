"""The stage `selected`: captures that Common Crawl's columnar index finds, to be read one by one.

    OUT/selected/51c0…/picks-00000-of-00300.parquet   of one file of the index
                       rows-00000.json                how many rows that file has

Batches of them stand in for archives in the stage `crawl` that follows (crawl/archive_run.py): what is parsed and
written is the same.
"""
from __future__ import annotations

import heapq
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

from crawl import storage
from crawl.archive_inputs import PATH, Archive, Chosen
from crawl.byte_ranges import Ranges, spans
from crawl.columnar_index import Pick, Wanted
from crawl.config import digest
from crawl.errors import UsageError
from crawl.stages import Funnel, Manifest, Stage
from crawl.tables import read_column, read_table
from crawl.trusted_http import Gone
from crawl.warc_pages import Address
from crawl.warc_reader import Record, read_records_of

FORMAT = 1
BATCH = 500                        # captures read by one worker, without a stop


def select(out: str, chosen: Chosen, wanted: Wanted, run: Callable[[str, Callable[[Any], None]], None]) -> Manifest:
    """Returns the manifest of the stage `selected`; raises UsageError where nothing is wanted."""
    stage = Stage.open(out, "selected", FORMAT, wanted, {"index": chosen.identity})
    finished = stage.finished()
    if finished is not None:
        return finished
    from crawl.index_transforms import SelectCaptures
    from crawl.transforms import entries_of
    files = len(chosen.archives)
    run(f"candidates: select from {files} files of the index", lambda root: root | "Select captures" >>
        SelectCaptures(stage.directory, wanted, chosen.archives))
    entries = tuple(entries_of(stage.directory, "picks", files))
    rows = sum(json.loads(storage.read_bytes(storage.join(stage.directory, f"rows-{number:05d}.json")))["rows"]
               for number in range(files))
    picked = sum(entry.rows for entry in entries)
    kept = min(picked, wanted.sample or picked)
    if not kept:
        raise UsageError(f"{chosen.named}: none of its {rows} captures is wanted; ask for less with --languages, "
                         f"--mimes, --statuses and --domains")
    outcomes = {"selected": kept, "not_selected": rows - kept}
    return stage.commit({"picks": entries}, [Funnel("selected", "capture", rows, tuple(
        (name, count) for name, count in outcomes.items() if count))])


def batches(manifest: Manifest, wanted: Wanted, base: str) -> Chosen:
    """Returns what stands for archives: `BATCH` captures each, those of a sample and no more."""
    base = base if base.endswith("/") else f"{base}/"
    counts = [entry.rows for entry in manifest.tables["picks"]]
    if wanted.sample and sum(counts) > wanted.sample:
        orders = [(order, number) for number, path in enumerate(manifest.paths("picks"))
                  for order in read_column(path, "order")]
        counts = [0] * len(counts)
        for _, number in heapq.nsmallest(wanted.sample, orders):     # each file is sorted by it: a beginning is kept
            counts[number] += 1
    archives: list[Archive] = []
    for entry, path, count in zip(manifest.tables["picks"], manifest.paths("picks"), counts, strict=True):
        for first in range(0, count, BATCH):
            rows = min(BATCH, count - first)
            archives.append(Archive(len(archives), f"{entry.name}:{first}", path, digest(
                [entry.digest, base, first, rows]), first, rows, base))
    return Chosen(tuple(archives), digest([manifest.digest, base]), "--index")


def read_picks(archive: Archive) -> Iterator[tuple[str, Record]]:
    """Yields the WARC file and the record of each capture of a batch, near ones read together.

    One that is not there, or is another than the index says, has a fault: file_http_404, another_record, bad_address.
    """
    picks = list(itertools.islice(read_table(archive.location, Pick), archive.first, archive.first + archive.rows))
    ranges = Ranges()
    try:
        for span in spans([Address(one.part, one.offset, one.length) for one in picks]):
            some = [picks[number] for number in span]
            yield from zip((one.part for one in some), _read(ranges, archive.base, some), strict=True)
    finally:
        ranges.close()


def _read(ranges: Ranges, base: str, picks: list[Pick]) -> Iterator[Record]:
    """Yields the records of picks of one WARC file, sorted by offset and near each other."""
    part, begin = picks[0].part, picks[0].offset
    length = max(one.offset + one.length for one in picks) - begin
    fault = "" if PATH.fullmatch(part) and "://" not in part and ".." not in part.split("/") else "bad_address"
    data = b""
    if not fault:
        try:
            data = ranges.read(base + part, begin, length)
        except Gone as error:
            fault = error.outcome
    for one in picks:
        fields = {"warc-target-uri": one.url}
        if fault:
            yield Record(one.offset, fields, b"", fault)
            continue
        found = read_records_of(data[one.offset - begin:one.offset - begin + one.length])
        if len(found) != 1:
            yield Record(one.offset, fields, b"", "another_record" if found else "truncated_record")
        elif found[0].fault:
            yield Record(one.offset, fields, b"", found[0].fault)
        elif found[0].fields.get("warc-target-uri", "").strip("<>") != one.url:
            yield Record(one.offset, fields, b"", "another_record")
        else:
            yield Record(one.offset, found[0].fields, found[0].block, length=one.length)
