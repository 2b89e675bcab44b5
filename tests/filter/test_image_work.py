"""Images in the sandbox: the same facts as outside, hostile files as rows with a reason, and what decoding may cost."""
from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib

import numpy as np
import pytest
from PIL import Image as Pillow

from crawl.records import Image
from filter.decode import MAX_PIXELS
from filter.facts import image_facts
from filter.image_work import image_sandbox, measured_images
from tests.crawl.test_page_work import peak_of

NASTY = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / "images_nasty"


def row_of(data, **changes):
    """Returns the row of a stored image."""
    row = Image(url_key="0" * 32, url="http://a.example/a", outcome="ok", http_status=200, final_url="", fetched_at="",
                signals=(), permission="allow", format="jpg", width=1, height=1, num_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(), part="p.tar", offset=512, length=len(data))
    return dataclasses.replace(row, **changes)


def encoded(name, side=400, mode="RGB"):
    """Returns an image of noise in a format."""
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, len(mode)), dtype=np.uint8)
    buffer = io.BytesIO()
    Pillow.fromarray(pixels, mode).save(buffer, name)
    return buffer.getvalue()


def test_facts_are_those_of_a_decode_outside():
    stored = [(row_of(data), data) for data in (
        encoded("JPEG"), encoded("PNG", mode="RGBA"), encoded("WEBP"), encoded("GIF"), b"no image", b"",
        encoded("JPEG")[:9000])]
    with image_sandbox(MAX_PIXELS) as box:
        found = list(measured_images(box, stored))
    assert found == [dataclasses.replace(image_facts(row, data), md5=hashlib.md5(data).hexdigest())
                     for row, data in stored]
    assert [one.outcome for one in found] == [*["decoded"] * 4, *["unsupported_format"] * 2, "truncated_image"]


def test_other_bytes_than_the_rows_are_not_even_sent():
    data = encoded("PNG")
    with image_sandbox(MAX_PIXELS) as box:
        assert [one.outcome for one in measured_images(box, [(row_of(data, sha256="00" * 32), data)])] == [
            "bytes_differ"]


def test_facts_of_another_image_are_a_crash(monkeypatch):
    monkeypatch.setattr("filter.image_work._is_of", lambda facts, row: False)
    data = encoded("PNG")
    with image_sandbox(MAX_PIXELS) as box:
        assert [one.outcome for one in measured_images(box, [(row_of(data), data)])] == ["decode_crashed"]


def test_the_nasty_images_take_no_more_than_a_gibibyte():
    if not NASTY.is_dir():
        pytest.skip("no nasty images beside this checkout")
    stored = [(row_of(path.read_bytes()), path.read_bytes()) for path in sorted(NASTY.rglob("*")) if path.is_file()]
    with image_sandbox(MAX_PIXELS) as box:
        found = list(measured_images(box, stored))
        peak_kib = peak_of(box)
    assert len(found) == len(stored) > 10
    outcomes = {one.outcome for one in found}
    assert "decoded" in outcomes and outcomes - {"decoded"}
    assert 0 < peak_kib <= 1 << 20
