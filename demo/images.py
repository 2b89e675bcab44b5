"""The bytes of every image on the synthetic web: scenes, and all that is not worth keeping."""
from __future__ import annotations

import dataclasses
import functools
import io
import random
import struct
import zlib

from PIL import Image, ImageDraw, ImageFont

from demo.captions import PROFILES
from demo.plan import Slot
from demo.scenes import draw_scene, render
from demo.web import SyntheticWeb
from demo.words import dice, paragraph

BOMB_BYTES = 300 * 2 ** 20         # what a decompression bomb unpacks to
BOMB_SIDE = 30_000                 # px a side that a pixel bomb claims
SCALES = {"": 1.0, "s": 0.5, "l": 1.5}


@dataclasses.dataclass(frozen=True, slots=True)
class DrawJob:
    """One image to draw: plain values, so that it travels to another process."""

    what: str                      # scene, or a kind of demo/kinds.py
    seed: int
    number: int                    # the scene, or the slot
    profile: str
    scale: float = 1.0
    format: str = "JPEG"
    quality: int = 85
    keep_share: float = 1.0        # of the bytes: less for a truncated file


def draw(job: DrawJob) -> bytes:
    """Returns the encoded image: equal bytes for equal jobs, in any process with the same Pillow."""
    if job.what == "scene":
        scene = draw_scene(job.seed, job.number, job.profile)
        width, height = (round(side * job.scale) for side in scene.canvas)
        image = render(scene, width, height)
    else:
        image = _DRAWN[job.what](dice(job.seed, "drawn", job.number))
    data = _encode(image, job.format, job.quality)
    return data[:int(len(data) * job.keep_share)]


def job_of(web: SyntheticWeb, slot: Slot, size: str) -> DrawJob:
    """Returns how the bytes of a slot are drawn."""
    config, kind, member = web.config, slot.kind.name, slot.member
    formats = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
    job = DrawJob("scene", config.seed, slot.number, config.profile, SCALES[size], formats[slot.path.extension],
                  78 + slot.number % 4 * 4)
    if kind == "duplicate":
        assert slot.scene_id is not None
        # The same bytes, a bigger copy, a poorer one, a slightly smaller one.
        scale, quality = ((1.0, 78 + slot.scene_id % 4 * 4), (1.25, 80), (1.0, 60), (0.97, 85))[member % 4]
        return dataclasses.replace(job, number=slot.scene_id, scale=scale, quality=quality)
    if kind == "too_small":
        return dataclasses.replace(job, scale=0.45 + member % 5 * 0.1)     # at most 0.85 of 352: under 300 px
    if kind == "mislabelled":
        return dataclasses.replace(job, format="PNG")
    if kind in ("truncated", "short_body"):
        return dataclasses.replace(job, keep_share=0.45)
    if kind == "placeholder":
        return dataclasses.replace(job, what=kind, number=0, scale=1.0, quality=80)
    return dataclasses.replace(job, what=kind, scale=1.0) if kind in _DRAWN else job


def _encode(image: Image.Image, form: str, quality: int) -> bytes:
    buffer = io.BytesIO()
    options: dict[str, int] = {"PNG": {"compress_level": 1}, "WEBP": {"quality": quality, "method": 1}}.get(
        form, {"quality": quality})
    image.save(buffer, form, **options)
    return buffer.getvalue()


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _tone(rng: random.Random, low: int, high: int) -> tuple[int, int, int]:
    return rng.randint(low, high), rng.randint(low, high), rng.randint(low, high)


def _text_screenshot(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (400, 420), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 0, 400, 34), fill=_tone(rng, 200, 235))
    words = paragraph(rng, 12, "first").split()
    for line in range(19):
        pen.text((14, 8 + line * 21), " ".join(words[line * 6:line * 6 + 6]), (20, 20, 20), _font(15))
    return image


