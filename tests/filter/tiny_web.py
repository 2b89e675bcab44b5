"""Hand-made crawl and images stages: a few pages and pictures of which a test knows everything."""
from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from PIL import Image as Picture
from PIL import ImageFilter

from crawl import storage
from crawl.records import Candidate, Image, ImageFetch, Signal, SourceText
from crawl.stages import Manifest, Stage, funnel_of
from crawl.tables import read_table
from crawl.transforms import write_bucket

ENGLISH = "This is the page of a small museum and it has many pictures of the birds that you can see on the lake."
GERMAN = "Das ist die Seite eines kleinen Museums und sie hat viele Bilder der Vögel, die man auf dem See sehen kann."


@dataclasses.dataclass(frozen=True)
class Cut:
    """Config of the hand-made stages."""

    pieces: int


def run(name: str, build: Callable[[Any], None]) -> None:
    """Runs a pipeline in this process."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    build(pipeline)
    pipeline.run().wait_until_finish()


def key(text: str) -> str:
    """Returns 32 hex digits for a name."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def candidate(image_url: str, page_url: str = "https://a.example/p1", **changes: Any) -> Candidate:
    """Returns an occurrence in the main part of an English page, with an alt text."""
    row = Candidate(
        occurrence=key(f"{page_url} {image_url} {changes}"), page_key=key(page_url), page_url=page_url,
        image_key=key(image_url), image_url=image_url, found_in="img.src", alternatives=(),
        texts=(SourceText("alt", "A grey heron stands in the shallow water of the lake"),), alt_present=True,
        declared_width=0, declared_height=0, ordinal=0, images_on_page=3, in_main=True, repeats_on_page=1,
        link_href="", html_lang="en", page_title="Birds of the lake", page_text=ENGLISH, permission="allow",
        signals=(Signal("robots", "", "allow", "line 1"),), page_record_id="urn:uuid:1", page_sha256="ab",
        page_fetched_at="2026-01-01T00:00:00.000000Z")
    return dataclasses.replace(row, **changes)


def texts(**by_source: str) -> tuple[SourceText, ...]:
    """Returns texts by source name."""
    return tuple(SourceText(source, text) for source, text in by_source.items())


def photograph(seed: int, size: tuple[int, int] = (400, 320)) -> Picture.Image:
    """Returns smooth coloured ground with grain: what a camera's picture is to the statistics."""
    random = np.random.default_rng(seed)
    ground = Picture.fromarray(random.integers(0, 256, (9, 11, 3), dtype=np.uint8).astype(np.uint8))
    smooth = ground.resize(size, Picture.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    grain = random.normal(0, 7, (size[1], size[0], 1))
    return Picture.fromarray(np.clip(np.asarray(smooth, dtype=np.float64) + grain, 0, 255).astype(np.uint8))


def jpeg(picture: Picture.Image, quality: int = 88) -> bytes:
    """Returns a picture as JPEG bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def commit_crawl(out: str, rows: list[Candidate], buckets: int = 1) -> Manifest:
    """Finishes a stage crawl with these candidates."""
    stage = Stage.open(out, "crawl", 1, Cut(buckets), {})
    entries = [write_bucket(stage.directory, "candidates", n, buckets, Candidate, rows[n::buckets])
               for n in range(buckets)]
    return stage.commit({"candidates": entries}, [funnel_of("crawl", "candidate row", [])])


def commit_images(out: str, judge: Manifest, bodies: dict[str, bytes | str], parts: int = 1) -> Manifest:
    """Finishes a stage images: URL -> bytes that arrived, or the outcome of a URL that did not."""
    asked = sorted((row for path in judge.paths("fetch") for row in read_table(path, ImageFetch)),
                   key=lambda row: row.url_key)
    stage = Stage.open(out, "images", 1, Cut(parts), {"judge": judge.digest})
    data = [bytearray() for _ in range(parts)]
    rows = []
    for place, ask in enumerate(asked):
        body = bodies.get(ask.url, "http_404")
        part = place % parts
        name = f"images/part-{part}.bin"
        arrived = isinstance(body, bytes)
        offset = len(data[part])
        if isinstance(body, bytes):
            data[part] += body + b"padding"
        rows.append(Image(
            url_key=ask.url_key, url=ask.url, outcome="ok" if arrived else str(body),
            http_status=200 if arrived else 404, final_url=ask.url, fetched_at="2026-01-02T00:00:00.000000Z",
            signals=(), permission="allow", format="jpg" if arrived else "", width=0, height=0,
            num_bytes=len(body) if arrived else 0, sha256=hashlib.sha256(body).hexdigest()  # type: ignore[arg-type]
            if arrived else "", part=name if arrived else "", offset=offset if arrived else 0,
            length=len(body) if arrived else 0))
    for part, content in enumerate(data):
        storage.commit_bytes(storage.join(out, f"images/part-{part}.bin"), bytes(content))
    entries = [write_bucket(stage.directory, "images", 0, 1, Image, rows)]
    return stage.commit({"images": entries}, [funnel_of("images", "image URL", entries)])


def rows_of(manifest: Manifest, table: str, record: type) -> list[Any]:
    """Returns all rows of a table."""
    return [row for path in manifest.paths(table) for row in read_table(path, record)]
