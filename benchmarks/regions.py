"""What u8 and f16 lose of region features, what they take, and how fast region files of others are converted.

    python -m benchmarks.regions

Features are made up, for no published weights are at hand: long-tailed values of which 60 % are 0; means of 14 x 14
rectified values, as a C4 head pools them; unit embeddings with both signs, as CLIP's.  Error: length of the difference
over length of the feature, a region.  Conversion: base64 or npz to checked, packed regions, in this process.
"""
from __future__ import annotations

import base64
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.machine import write_result
from shards.precomputed import BOTTOM_UP, LXMERT, UNITER, fields_of, parse_line, parse_npz
from shards.quantise import Found, quantised
from shards.region_config import RegionsConfig
from shards.regions import Regions, pack

REGIONS, DIM, CLASSES, IMAGES, RUNS = 100, 2048, 1600, 20, 5


def features(kind: str, seed: int, count: int = REGIONS) -> np.ndarray:
    """Returns made-up features, f32 [count, DIM]."""
    draw = np.random.Generator(np.random.Philox(key=seed))
    if kind == "long tail, 60 % zeros":
        return (draw.exponential(0.7, (count, DIM)) * (draw.random((count, DIM)) > 0.6)).astype(np.float32)
    if kind == "means of 196 rectified values":
        levels = draw.normal(-1.5, 1.2, (count, DIM, 1)).astype(np.float32)
        return np.concatenate([np.maximum(levels[at:at + 10] + draw.normal(0, 1, (10, DIM, 196)).astype(np.float32), 0)
                               .mean(axis=2) for at in range(0, count, 10)])
    values = draw.normal(0, 1, (count, DIM)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def found(values: np.ndarray, seed: int = 0) -> Found:
    """Returns features with boxes, confidences and classes."""
    draw = np.random.Generator(np.random.Philox(key=seed + 1000))
    boxes = np.sort(draw.random((len(values), 2, 2)), axis=1).reshape(-1, 4)
    return Found(values, boxes, draw.random(len(values)), draw.integers(0, CLASSES, len(values)))


def loss(values: np.ndarray, form: str) -> dict[str, Any]:
    """Returns what a form loses of one image's features."""
    one = found(values)
    regions: Regions = quantised(one, form, REGIONS)
    order = np.argsort(-one.confidences.astype(np.float16).astype(np.float32), kind="stable")
    wanted, back = values[order].astype(np.float64), regions.features().astype(np.float64)
    lengths = np.linalg.norm(wanted, axis=1)
    cosine = (wanted * back).sum(axis=1) / (lengths * np.linalg.norm(back, axis=1))
    some = wanted != 0
    return {"relative_error_percent": round(float(100 * (np.linalg.norm(back - wanted, axis=1) / lengths).mean()), 3),
            "least_cosine": round(float(cosine.min()), 6),
            "nonzero_that_become_0_percent": round(float(100 * (back[some] == 0).mean()), 2),
            "bytes_an_image": len(pack(regions))}


def converted(rows: list[Any], work: Callable[[Any], Any]) -> dict[str, Any]:
    """Returns the median of rows a core-second, with its range."""
    rates = []
    for _ in range(RUNS):
        began = time.process_time()
        for row in rows:
            work(row)
        rates.append(len(rows) / (time.process_time() - began))
    return {"rows_per_core_s": round(statistics.median(rates)), "range": [round(min(rates)), round(max(rates))]}


def b64(array: np.ndarray) -> bytes:
    """Returns an array as a TSV cell."""
    return base64.b64encode(np.ascontiguousarray(array).tobytes())


def main() -> None:
    """Measures losses and rates, writes results/regions.json."""
    kinds = ("long tail, 60 % zeros", "means of 196 rectified values", "unit embeddings, both signs")
    losses = {kind: {form: loss(features(kind, 1), form) for form in ("u8", "f16")} for kind in kinds}
    lxmert, bottom_up, npz = [], [], []
    for number in range(IMAGES):
        values, one = features(kinds[0], number, 36), found(features(kinds[0], number, 36), number)
        boxes = (one.boxes * 500).astype("<f4")
        labels = (b64(np.asarray(one.classes, "<i8")), b64(one.confidences.astype("<f4")))
        lxmert.append(b"\t".join([b"x", b"500", b"500", *labels, *labels, b"36", b64(boxes), b64(values)]))
        bottom_up.append(b"\t".join([b"x", b"500", b"500", b"36", b64(boxes), b64(values)]))
        places = np.concatenate([one.boxes, one.boxes[:, 2:] - one.boxes[:, :2]], axis=1).astype(np.float16)
        soft = np.zeros((36, CLASSES + 1), np.float16)
        soft[np.arange(36), np.asarray(one.classes) + 1] = one.confidences
        buffer = io.BytesIO()
        np.savez_compressed(buffer, features=values.astype(np.float16), norm_bb=places,
                            conf=one.confidences.astype(np.float16), soft_labels=soft)
        npz.append(buffer.getvalue())
    rates = {}
    for name, rows in ((LXMERT, lxmert), (BOTTOM_UP, bottom_up), (UNITER, npz)):
        config = RegionsConfig(extractor="precomputed", format=name)

        def convert(row: bytes, config: RegionsConfig = config) -> bytes:
            read = (parse_npz("x", row, config) if config.format == UNITER
                    else parse_line(row, fields_of(config), config))
            assert read.found is not None, read
            return pack(quantised(read.found, "u8", REGIONS, soft=True))
        rates[f"{name}, 36 regions"] = converted(rows, convert) | {"bytes_a_row": len(rows[0])}
    result = {"runs": RUNS, "values": DIM, "losses of 100 regions": losses, "conversion": rates}
    print(json.dumps(result, indent=1))
    write_result("regions", "make bench-regions", result)


if __name__ == "__main__":
    main()
