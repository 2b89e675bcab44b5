"""Small pictures for the report, made when it is written: rows carry addresses of images, never pictures."""
from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from crawl import storage
from crawl.stages import Manifest
from shards.census import rows


def thumbnails(out: str, addresses: Sequence[dict[str, Any] | None]) -> Iterator[bytes]:
    """Yields a WebP of the image at each address (part, offset, length); empty where there is no picture."""
    from shards.image_work import thumbnail_sandbox
    with thumbnail_sandbox() as box:
        for _, answer in box.map((None, None, _stored(out, row)) for row in addresses):
            yield answer.result or b""


def _stored(out: str, row: dict[str, Any] | None) -> bytes:
    if not row or not row["part"]:
        return b""
    try:
        return storage.read_range(storage.join(out, row["part"]), row["offset"], row["length"])
    except (FileNotFoundError, EOFError):      # the parts may be gone once the shards stand; the page says "no picture"
        return b""


def addresses_of(features: Manifest, wanted: Set[str]) -> dict[str, dict[str, Any]]:
    """Returns sha256 -> address of the wanted images."""
    return {row["sha256"]: row for row in rows(features, "features", ("sha256", "part", "offset", "length"))
            if row["sha256"] in wanted}
