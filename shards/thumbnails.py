"""Small pictures for the report, made when it is written: rows carry addresses of images, never pictures."""
from __future__ import annotations

import io
from collections.abc import Set
from typing import Any

from PIL import Image

from crawl import storage
from crawl.stages import Manifest
from filter.decode import decode
from shards.census import rows

SIDE = 96                          # px, the longer side


def thumbnail(out: str, row: dict[str, Any]) -> bytes:
    """Returns a WebP of the image at a row's address (part, offset, length); empty where there is no picture."""
    if not row["part"]:
        return b""
    try:
        data = storage.read_range(storage.join(out, row["part"]), row["offset"], row["length"])
    except (FileNotFoundError, EOFError):      # the parts may be gone once the shards stand; the page says "no picture"
        return b""
    return small_picture(data)


def small_picture(data: bytes, side: int = SIDE) -> bytes:
    """Returns a WebP of an image, upright, its longer side at most `side` px; empty for what is no image."""
    pixels = decode(data, small=side).pixels
    if pixels is None:
        return b""
    small = pixels.copy()
    small.thumbnail((side, side), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60, method=0)
    return buffer.getvalue()


def addresses_of(features: Manifest, wanted: Set[str]) -> dict[str, dict[str, Any]]:
    """Returns sha256 -> address of the wanted images."""
    return {row["sha256"]: row for row in rows(features, "features", ("sha256", "part", "offset", "length"))
            if row["sha256"] in wanted}
