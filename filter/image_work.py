"""Images decoded in the sandbox: a row and its bytes in, the facts of the picture out.

`open_work` runs in the sandbox (crawl/sandbox.py), `measured_images` in the worker.
"""
from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from typing import Any

from PIL import Image as pillow

from crawl.flat import flat, unflat
from crawl.records import Image
from crawl.sandbox_client import Sandbox, SandboxLimits
from filter.decode import FORMATS
from filter.facts import image_facts, no_facts
from filter.records import ImageFacts

# The largest picture that is decoded takes some seconds on a busy machine.
LIMITS = SandboxLimits(item_s=30.0)
_REASON = re.compile(r"[a-z_]{1,40}")


def open_work(settings: Any) -> Any:
    """Returns the work of a sandbox: the facts of one image."""
    max_pixels = int(settings["max_pixels"])
    for data in typical_images():
        image_facts(_row(data), data, max_pixels)

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        return flat(image_facts(unflat(Image, header), data, max_pixels)), b""
    return work


def image_sandbox(max_pixels: int) -> Sandbox[ImageFacts]:
    """Returns a sandbox for `measured_images`, to be closed by whoever holds it."""
    return Sandbox("filter.image_work:open_work", _read, {"max_pixels": max_pixels}, LIMITS)


def measured_images(box: Sandbox[ImageFacts], stored: Iterable[tuple[Image, bytes]]) -> Iterator[ImageFacts]:
    """Yields the facts of each stored image, in order.

    Bytes that are not those of the row end as bytes_differ; bytes that kill the sandbox, hang or swell in it as
    decode_crashed, decode_timeout, decode_out_of_memory.
    """
    def intact() -> Iterator[tuple[tuple[Image, bool, str], Any, bytes]]:
        for row, data in stored:
            same = hashlib.sha256(data).hexdigest() == row.sha256
            md5 = hashlib.md5(data, usedforsecurity=False).hexdigest() if same else ""
            yield (row, same, md5), flat(row), data if same else b""

    for (row, same, md5), answer in box.map(intact()):
        facts = answer.result
        if not same:
            yield no_facts(row, "bytes_differ")
        elif facts is None or not _is_of(facts, row):
            yield dataclasses.replace(no_facts(row, f"decode_{answer.reason or 'crashed'}"), md5=md5)
        else:
            yield dataclasses.replace(facts, md5=md5)


def typical_images() -> Iterator[bytes]:
    """Yields an image of each format: decoding them loads what a decoder loads late, before the sandbox closes."""
    for name in FORMATS:
        buffer = io.BytesIO()
        pillow.new("RGB", (2, 2)).save(buffer, name)
        yield buffer.getvalue()


def _read(value: Any, body: bytes) -> ImageFacts:
    """Returns what the child said, checked; raises ValueError for what `open_work` would not say."""
    facts = unflat(ImageFacts, value)
    if not _REASON.fullmatch(facts.outcome):
        raise ValueError("an outcome that is none")
    return facts


def _is_of(facts: ImageFacts, row: Image) -> bool:
    return (facts.sha256, facts.part, facts.offset, facts.length) == (row.sha256, row.part, row.offset, row.length)


def _row(data: bytes) -> Image:
    return Image(url_key="", url="", outcome="ok", http_status=200, final_url="", fetched_at="", signals=(),
                 permission="", format="", width=1, height=1, num_bytes=len(data), sha256="", part="", offset=0,
                 length=len(data))
