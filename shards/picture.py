"""A small picture of an image, for a page."""
from __future__ import annotations

import io

from PIL import Image

from filter.decode import decode

SIDE = 96                          # px, the longer side


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
