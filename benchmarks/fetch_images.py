"""The images of the fetch benchmark, rendered once: half of about 54 KB (640x480), half of about 20 KB (400x300).

Noise with the spectrum of photographs, so that JPEG has the work it has on photographs; a comment segment makes each
file's bytes its own.  Of a hundred URLs two are missing and one is an HTML page that calls itself an image.
"""
from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_SCENES = 24                       # distinct pictures; the files differ by their comment
_KINDS = ((640, 480, 54_000), (400, 300, 20_000))
_PAGE = b"<!doctype html><title>moved</title><p>This picture is gone."
_THINGS = ("boat", "bicycle", "bridge", "garden", "horse", "kitchen", "mountain", "market", "tower", "window")
_KINDS_OF = ("small", "wooden", "green", "quiet", "crowded", "broken", "painted", "narrow", "sunny", "snowy")


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """One URL of the list, and how it ends where nothing goes wrong."""

    url: str
    outcome: str                   # ok, http_404, not_an_image
    sha256: str                    # of the file; "" unless ok


def write_images(root: pathlib.Path, count: int) -> list[tuple[str, str, str]]:
    """Writes `count` files below `root`; returns (path, outcome, sha256) of each, missing ones too."""
    scenes = [_render(index) for index in range(_SCENES)]
    made = []
    for index in range(count):
        path = f"{index % 100:02d}/{index:06d}.jpg"
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if index % 100 in (33, 66):
            made.append((path, "http_404", ""))
        elif index % 100 == 99:
            target.write_bytes(_PAGE)
            made.append((path, "not_an_image", ""))
        else:
            data = _with_comment(scenes[index % _SCENES], f"picture {index:08d}".encode())
            target.write_bytes(data)
            made.append((path, "ok", hashlib.sha256(data).hexdigest()))
    return made


def write_list(path: pathlib.Path, made: list[tuple[str, str, str]], hosts: int, origin: str) -> list[Wanted]:
    """Writes the URL and caption table both sides read; `origin` is a format of the host's number."""
    wanted = [Wanted(f"{origin.format(index * 7919 % hosts)}/{name}", outcome, sha256)
              for index, (name, outcome, sha256) in enumerate(made)]
    captions = [f"A {_KINDS_OF[n % 10]} {_THINGS[n // 10 % 10]} stands beside the {_KINDS_OF[n // 100 % 10]} "
                f"{_THINGS[n // 1000 % 10]} in the morning" for n in range(len(wanted))]
    pq.write_table(pa.table({"url": [one.url for one in wanted], "caption": captions}), path)
    return wanted


def _render(index: int) -> bytes:
    """Returns a JPEG within 5 % of its size: the amplitude of the detail is searched."""
    width, height, size = _KINDS[index % len(_KINDS)]
    noise = np.random.default_rng(index).standard_normal((height, width, 3))
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :]) + 1.0 / width
    picture = np.fft.ifft2(np.fft.fft2(noise, axes=(0, 1)) / radius[..., None], axes=(0, 1)).real
    picture = 128 + 48 * (picture - picture.mean()) / picture.std()
    low, high = 20, 98
    while low < high:
        quality = (low + high) // 2
        data = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=quality)
        if abs(data.tell() - size) < 0.05 * size:
            break
        low, high = (quality + 1, high) if data.tell() < size else (low, quality)
    return data.getvalue()


def _with_comment(jpeg: bytes, text: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]
