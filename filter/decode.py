"""Image bytes -> pixels, bounded: formats from a list, pixels counted before they are decoded, nothing half decoded.

Crawling reference, S11.  Whatever the bytes are, the answer is pixels or a reason.
"""
from __future__ import annotations

import dataclasses
import io
import struct
import warnings
import zlib
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_SUFFIXES = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}
MAX_PIXELS = 64_000_000            # 192 MB as RGB
_ORIENTATION_TAG = 0x0112
# What Pillow's decoders raise on broken bytes; anything else is a bug and is let through.
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, OverflowError, AttributeError,
           AssertionError, struct.error, zlib.error, ZeroDivisionError, RuntimeError, NotImplementedError)


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image: upright RGB pixels, or the reason why there are none."""

    reason: str                    # "" with pixels
    pixels: Image.Image | None     # RGB, oriented; smaller than the image by a power of two where `small` allowed it
    format: str = ""               # jpg, png, webp, gif
    width: int = 0                 # px of the image itself, after orientation
    height: int = 0
    orientation: int = 1           # EXIF, 1..8
    mode: str = ""                 # before conversion
    profile: bytes = b""           # the embedded ICC profile, as it was sent; the pixels are not converted by it


def decode(data: bytes, max_pixels: int = MAX_PIXELS, small: int = 0) -> Decoded:
    """Returns the first frame of an image as upright RGB on white, or a reason.

    Args:
        small: if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as both sides stay at least this.

    Reasons: unsupported_format, too_many_pixels, truncated_image, decode_failed.
    """
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")            # of odd EXIF or of many pixels: the count below is the rule
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:
            return Decoded("unsupported_format", None)
        except Image.DecompressionBombError:
            return Decoded("too_many_pixels", None)
        except MemoryError:
            return Decoded("decode_failed", None)
        except _BROKEN:
            return Decoded("decode_failed", None)
        with image:
            return _load(image, max_pixels, small)


def _load(image: Image.Image, max_pixels: int, small: int) -> Decoded:
    width, height = image.size
    facts: dict[str, Any] = {"format": _SUFFIXES.get(image.format or "", ""), "mode": image.mode}
    if width * height > max_pixels:
        return Decoded("too_many_pixels", None, width=width, height=height, **facts)
    orientation, profile = 1, b""
    try:
        orientation = _orientation(image)
        if orientation >= 5:
            width, height = height, width
        if small and image.format == "JPEG":
            image.draft("RGB", (small, small))
        image.load()
        profile = image.info.get("icc_profile") or b""
        pixels = ImageOps.exif_transpose(_to_rgb(image)) if orientation != 1 else _to_rgb(image)
    except OSError as error:
        reason = "truncated_image" if "truncated" in str(error) or "incomplete" in str(error) else "decode_failed"
        return Decoded(reason, None, width=width, height=height, orientation=orientation, **facts)
    except MemoryError:
        return Decoded("decode_failed", None, width=width, height=height, orientation=orientation, **facts)
    except _BROKEN:
        return Decoded("decode_failed", None, width=width, height=height, orientation=orientation, **facts)
    return Decoded("", pixels, width=width, height=height, orientation=orientation, profile=profile, **facts)


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _BROKEN:                                # EXIF that cannot be read turns nothing
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    """16-bit is scaled to 8 (Pillow would clip it), transparency is laid on white."""
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")
    elif image.mode in ("I", "F"):
        low, high = image.getextrema()
        scale = 255 / max(float(high), 255.0)      # type: ignore[arg-type]
        image = image.point(lambda value: value * scale).convert("L")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        rgba = image.convert("RGBA")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")
