"""Beam wiring of the columnar index: one file of it, one worker.  No rule lives here."""
from __future__ import annotations

import dataclasses
import json
from typing import Any

import apache_beam as beam

from crawl import storage
from crawl.archive_inputs import Archive
from crawl.byte_ranges import Ranges, SeekableFile
from crawl.columnar_index import Pick, Wanted, pick
from crawl.errors import UsageError
from crawl.transforms import bucket_name, write_bucket
from crawl.trusted_http import Gone


@dataclasses.dataclass
class SelectCaptures(beam.PTransform):
    """Root -> the numbers of index files, each searched by one worker into a committed table."""

    directory: str
    wanted: Wanted
    files: tuple[Archive, ...]

    def expand(self, root: Any) -> Any:
        return (root | "Index files" >> beam.Create(self.files)
                | "One worker a file" >> beam.Reshuffle()
                | "Search file" >> beam.Map(self._search))

    def _search(self, file: Archive) -> int:
        done = storage.join(self.directory, bucket_name("picks", file.number, len(self.files)) + ".json")
        if not storage.exists(done):
            ranges = Ranges()
            try:
                picks, rows = pick(SeekableFile(ranges, file.location), file.name, self.wanted)
            except Gone as error:
                raise UsageError(f"--index {file.location}: it is not there ({error.outcome})") from error
            finally:
                ranges.close()
            storage.commit_bytes(storage.join(self.directory, f"rows-{file.number:05d}.json"),
                                 json.dumps({"rows": rows}).encode())
            write_bucket(self.directory, "picks", file.number, len(self.files), Pick, picks)
        return file.number
