"""Images decoded in the sandbox for the shards: cells or pixels of a picture, and small pictures for the report."""
from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np

from crawl.config import as_dict
from crawl.sandbox_client import Sandbox
from filter.decode import decode
from filter.image_work import LIMITS, typical_images
from shards import patches
from shards.patches import PatchesConfig
from shards.picture import small_picture
from shards.reencode import Encoded, ReencodeConfig, reencode

_REASON = re.compile(r"[a-z_]{1,40}")
_MAX_THUMBNAIL = 1 << 20           # bytes
_SUFFIXES = ("jpg", "png", "webp", "gif")


def cell_sandbox(config: PatchesConfig) -> Sandbox[np.ndarray | str]:
    """Returns a sandbox that answers an image with its cells, u8 (grid * grid, D), or why there are none."""
    def read(value: Any, body: bytes) -> np.ndarray | str:
        if value != "":
            if type(value) is not str or not _REASON.fullmatch(value):
                raise ValueError("a reason that is none")
            return value
        return np.frombuffer(body, np.uint8).reshape(config.num_regions, config.feature_dim)
    return Sandbox("shards.image_work:open_cells", read, as_dict(config), LIMITS)


def open_cells(settings: Any) -> Any:
    """Returns the work of a sandbox: the cells of one image."""
    config = PatchesConfig(**settings)
    _load_decoders()

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        image = patches.decode_for(data, config)
        if image.pixels is None:
            return image.reason, b""
        return "", patches.cells_of(image.pixels, config).tobytes()
    return work


def reencode_sandbox(config: ReencodeConfig) -> Sandbox[Encoded]:
    """Returns a sandbox that answers an image, its width and height the header, with a JPEG or why there is none."""
    def read(value: Any, body: bytes) -> Encoded:
        reason, width, height = value
        if type(reason) is not str or bool(reason) == bool(body) or reason and not _REASON.fullmatch(reason):
            raise ValueError("neither a JPEG nor a reason")
        if type(width) is not int or type(height) is not int or body and (width < 1 or height < 1):
            raise ValueError("a size that is none")
        return Encoded(reason, body, width, height)
    return Sandbox("shards.image_work:open_reencode", read, as_dict(config), LIMITS)


def open_reencode(settings: Any) -> Any:
    """Returns the work of a sandbox: an image encoded again."""
    config = ReencodeConfig(**settings)
    for data in typical_images():
        reencode(data, (2, 2), config)

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        encoded = reencode(data, tuple(header), config)
        return [encoded.reason, encoded.width, encoded.height], encoded.data
    return work


def thumbnail_sandbox() -> Sandbox[bytes]:
    """Returns a sandbox that answers an image with a small WebP, empty for what is no image."""
    def read(value: Any, body: bytes) -> bytes:
        if len(body) > _MAX_THUMBNAIL:
            raise ValueError("no small picture")
        return body
    return Sandbox("shards.image_work:open_thumbnails", read, None, LIMITS)


def open_thumbnails(settings: Any) -> Any:
    """Returns the work of a sandbox: one small picture."""
    _load_decoders()
    return lambda header, data: (None, small_picture(data))


@dataclasses.dataclass(frozen=True, slots=True)
class Picture:
    """What an image turned out to be."""

    reason: str                    # "" for one that decodes, else truncated_image, decode_failed, crashed, ...
    format: str = ""               # jpg, png, webp, gif
    width: int = 0                 # px after orientation
    height: int = 0
    pixels: bytes = b""            # RGB, upright, where they were asked for


def picture_sandbox(side: int = 0) -> Sandbox[Picture]:
    """Returns a sandbox that answers an image with what it is; with `side` also its pixels, no side of them longer."""
    def read(value: Any, body: bytes) -> Picture:
        reason, kind, width, height = value
        if type(reason) is not str or reason and not _REASON.fullmatch(reason) or kind not in ("", *_SUFFIXES):
            raise ValueError("a reason or a format that is none")
        if type(width) is not int or type(height) is not int or min(width, height) < 0:
            raise ValueError("a size that is none")
        if side and not reason and (len(body) != 3 * width * height or not body):
            raise ValueError("pixels of another size")
        return Picture(reason, kind, width, height, body)
    return Sandbox("shards.image_work:open_pictures", read, side, LIMITS)


def open_pictures(settings: Any) -> Any:
    """Returns the work of a sandbox: what an image is, and its pixels where a longest side is given."""
    for data in typical_images():
        decode(data)

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        found = decode(data)
        if found.pixels is None:
            return [found.reason, found.format, found.width, found.height], b""
        if not settings:
            return ["", found.format, found.width, found.height], b""
        found.pixels.thumbnail((settings, settings))
        return ["", found.format, *found.pixels.size], found.pixels.tobytes()
    return work


def _load_decoders() -> None:
    for data in typical_images():
        small_picture(data)
