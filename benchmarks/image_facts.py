"""Images a core-second through the sandbox: one decode, facts, two hashes, colours, the natural-image classifier.

    python -m benchmarks.image_facts --shared ../shared

Photographs of flickr8k enlarged to 1024x768, JPEG 4:2:0 of about 160 KB, baseline and progressive.  CPU seconds are of
the parent and its sandbox together, its start included.  Beside it, in the same run: Pillow's full decode of the same
files, and Pillow's reduced one with the same resize, with nothing measured.
"""
from __future__ import annotations

import argparse
import hashlib
import io
import json
import pathlib
import resource
import statistics
from collections.abc import Callable
from typing import Any

from PIL import Image as Pillow

from benchmarks.machine import write_result
from crawl.records import Image
from filter.decode import MAX_PIXELS
from filter.image_work import image_sandbox, measured_images
from filter.natural import SIDE

RUNS, PHOTOGRAPHS, TIMES = 3, 40, 10
_BYTES = 160_000


def photographs(shared: pathlib.Path, progressive: bool) -> list[bytes]:
    """Returns JPEG files of 1024x768 of about 160 KB."""
    paths = sorted((shared / "data" / "captions" / "flickr8k").rglob("*.jpg"))[:PHOTOGRAPHS]
    if not paths:
        raise SystemExit(f"{shared}: no flickr8k there; --shared names the folder that holds data/captions")
    return [_encoded(path, progressive) for path in paths]


def _encoded(path: pathlib.Path, progressive: bool) -> bytes:
    with Pillow.open(path) as opened:
        picture = opened.convert("RGB").resize((1024, 768), Pillow.Resampling.BICUBIC)
    low, high, data = 40, 97, b""
    while low <= high:
        quality = (low + high) // 2
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, subsampling=2, progressive=progressive)
        data = buffer.getvalue()
        low, high = (quality + 1, high) if len(data) < _BYTES else (low, quality - 1)
    return data


def ours(files: list[bytes]) -> int:
    """Returns how many of the files were decoded and measured."""
    stored = [(_row(data), data) for data in files] * TIMES
    with image_sandbox(MAX_PIXELS) as box:
        return sum(facts.outcome == "decoded" for facts in measured_images(box, stored))


def whole(files: list[bytes]) -> int:
    """Returns how many files Pillow decoded at full size."""
    for data in files * TIMES:
        with Pillow.open(io.BytesIO(data)) as opened:
            opened.load()
    return len(files) * TIMES


def reduced(files: list[bytes]) -> int:
    """Returns how many files Pillow decoded at the smallest scale that the classifier's side allows."""
    for data in files * TIMES:
        with Pillow.open(io.BytesIO(data)) as opened:
            opened.draft("RGB", (SIDE, SIDE))
            opened.resize((SIDE, SIDE), Pillow.Resampling.BOX)
    return len(files) * TIMES


def rate(work: Callable[[list[bytes]], int], files: list[bytes]) -> dict[str, Any]:
    """Returns the median of images a core-second, with its range."""
    rates = []
    for _ in range(RUNS):
        began = _cpu()
        done = work(files)
        rates.append(done / (_cpu() - began))
    return {"images_per_core_s": round(statistics.median(rates), 1), "range": [round(min(rates), 1),
                                                                               round(max(rates), 1)]}


def main() -> None:
    """Measures both kinds of JPEG, writes results/image_facts.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), help="holds data/captions")
    args = options.parse_args()
    result = {}
    for name, progressive in (("baseline", False), ("progressive", True)):
        files = photographs(args.shared, progressive)
        result[name] = {"images": len(files) * TIMES, "mean_kb": round(sum(map(len, files)) / len(files) / 1000),
                        "ours, sandbox included": rate(ours, files), "Pillow, whole": rate(whole, files),
                        "Pillow, reduced and resized": rate(reduced, files)}
    print(json.dumps(result, indent=1))
    write_result("image_facts", "make bench-image-facts", {"runs": RUNS, "files": result})


def _row(data: bytes) -> Image:
    return Image(url_key="0" * 32, url="http://a.example/a.jpg", outcome="ok", http_status=200, final_url="",
                 fetched_at="", signals=(), permission="allow", format="jpg", width=1024, height=768,
                 num_bytes=len(data), sha256=hashlib.sha256(data).hexdigest(), part="p.tar", offset=0,
                 length=len(data))


def _cpu() -> float:
    return sum(used.ru_utime + used.ru_stime for used in map(
        resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


if __name__ == "__main__":
    main()