def _meme(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (400, 400), _tone(rng, 30, 200))
    pen = ImageDraw.Draw(image)
    words = paragraph(rng, 1, "second").upper().split()
    for line in range(5):
        pen.text((16, 14 + line * 78), " ".join(words[line * 2:line * 2 + 2]), (255, 255, 255), _font(40),
                 stroke_width=2, stroke_fill=(0, 0, 0))
    return image


def _chart(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (480, 360), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    colour = _tone(rng, 40, 200)
    for bar in range(9):
        pen.rectangle((44 + bar * 46, rng.randint(60, 300), 76 + bar * 46, 320), fill=colour)
        pen.text((48 + bar * 46, 326), str(2015 + bar), (60, 60, 60), _font(12))
    pen.line((38, 30, 38, 320, 460, 320), fill=(0, 0, 0), width=2)
    return image


def _flat_logo(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (400, 400), (255, 255, 255))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((60, 60, 340, 340), 60, fill=_tone(rng, 20, 220))
    pen.text((120, 150), "".join(rng.choices("ABCDEFGHKLMNPRST", k=2)), (255, 255, 255), _font(110))
    return image


def _banner(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (728, 90), _tone(rng, 40, 220))
    pen = ImageDraw.Draw(image)
    pen.text((24, 22), rng.choice(("SALE -50 %", "SUBSCRIBE NOW", "NEW IN STORE")), (255, 255, 255), _font(40))
    pen.rectangle((560, 20, 700, 70), outline=(255, 255, 255), width=3)
    return image


def _placeholder(rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (400, 400), (226, 226, 226))
    pen = ImageDraw.Draw(image)
    pen.rectangle((120, 120, 280, 250), outline=(150, 150, 150), width=6)
    pen.text((92, 280), "no picture available", (120, 120, 120), _font(22))
    return image


_DRAWN = {"text_screenshot": _text_screenshot, "meme": _meme, "chart": _chart, "flat_logo": _flat_logo,
          "banner": _banner, "placeholder": _placeholder}


@functools.lru_cache(maxsize=4096)
def chrome(path: str, host: int, seed: int) -> bytes:
    """Returns the bytes of what stands around the pictures of a site: logo, icons, masthead, advertisement, pixel."""
    name = path.rpartition("/")[2]
    rng = dice(seed, "chrome", host if name in ("logo.png", "masthead.jpg", "favicon.ico") else name)
    if name in ("pixel.gif", "lazy.gif"):
        return _encode(Image.new("P", (1, 1)), "GIF", 0)
    if name == "logo.png":
        return _encode(_flat_logo(rng).resize((180, 60)), "PNG", 0)
    if name == "masthead.jpg":
        scene = draw_scene(seed, rng.randrange(2 ** 31), PROFILES[0])
        return _encode(render(dataclasses.replace(scene, objects=()), 320, 320).resize((960, 160)), "JPEG", 80)
    if name == "sale.jpg":
        return _encode(_banner(rng), "JPEG", 80)
    return _encode(_flat_logo(rng).resize((32, 32)), "PNG", 0)


@functools.lru_cache(maxsize=1)
def pixel_bomb() -> bytes:
    """Returns a PNG of some hundred bytes whose header claims 30,000 x 30,000 RGB pixels."""
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", BOMB_SIDE, BOMB_SIDE, 8, 2, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(60_000)))
            + chunk(b"IEND", b""))


@functools.lru_cache(maxsize=1)
def gzip_bomb() -> bytes:
    """Returns a gzip body of about 300 KB that unpacks to BOMB_BYTES zeros."""
    block = bytes(2 ** 20)
    count = BOMB_BYTES // len(block)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    # After a full flush the next block starts afresh, so one packed block may be repeated.
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    crc = 0
    for _ in range(count):
        crc = zlib.crc32(block, crc)
    return (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + packed * count + packer.flush()
            + struct.pack("<II", crc, BOMB_BYTES))
