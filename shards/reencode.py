"""A smaller picture of an image, as JPEG: the same bytes and settings, the same JPEG.

Modes are named as img2dataset names them.  The rules of filter/decode.py (S11) hold for what is decoded: first frame of
an animation, 16 bits scaled to 8, CMYK as Pillow converts it, transparency on white, upright.
"""
from __future__ import annotations

import dataclasses
import io

from PIL import Image, ImageCms, ImageOps

from crawl.errors import UsageError
from filter.decode import MAX_PIXELS, decode

MODES = ("keep_ratio", "keep_ratio_largest", "center_crop", "border", "no")
QUALITY = 95
# libjpeg's own limit; the format's is 65,535.
_MAX_JPEG_SIDE = 65_500
_MAX_PROFILE = 4 << 20             # bytes; the largest profile in common use, of a printer, has 2.7 MB
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@dataclasses.dataclass(frozen=True)
class ReencodeConfig:
    """Whether and how images are made smaller; by default they are stored byte for byte."""

    image_size: int = 0            # px of the side that `resize` names; 0: nothing is resized
    resize: str = "keep_ratio"     # the shorter side; keep_ratio_largest, border: the longer; center_crop: a square
    quality: int = QUALITY         # of the JPEG
    only_if_bigger: bool = True    # an image that is no bigger keeps its bytes; false: it is enlarged

    def __post_init__(self) -> None:
        if self.resize not in MODES or not 1 <= self.quality <= 100 or not 0 <= self.image_size <= 16_384:
            raise ValueError(f"reencode: resize {self.resize!r} is one of {', '.join(MODES)}; quality {self.quality} "
                             f"is 1 to 100, image_size {self.image_size} 0 to 16384")

    @property
    def on(self) -> bool:
        """Returns whether any image is encoded again."""
        return self.image_size > 0 or self.resize == "no"

    def check(self) -> None:
        """Raises UsageError for settings that contradict each other or would do nothing."""
        if self.resize == "no" and self.image_size:
            raise UsageError(f"resize 'no' and image size {self.image_size} exclude each other; leave one out")
        if not self.on and self != ReencodeConfig():
            raise UsageError("resize, quality and only_if_bigger do nothing without an image size; add --image-size N, "
                             "or --resize no to encode images at their own size")


@dataclasses.dataclass(frozen=True, slots=True)
class Encoded:
    """A JPEG, or the reason why there is none."""

    reason: str                    # "" with data
    data: bytes = b""
    width: int = 0
    height: int = 0


def is_bigger(width: int, height: int, config: ReencodeConfig) -> bool:
    """Returns whether the side that the mode names is longer than the image size; with "no" each image counts."""
    if config.resize == "no":
        return True
    longer = config.resize in ("border", "keep_ratio_largest")
    return (max if longer else min)(width, height) > config.image_size


def scaled(width: int, height: int, config: ReencodeConfig) -> tuple[int, int]:
    """Returns the size after resizing and before anything is cut off or added, at least 1 x 1.

    >>> scaled(800, 600, ReencodeConfig(image_size=300))
    (400, 300)
    >>> scaled(800, 600, ReencodeConfig(image_size=300, resize="border"))
    (300, 225)
    """
    if config.resize == "no" or (config.only_if_bigger and not is_bigger(width, height, config)):
        return width, height
    side = max(width, height) if config.resize in ("border", "keep_ratio_largest") else min(width, height)
    across, down = (max(1, (2 * each * config.image_size + side) // (2 * side)) for each in (width, height))
    return across, down


def reencode(data: bytes, size: tuple[int, int], config: ReencodeConfig) -> Encoded:
    """Returns an image as baseline JPEG (4:2:0, no metadata), upright, in sRGB where a profile of RGB is embedded.

    Args:
        size: width and height as far as they are known: how far a JPEG may be reduced while it is decoded.

    Profiles of grey or CMYK images and damaged ones are left aside.  Reasons: those of `decode`, too_large_for_jpeg.
    """
    decoded = decode(data, small=min(scaled(*size, config)))
    if decoded.pixels is None:
        return Encoded(decoded.reason)
    width, height = scaled(decoded.width, decoded.height, config)
    if max(width, height) > _MAX_JPEG_SIDE or width * height > MAX_PIXELS:
        return Encoded("too_large_for_jpeg")
    picture = _resized(decoded.pixels, width, height)
    if config.only_if_bigger and not is_bigger(decoded.width, decoded.height, config):
        pass                                       # of a format that shards do not hold: its own size, as JPEG
    elif config.resize == "center_crop":
        left, top = (width - config.image_size) // 2, (height - config.image_size) // 2
        picture = picture.crop((left, top, left + config.image_size, top + config.image_size))
    elif config.resize == "border":
        picture = ImageOps.pad(picture, (config.image_size, config.image_size), color="white")
    picture = _in_srgb(picture, decoded.profile)
    picture.info = {}                              # a comment would be written again
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=config.quality, subsampling="4:2:0")
    return Encoded("", buffer.getvalue(), *picture.size)


def _resized(picture: Image.Image, width: int, height: int) -> Image.Image:
    if picture.size == (width, height):
        return picture
    # Every pixel counts by its area on the way down; on the way up that would give blocks.
    down = width <= picture.width and height <= picture.height
    return picture.resize((width, height), Image.Resampling.BOX if down else Image.Resampling.LANCZOS)


def _in_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    if not 0 < len(profile) <= _MAX_PROFILE:
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != "RGB":
            return picture
        converted = ImageCms.profileToProfile(picture, source, _SRGB)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture
    return picture if converted is None else converted
