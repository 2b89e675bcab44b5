"""Rows for benchmarks/aggregation.py, each made from its number alone: hot keys, clusters, flat images."""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import apache_beam as beam

from crawl.records import Image
from filter.records import Caption, ImageFacts, Judged

_CHUNK = 5000
_THINGS = ("heron", "barn", "boat", "bridge", "street", "garden", "window", "mountain", "horse", "train", "river",
           "market")
_PLACES = ("by the lake", "in the old town", "under a grey sky", "near the station", "on a hill",
           "in the morning light")


@dataclasses.dataclass(frozen=True)
class Rows:
    """How many rows there are, and how many of each kind, from number 0 on."""

    total: int
    hot: int                       # rows of the one caption, and as many URLs of the one image

    def kind(self, number: int) -> str:
        """Returns what a row is."""
        for name, share in (("hot image", self.hot), ("hot caption", self.hot), ("cluster", self.total // 20),
                            ("flat", self.total // 100)):
            if number < share:
                return name
            number -= share
        return "plain"


def made(rows: Rows, number: int) -> tuple[Judged, Image, ImageFacts]:
    """Returns the judged row, the fetched image and its facts of one number."""
    kind = rows.kind(number)
    dice = hashlib.sha256(b"row %d" % number).digest()
    host = "big.example" if dice[0] < 77 else f"h{int.from_bytes(dice[1:3]) % 5000}.example"
    url, page = f"https://{host}/i/{number}.jpg", f"https://{host}/p/{number // 4}"
    sha256, hashes = dice.hex(), dice[:16]
    if kind == "hot image":
        sha256 = hashlib.sha256(b"hot").hexdigest()
        hashes = bytes.fromhex(sha256)[:16]
    elif kind == "cluster":        # of 10: the same hashes with two bits turned
        centre = int.from_bytes(hashlib.sha256(b"cluster %d" % (number // 10)).digest()[:16])
        hashes = (centre ^ 1 << dice[3] % 128 ^ 1 << dice[4] % 128).to_bytes(16)
    text = _caption(0 if kind == "hot caption" else zipf(dice, rows.total))
    judged = Judged(
        occurrence=f"{number:032x}", image_key=f"{number:032x}", image_url=url, page_key=f"{number // 4:032x}",
        page_url=page, outcome="fetch", captions=(Caption("alt", text, text, ""),), page_language="en",
        ordinal=number % 4, images_on_page=4, in_main=True, permission="allow", signals=(), page_record_id="",
        page_sha256="0" * 64, page_fetched_at="2026-01-01T00:00:00.000000Z", page_title="A page of pictures")
    image = Image(url_key=judged.image_key, url=url, outcome="ok", http_status=200, final_url=url,
                  fetched_at="2026-01-01T00:00:00.000000Z", signals=(), permission="allow", format="jpg", width=640,
                  height=480, num_bytes=50_000, sha256=sha256, part="images/p.tar", offset=number * 512, length=50_000)
    facts = ImageFacts(
        sha256=sha256, outcome="decoded", format="jpg", width=640, height=480, orientation=1, mode="RGB",
        num_bytes=50_000, part="images/p.tar", offset=image.offset, length=50_000,
        deviation=0.0 if kind == "flat" else 50.0, entropy=9.0, perceptual_hash=hashes[:8].hex(),
        difference_hash=hashes[8:].hex(), natural=0.875, colours=(0.25, 0.25, 0.25, 0.25, *([0.0] * 7)))
    return judged, image, facts


def zipf(dice: bytes, total: int) -> int:
    """A rank from 1 on, drawn so that rank r comes about 1/r as often as the first."""
    return int(total ** (int.from_bytes(dice[8:16]) / 2 ** 64))


def _caption(rank: int) -> str:
    first, place, second = _THINGS[rank % 12], _PLACES[rank // 12 % 6], _THINGS[rank // 72 % 12]
    return f"A {first} {place} with a {second} behind it" + (f", number {rank // 864}" if rank >= 864 else "")


class MadeTables(beam.PTransform):
    """Nothing -> rows of {judged, images, features}; the hot image has one row of facts."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows

    def expand(self, root: Any) -> Any:
        found = (root | beam.Create(range(0, self.rows.total, _CHUNK)) | "Spread" >> beam.Reshuffle()
                 | beam.FlatMap(self._chunk).with_outputs("judged", "images", "features"))
        return {name: found[name] for name in ("judged", "images", "features")}

    def _chunk(self, start: int) -> Iterator[Any]:
        for number in range(start, min(start + _CHUNK, self.rows.total)):
            judged, image, facts = made(self.rows, number)
            yield beam.pvalue.TaggedOutput("judged", judged)
            yield beam.pvalue.TaggedOutput("images", image)
            if number == 0 or self.rows.kind(number) != "hot image":
                yield beam.pvalue.TaggedOutput("features", facts)
