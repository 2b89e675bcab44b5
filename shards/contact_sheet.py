"""A random contact sheet: what the data looks like, on one page or in one picture, without choosing."""
from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from crawl.errors import UsageError
from shards.image_work import picture_sandbox
from shards.inspect import upright
from shards.manifest import ShardSet
from shards.reader import StoredSample, open_shard
from shards.visible import visible

TILE = 220                         # px, the longer side of a picture
MAX_SAMPLES = 2000                 # on one sheet
_MARGIN, _LINE, _LINES, _LETTERS = 10, 15, 3, 34
_STYLE = ("body{font:14px/1.4 system-ui,sans-serif;margin:16px;color:#222;background:#fff}main{display:grid;gap:16px;"
          "grid-template-columns:repeat(auto-fill,minmax(220px,1fr))}figure{margin:0}img{max-width:100%;height:auto}"
          "small{color:#666;overflow-wrap:anywhere}")


def drawn(shards: ShardSet, number: int, seed: int, split: str = "") -> Iterator[StoredSample]:
    """Yields `number` samples (or all, where there are fewer), each equally likely; equal seeds, equal samples.

    Only indexes and the drawn samples are read.
    """
    files = shards.of_split(split) if split else shards.shards
    starts = np.cumsum([0, *(shard.samples - len(shards.removed_from(shard)) for shard in files)])
    total = int(starts[-1])
    places = np.random.Generator(np.random.Philox(key=seed)).choice(total, min(number, total), replace=False)
    for place, shard in enumerate(files):
        chosen = np.sort(places[(places >= starts[place]) & (places < starts[place + 1])]) - starts[place]
        if len(chosen):
            with open_shard(shards, shard) as reader:
                for row in chosen.tolist():
                    yield reader.sample(row)


def sheet_png(samples: Sequence[StoredSample]) -> bytes:
    """Returns a PNG: pictures in a grid, captions below them; letters the font lacks are shown as boxes."""
    from PIL import Image, ImageDraw, ImageFont
    columns = max(1, math.ceil(math.sqrt(len(samples))))
    width, height = TILE + _MARGIN, TILE + _LINES * _LINE + 2 * _MARGIN
    sheet = Image.new("RGB", (columns * width + _MARGIN, math.ceil(len(samples) / columns) * height + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for place, (sample, picture) in enumerate(zip(samples, _small(samples), strict=True)):
        left, top = _MARGIN + place % columns * width, _MARGIN + place // columns * height
        if picture is None:
            draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), fill="#ddd")
            draw.text((left + 8, top + 8), "does not decode", fill="#900", font=font)
        else:
            sheet.paste(picture, (left + (TILE - picture.width) // 2, top + (TILE - picture.height) // 2))
        for line, text in enumerate(_wrapped(visible(sample.caption))):
            draw.text((left, top + TILE + 4 + line * _LINE), text, fill="black", font=font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def sheet_html(samples: Sequence[StoredSample], title: str) -> str:
    """Returns a page without scripts or outside resources; text of the web is escaped and its unseen signs shown."""
    figures = []
    for sample, picture in zip(samples, _small(samples), strict=True):
        if picture is None:
            shown = "<p>does not decode</p>"
        else:
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=75, method=0)
            data = base64.b64encode(buffer.getvalue()).decode()
            size = f'width="{picture.width}" height="{picture.height}"'
            shown = f'<img alt="" {size} src="data:image/webp;base64,{data}">'
        score = sample.json.get("score")
        told = " · ".join(visible(str(part)) for part in (
            sample.key, f"score {score:.3f}" if isinstance(score, float) else "", sample.json.get("page_url", ""))
            if part)
        figures.append(f"<figure>{shown}<figcaption>{html.escape(visible(sample.caption))}<br>"
                       f"<small>{html.escape(told)}</small></figcaption></figure>")
    return ('<!doctype html>\n<html lang="en"><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width">'
            f"<title>{html.escape(title)}</title><style>{_STYLE}</style><h1>{html.escape(title)}</h1>\n<main>\n"
            + "\n".join(figures) + "\n</main></html>\n")


def _small(samples: Sequence[StoredSample]) -> Iterator[Any]:
    """Yields a small picture of each sample, None for one that does not decode."""
    with picture_sandbox(TILE) as box:
        for sample in samples:
            try:
                yield upright(sample.image, box)
            except UsageError:
                yield None


def _wrapped(text: str) -> list[str]:
    import textwrap
    return textwrap.wrap(text, _LETTERS, max_lines=_LINES, placeholder=" …")
