"""What image a body is, from its first bytes: format and size from the header, every read bounded, nothing decoded.

JPEG (ITU-T T.81), PNG (W3C), GIF89a, WebP (RFC 9649), BMP.
"""
from __future__ import annotations

import dataclasses
import re
import struct

_OTHERS = (b"II*\x00", b"MM\x00*", b"8BPS", b"\x00\x00\x01\x00", b"\x00\x00\x02\x00", b"\xff\x0a", b"icns",
           b"\x76\x2f\x31\x01", b"\x00\x00\x00\x0cJXL ", b"\x00\x00\x00\x0cjP  ",
           b"%!PS", b"SIMPLE  =", b"FLIF", b"BPG\xfb", b"qoif")
_MAX_JPEG_SEGMENTS = 2000
_FILL = re.compile(rb"\xff+")      # T.81, B.1.1.2: any number of them before a marker
# Start of frame, baseline to lossless; C4, C8 and CC are tables (T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclasses.dataclass(frozen=True, slots=True)
class Sniffed:
    """The header of an image, or why it is none that we take."""

    format: str                    # jpg, png, gif, webp, bmp; "" with a reason
    width: int                     # px as stored
    height: int
    reason: str                    # "" when taken; empty_body, not_an_image, unsupported_format, ... otherwise


def is_served_otherwise(content_type: str, found: str) -> bool:
    """Returns whether a server names another image format than the bytes have.

    What names no format (no header, application/octet-stream) says nothing of it; text/html does.

    >>> is_served_otherwise("image/jpeg; q=1", "webp"), is_served_otherwise("image/pjpeg", "jpg")
    (True, False)
    >>> is_served_otherwise("binary/octet-stream", "png"), is_served_otherwise("text/html", "png")
    (False, True)
    """
    named = content_type.partition(";")[0].strip().lower()
    if not found or named in ("", "image/*") or named.endswith("octet-stream"):
        return False
    return named not in _MEDIA_TYPES[found]


def sniff(data: bytes, max_pixels: int = 64_000_000) -> Sniffed:
    """Returns format and size of an image, or the reason it is not taken.

    >>> sniff(b"GIF89a" + bytes([16, 0, 8, 0, 0, 0, 0]))
    Sniffed(format='gif', width=16, height=8, reason='')
    >>> sniff(b"<!doctype html>").reason
    'not_an_image'
    """
    if not data:
        return Sniffed("", 0, 0, "empty_body")
    for name, is_format, read_size in _FORMATS:
        if is_format(data):
            try:
                width, height = read_size(data)
            except (struct.error, IndexError):
                width = height = 0
            if width <= 0 or height <= 0:
                return Sniffed("", 0, 0, "broken_image_header")
            if width * height > max_pixels:
                return Sniffed(name, width, height, "too_many_pixels")
            return Sniffed(name, width, height, "")
    if data.startswith(_OTHERS) or data[4:8] == b"ftyp" or b"<svg" in data[:1024].lower():
        return Sniffed("", 0, 0, "unsupported_format")
    return Sniffed("", 0, 0, "not_an_image")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    at = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        fill = _FILL.match(data, at)
        if not fill:
            return 0, 0
        at = fill.end()
        marker = data[at]
        at += 1
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return width, height
        if marker in (0x00, 0xD9, 0xDA):             # the picture begins (or ends) and no frame was declared
            return 0, 0
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:   # stand-alone
            continue
        length = struct.unpack_from(">H", data, at)[0]
        if length < 2:
            return 0, 0
        at += length
    return 0, 0


def _png_size(data: bytes) -> tuple[int, int]:
    length, kind, width, height = struct.unpack_from(">I4sII", data, 8)
    return (width, height) if kind == b"IHDR" and length == 13 and max(width, height) < 1 << 31 else (0, 0)


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            return 0, 0
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        if data[20] != 0x2F:
            return 0, 0
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        struct.unpack_from("<6s", data, 24)          # bounds
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return 0, 0


def _bmp_size(data: bytes) -> tuple[int, int]:
    header = struct.unpack_from("<I", data, 14)[0]
    if header == 12:
        width, height = struct.unpack_from("<HH", data, 18)
        return width, height
    width, height = struct.unpack_from("<ii", data, 18)
    return width, abs(height)                        # negative: rows from the top


_MEDIA_TYPES = {"jpg": ("image/jpeg", "image/jpg", "image/pjpeg", "image/jfif"), "png": ("image/png", "image/x-png"),
                "gif": ("image/gif",), "webp": ("image/webp",),
                "bmp": ("image/bmp", "image/x-bmp", "image/x-ms-bmp", "image/x-windows-bmp")}
_FORMATS = (
    ("jpg", lambda data: data.startswith(b"\xff\xd8\xff"), _jpeg_size),
    ("png", lambda data: data.startswith(b"\x89PNG\r\n\x1a\n"), _png_size),
    ("gif", lambda data: data.startswith((b"GIF87a", b"GIF89a")), _gif_size),
    ("webp", lambda data: data.startswith(b"RIFF") and data[8:12] == b"WEBP", _webp_size),
    ("bmp", lambda data: data.startswith(b"BM") and data[6:10] == b"\0\0\0\0", _bmp_size),
)
