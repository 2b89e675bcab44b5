"""Work (b) of the fetch benchmark: images of 256 x 256 px with a white border, JPEG quality 95, and how alike both are.

    python -m benchmarks.fetch_resize --out OUT        runs the stage `reencoded` over what the stage `images` stored

Ours are two commands, `images` and this one: in a build the rules of `filter` stand between them, which choose what is
stored at all.  Here everything that arrived is taken (`take_all`, not measured).  So ours keeps the original bytes as
well, reads them back, and decodes in the sandbox; img2dataset decodes in its own process and drops the original.
"""
from __future__ import annotations

import argparse
import collections
import io
import itertools
import math
import pathlib
import tarfile
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image as Pillow
from PIL import ImageOps

from crawl.records import Image
from crawl.stages import Stage, current_manifest
from crawl.storage import join, read_range
from crawl.tables import read_table, write_table
from filter.records import Best
from shards.records import StoredBest
from shards.reencode import ReencodeConfig, scaled

SIZE, QUALITY = 256, 95
CONFIG = ReencodeConfig(image_size=SIZE, resize="border", quality=QUALITY, only_if_bigger=False)
PEER_WORK = ("--resize_mode=border", f"--image_size={SIZE}", "--resize_only_if_bigger=False",
             f"--encode_quality={QUALITY}")
_COMPARED = 200                    # pictures whose likeness is taken


def take_all(out: str) -> None:
    """Writes a stage `filter` that keeps every image, so that `reencoded` has something to read."""
    images = current_manifest(out, "images")
    rows = sorted((_best(image) for path in images.paths("images") for image in read_table(path, Image)
                   if image.outcome == "ok"), key=lambda row: row.key)
    stage = Stage.open(out, "filter", 1, CONFIG, {"images": images.digest})
    stage.commit({"best": [write_table(stage.directory, "best.parquet", Best, rows)]}, [])


def _best(image: Image) -> Best:
    return Best(
        key=image.sha256[:32], image_sha256=image.sha256, caption="", source="", score=0.0, split="train", texts=(),
        image_url=image.url, page_url="", image_urls=(image.url,), num_occurrences=1, format=image.format,
        width=image.width, height=image.height, orientation=1, perceptual_hash="", caption_hash="", group_hash="",
        natural=0.0, page_language="", permission=image.permission, signals=(), page_record_id="", page_sha256="",
        page_fetched_at="", image_fetched_at=image.fetched_at, part=image.part, offset=image.offset,
        length=image.length)


def our_pictures(out: str) -> Iterator[tuple[str, bytes]]:
    """Yields (URL, JPEG) of what the stage `reencoded` stored."""
    for path in current_manifest(out, "reencoded").paths("best"):
        for row in read_table(path, StoredBest):
            if row.outcome == "reencoded":
                yield row.image_url, read_range(join(out, row.part), row.offset, row.length)


def their_pictures(out: pathlib.Path) -> Iterator[tuple[str, bytes]]:
    """Yields (URL, JPEG) of what img2dataset stored."""
    for table in sorted(out.glob("*.parquet")):
        urls = {row["key"]: row["url"] for row in pq.read_table(table, columns=["key", "url"]).to_pylist()}
        with tarfile.open(table.with_suffix(".tar")) as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    assert file is not None
                    yield urls[member.name.removesuffix(".jpg")], file.read()


def likeness(ours: Mapping[str, bytes], theirs: Mapping[str, bytes], originals: pathlib.Path) -> dict[str, float]:
    """Returns the median PSNR in dB between the sides, and of each to the exact picture; raises where sizes differ.

    Exact is each pixel of the whole original by its area; `exact_as_jpeg` is what JPEG alone takes from that.
    """
    found: dict[str, list[float]] = collections.defaultdict(list)
    for url in itertools.islice(sorted(ours.keys() & theirs.keys()), _COMPARED):
        exact, as_jpeg = _exact(originals / urllib.parse.urlsplit(url).path.lstrip("/"))
        one, other = (_pixels(side[url]) for side in (ours, theirs))
        for name, pair in (("between", (one, other)), ("ours", (one, exact)), ("img2dataset", (other, exact)),
                           ("exact_as_jpeg", (as_jpeg, exact))):
            if pair[0].shape != pair[1].shape:
                raise AssertionError(f"{url}: {pair[0].shape} and {pair[1].shape}")
            found[name].append(10 * math.log10(255**2 / max(float(np.mean((pair[0] - pair[1]) ** 2)), 1e-9)))
    return {"pictures": len(found["between"])} | {
        f"{name}_db": round(float(np.median(values)), 1) for name, values in found.items()}


def _exact(path: pathlib.Path) -> tuple[Any, Any]:
    picture = Pillow.open(path).convert("RGB")
    picture = picture.resize(scaled(*picture.size, CONFIG), Pillow.Resampling.BOX)
    picture = ImageOps.pad(picture, (SIZE, SIZE), color="white")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return np.asarray(picture, np.float64), _pixels(buffer.getvalue())


def _pixels(data: bytes) -> Any:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"), np.float64)


def main() -> None:
    """Runs the stage `reencoded`."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", required=True)
    args = options.parse_args()
    from imagebert import beam_runner
    from shards.reencode_run import reencoded
    reencoded(args.out, CONFIG, beam_runner(1, []))


if __name__ == "__main__":
    main()
