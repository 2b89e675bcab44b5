import io
import time

import pytest
from PIL import Image

from crawl.sniff import sniff


def image(format, size=(37, 21), **options):
    buffer = io.BytesIO()
    Image.effect_noise(size, 50).convert("RGB").save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("format, name, options", [
    ("JPEG", "jpg", {}), ("JPEG", "jpg", {"progressive": True}), ("JPEG", "jpg", {"exif": b"Exif\0\0" + b"\0" * 500}),
    ("PNG", "png", {}), ("GIF", "gif", {}), ("WEBP", "webp", {}), ("WEBP", "webp", {"lossless": True}),
    ("WEBP", "webp", {"exif": b"Exif\0\0MM"}), ("BMP", "bmp", {})])
def test_format_and_size_as_pillow_wrote_them(format, name, options):
    found = sniff(image(format, **options))
    assert (found.format, found.width, found.height, found.reason) == (name, 37, 21, "")


@pytest.mark.parametrize("data, reason", [
    (b"", "empty_body"), (b"<!doctype html><img>", "not_an_image"), (b'{"a": 1}', "not_an_image"),
    (b"\0" * 64, "not_an_image"),
    (b'<?xml version="1.0"?><svg xmlns="x">', "unsupported_format"), (b"\0\0\0\x1cftypavif", "unsupported_format"),
    (b"II*\0" + b"\0" * 20, "unsupported_format"), (b"\0\0\1\0" + b"\0" * 20, "unsupported_format"),
    (b"\x89PNG\r\n\x1a\n", "broken_image_header"), (b"\xff\xd8\xff\xe0\0\x10JFIF", "broken_image_header"),
    (b"GIF89a\0\0\0\0", "broken_image_header"), (b"RIFF\0\0\0\0WEBPVP8X", "broken_image_header")])
def test_what_is_not_taken(data, reason):
    assert sniff(data).reason == reason


def test_a_pixel_bomb_is_seen_in_its_header():
    png = bytearray(image("PNG"))
    png[16:24] = (50_000).to_bytes(4, "big") * 2
    assert sniff(bytes(png)).reason == "too_many_pixels"
    assert sniff(image("PNG"), max_pixels=37 * 21 - 1).reason == "too_many_pixels"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP", "BMP"])
def test_every_prefix_and_damaged_copy_is_judged_without_raising(format):
    data = image(format)
    for length in range(min(len(data), 700)):
        sniff(data[:length])
    for at in range(min(len(data), 300)):
        sniff(data[:at] + b"\xff" + data[at + 1:])
        sniff(data[:at] + b"\0" + data[at + 1:])


def test_fill_bytes_are_passed_over_at_once():
    began = time.process_time()
    assert sniff(b"\xff\xd8" + b"\xff" * (16 << 20)).reason == "broken_image_header"
    assert time.process_time() - began < 0.25
