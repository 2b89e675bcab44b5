"""The upright RGB pixels of one picture, decoded in the sandbox: what networks look at."""
from __future__ import annotations

import re
from typing import Any

import numpy as np

from crawl.sandbox_client import Sandbox
from filter.decode import decode
from filter.image_work import LIMITS, typical_images

_REASON = re.compile(r"[a-z_]{1,40}")


def pixel_sandbox(side: int) -> Sandbox[np.ndarray | str]:
    """Returns a sandbox that answers an image with its upright RGB pixels, u8 (height, width, 3), or why not.

    Args:
        side: a JPEG may be decoded smaller as long as both sides stay at least this.
    """
    def read(value: Any, body: bytes) -> np.ndarray | str:
        reason, width, height = value
        if type(width) is not int or type(height) is not int or min(width, height) < 0:
            raise ValueError("a size that is none")
        if type(reason) is not str or bool(reason) == bool(body) or reason and not _REASON.fullmatch(reason):
            raise ValueError("neither pixels nor a reason")
        return reason or np.frombuffer(body, np.uint8).reshape(height, width, 3)
    return Sandbox("filter.pixel_work:open_pixels", read, side, LIMITS)


def open_pixels(settings: Any) -> Any:
    """Returns the work of a sandbox: the pixels of one image."""
    side = int(settings)
    for data in typical_images():
        decode(data)

    def work(header: Any, data: bytes) -> tuple[Any, bytes]:
        image = decode(data, small=side)
        if image.pixels is None:
            return [image.reason, 0, 0], b""
        return ["", *image.pixels.size], image.pixels.tobytes()
    return work
