"""A finished `filter` stage made by hand: real small images in a tar part, and the `best` rows that point into it."""
from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image

from crawl import storage
from crawl.records import Signal
from crawl.stages import Funnel, Manifest, Stage
from crawl.tables import stable_hash
from crawl.transforms import entries_of, write_bucket
from filter.records import Best, ScoredText
from shards.patches import PatchesConfig

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220), "white": (240, 240, 240)}
THINGS = ("bus", "café", "kite", "lighthouse", "dog")
PLACES = ("under a bridge", "beside the river", "in the morning fog", "on a hill")


def image_bytes(number: int, fmt: str = "JPEG", size: tuple[int, int] = (96, 64)) -> bytes:
    """Returns an image whose colours and noise depend on its number alone."""
    noise = np.random.Generator(np.random.Philox(key=number))
    pixels = noise.integers(0, 60, (size[1], size[0], 3)).astype(np.int16)
    pixels[:, : size[0] // 2] += np.array(list(COLOURS.values())[number % 4], np.int16) // 2
    pixels[size[1] // 2:] += 40
    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, fmt, quality=90)
    return buffer.getvalue()


def best_rows(count: int, out: str, part: str = "images/x/part-00000.tar",
              make: Callable[[int], tuple[bytes, str]] | None = None,
              caption: Callable[[int], str] | None = None) -> list[Best]:
    """Writes `count` images into one tar part and returns their rows; a fifth is of the test split."""
    make = make or (lambda number: (image_bytes(number), "jpg"))
    caption = caption or (lambda n: f"A {list(COLOURS)[n % 4]} {THINGS[n % 5]} {PLACES[n // 5 % 4]}, number {n}.")
    buffer, rows = io.BytesIO(), []
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(count):
            data, fmt = make(number)
            sha256 = hashlib.sha256(data).hexdigest()
            member = tarfile.TarInfo(f"{sha256}.{fmt}")
            member.size = len(data)
            offset = tar.offset + 512
            tar.addfile(member, io.BytesIO(data))
            text = caption(number)
            rows.append(Best(
                key=sha256[:32], image_sha256=sha256, caption=text, source="alt", score=0.75,
                split="test" if stable_hash(text) % 5 == 0 else "train",
                texts=(ScoredText("alt", text, 0.75), ScoredText("title", "other", 0.25)),
                image_url=f"http://h1.test/{number}.{fmt}", page_url="http://h1.test/",
                image_urls=(f"http://h1.test/{number}.{fmt}",),
                num_occurrences=1,
                format=fmt, width=96, height=64, orientation=1, perceptual_hash=sha256[:16],
                caption_hash=f"{stable_hash(text.lower()):016x}", group_hash=sha256[16:32], natural=0.5,
                page_language="en", permission="allow", signals=(Signal("robots", "", "allow", "no rule"),),
                page_record_id="urn:uuid:1", page_sha256="ab" * 32, page_fetched_at="2026-01-01T00:00:00.000000Z",
                image_fetched_at="2026-01-01T00:00:01.000000Z", part=part, offset=offset, length=len(data)))
    storage.commit_bytes(storage.join(out, part), buffer.getvalue())
    return rows


def finish_filter(out: str, rows: list[Best], buckets: int = 2, inputs: dict[str, str] | None = None) -> Manifest:
    """Commits rows as the `best` table of a finished `filter` stage; other inputs, another folder."""
    stage = Stage.open(out, "filter", 1, PatchesConfig(), inputs or {})
    for bucket in range(buckets):
        mine = sorted((row for row in rows if stable_hash(row.key) % buckets == bucket), key=lambda row: row.key)
        write_bucket(stage.directory, "best", bucket, buckets, Best, mine)
    return stage.commit({"best": list(entries_of(stage.directory, "best", buckets))},
                        [Funnel("filter", "pair", len(rows) + 3, (("kept", len(rows)), ("too_small", 3)))])


def kept(out: str, count: int, buckets: int = 2, **options: Any) -> list[Best]:
    """Makes a root with `count` kept pairs; returns their rows."""
    rows = best_rows(count, out, **options)
    finish_filter(out, rows, buckets)
    return rows


@dataclasses.dataclass
class BeamRun:
    """Runs pipelines in this process, or in `workers` processes."""

    workers: int = 1

    def __call__(self, name: str, build: Callable[[Any], None]) -> None:
        """Wires and runs one pipeline."""
        mode = "multi_processing" if self.workers > 1 else "in_memory"
        options = PipelineOptions(["--direct_num_workers", str(self.workers), "--direct_running_mode", mode])
        with beam.Pipeline(runner=FnApiRunner(), options=options) as root:
            build(root)
