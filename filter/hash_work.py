"""The perceptual hash of one picture, taken in the sandbox: crawl/block_list.py knows this module by name."""
from __future__ import annotations

from typing import Any

from filter.facts import picture_hash
from filter.image_work import typical_images


def open_work(settings: Any) -> Any:
    """Returns the work of a sandbox: bytes in, 16 hex digits out, "" for what does not decode."""
    max_pixels = int(settings["max_pixels"])
    for data in typical_images():
        picture_hash(data, max_pixels)

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        return picture_hash(data, max_pixels), b""
    return work
