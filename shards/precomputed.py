"""Region files that others made, a row an image: fields checked for order, shape and range (paper.md, section 9).

    bottom-up-tsv    image_id image_w image_h num_boxes boxes features; no classes (peteanderson80/bottom-up-attention)
    lxmert-tsv       img_id img_h img_w objects_id objects_conf attrs_id attrs_conf num_boxes boxes features
    uniter-npz       a file an image: features, norm_bb, conf, soft_labels

Boxes of the TSVs are pixels; arrays are base64 of little-endian numbers.  Re-exports swap or add columns, so an order
can be given; what must hold whatever the order is: as many numbers as num_boxes says, boxes inside the picture.
"""
from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import zipfile
from typing import Any

import numpy as np

from shards.quantise import Found, UnusableRegions
from shards.region_config import RegionsConfig

BOTTOM_UP, LXMERT, UNITER = "bottom-up-tsv", "lxmert-tsv", "uniter-npz"
FIELDS = {
    BOTTOM_UP: ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
    LXMERT: ("img_id", "img_h", "img_w", "objects_id", "objects_conf", "attrs_id", "attrs_conf", "num_boxes", "boxes",
             "features"),
}
FORMATS = (BOTTOM_UP, LXMERT, UNITER)
MAX_ROW_BYTES = 64 << 20               # 100 regions of 2048 values are 1.1 MB
_SAME = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}
_NEEDED = ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features")
_NEEDED_WITH_CLASSES = ("objects_id", "objects_conf")
_MAX_BOXES = 4096
_MAX_SIDE = 1 << 20
_EDGE_PX = 1.0                         # a box may end this far outside: Caffe's boxes include their last pixel
_EDGE = 0.01                           # of normalised boxes in f16
_MATCHES = 0.01                        # a confidence and the probability it was taken from


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One image of a file: its id and what was found, or why it is of no use."""

    id: str
    found: Found | None
    reason: str = ""
    detail: str = ""


def has_classes(config: RegionsConfig) -> bool:
    """Returns whether a format says what a region is."""
    return config.format != BOTTOM_UP


def fields_of(config: RegionsConfig) -> tuple[str, ...]:
    """Returns the names of a TSV's columns; raises ValueError where a needed one is missing or named twice."""
    names = tuple(_SAME.get(name, name) for name in config.fields or FIELDS[config.format])
    needed = (*_NEEDED, *(_NEEDED_WITH_CLASSES if config.format == LXMERT else ()))
    missing = [name for name in needed if names.count(name) != 1]
    if missing:
        raise ValueError(f"fields name {', '.join(missing)} not exactly once; {config.format} needs "
                         f"{', '.join(needed)}, other columns may have any name")
    return names


def parse_line(line: bytes, names: tuple[str, ...], config: RegionsConfig) -> Row:
    """Returns one row of a TSV, without its line end.

    Reasons: wrong_number_of_fields, bad_number, bad_base64, wrong_shape, wrong_width, no_boxes, box_outside_image,
    box_order, not_finite, class_out_of_range, confidence_out_of_range.
    """
    cells = line.rstrip(b"\r").split(b"\t")
    if len(cells) != len(names):
        return Row("", None, "wrong_number_of_fields", f"{len(cells)} fields, not {len(names)}")
    values = dict(zip(names, cells, strict=True))
    id_ = values["image_id"].decode(errors="replace").strip()
    try:
        return Row(id_, _of_values(values, config))
    except UnusableRegions as error:
        return Row(id_, None, error.reason, error.detail)


def _of_values(values: dict[str, bytes], config: RegionsConfig) -> Found:
    width, height = (_whole(values, name, _MAX_SIDE) for name in ("image_w", "image_h"))
    count = _whole(values, "num_boxes", _MAX_BOXES)
    boxes = _array(values, "boxes", "<f4", (count, 4))
    features = _array(values, "features", "<f4", (count, -1))
    check_width(features, config)
    pixels = np.array([width, height, width, height], np.float32)
    _check_boxes(boxes, pixels, _EDGE_PX)
    if config.format != LXMERT:
        return Found(features, boxes / pixels, np.ones(count))
    classes = _array(values, "objects_id", "<i8", (count,))
    confidences = _array(values, "objects_conf", "<f4", (count,))
    _check_labels(classes, confidences, config)
    return Found(features, boxes / pixels, confidences, classes)


def _whole(values: dict[str, bytes], name: str, most: int) -> int:
    text = values[name].strip()
    if not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= most:
        reason = "no_boxes" if name == "num_boxes" and text.isdigit() and not int(text[:9]) else "bad_number"
        raise UnusableRegions(reason, f"{name} is {text[:40].decode(errors='replace')!r}, not 1 to {most}")
    return int(text)


def _array(values: dict[str, bytes], name: str, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the numbers of a base64 cell; a shape of -1 is found from their number, and is at least 1."""
    try:
        data = base64.b64decode(values[name].strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableRegions("bad_base64", f"{name}: {error}") from error
    known = int(np.prod([size for size in shape if size > 0])) * np.dtype(dtype).itemsize
    if (len(data) % known or not data) if -1 in shape else len(data) != known:
        raise UnusableRegions("wrong_shape", f"{name} holds {len(data)} bytes for {shape[0]} boxes")
    array = np.frombuffer(data, dtype).reshape(shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise UnusableRegions("not_finite", f"a value of {name} is NaN or infinite")
    return array


def check_width(features: np.ndarray, config: RegionsConfig) -> None:
    """Raises UnusableRegions for features of another width than the set has."""
    if features.shape[1] != config.feature_dim:
        raise UnusableRegions("wrong_width", f"features have {features.shape[1]} values, feature_dim is "
                                             f"{config.feature_dim}")


def _check_boxes(boxes: np.ndarray, most: np.ndarray, edge: float) -> None:
    if (boxes < -edge).any() or (boxes > most + edge).any():
        worst = boxes[(boxes < -edge).any(axis=1) | (boxes > most + edge).any(axis=1)][0]
        raise UnusableRegions("box_outside_image", f"box {' '.join(f'{value:g}' for value in worst)} in a picture of "
                                                   f"{most[0]:g} x {most[1]:g}")
    if (boxes[:, :2] > boxes[:, 2:]).any():
        raise UnusableRegions("box_order", "a box has x0 > x1 or y0 > y1")


def _check_labels(classes: np.ndarray, confidences: np.ndarray, config: RegionsConfig) -> None:
    if classes.min() < 0 or classes.max() >= config.num_classes:
        raise UnusableRegions("class_out_of_range", f"classes {classes.min()} to {classes.max()}, num_classes is "
                                                    f"{config.num_classes}")
    if confidences.min() < 0 or confidences.max() > 1:
        raise UnusableRegions("confidence_out_of_range", f"{confidences.min():g} to {confidences.max():g}")


def parse_npz(id_: str, data: bytes, config: RegionsConfig) -> Row:
    """Returns the image of one UNITER npz.

    Reasons beside those of `parse_line`: bad_npz, missing_array, too_large, wrong_class_count,
    background_column_elsewhere (the confidences are those of the other end of soft_labels).
    """
    try:
        return Row(id_, _of_arrays(_arrays(data), config))
    except UnusableRegions as error:
        return Row(id_, None, error.reason, error.detail)


def _arrays(data: bytes) -> dict[str, np.ndarray]:
    wanted = ("features", "norm_bb", "conf", "soft_labels")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as packed:
            if sum(member.file_size for member in packed.infolist()) > MAX_ROW_BYTES:
                raise UnusableRegions("too_large", f"more than {MAX_ROW_BYTES >> 20} MiB unpacked")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            missing = [name for name in wanted if name not in arrays]
            if missing:
                raise UnusableRegions("missing_array", f"{', '.join(missing)} (there are {', '.join(arrays)[:80]})")
            return {name: arrays[name] for name in wanted}
    except UnusableRegions:
        raise
    # What zipfile, zlib and numpy raise for broken bytes.
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, KeyError, NotImplementedError, RuntimeError,
            MemoryError, *_zlib_errors()) as error:
        raise UnusableRegions("bad_npz", str(error).splitlines()[0][:120] if str(error) else type(error).__name__) \
            from error


def _zlib_errors() -> tuple[Any, ...]:
    import struct
    import zlib
    return zlib.error, struct.error


def _of_arrays(arrays: dict[str, np.ndarray], config: RegionsConfig) -> Found:
    features, places, confidences, soft = (arrays[name] for name in ("features", "norm_bb", "conf", "soft_labels"))
    count = len(features) if features.ndim == 2 else 0
    shapes = {"features": features.ndim == 2, "norm_bb": places.shape == (count, 6), "conf": confidences.shape ==
              (count,), "soft_labels": soft.ndim == 2 and len(soft) == count}
    wrong = [name for name, fits in shapes.items() if not fits or arrays[name].dtype.kind != "f"]
    if wrong:
        raise UnusableRegions("wrong_shape", f"{wrong[0]} is {arrays[wrong[0]].dtype} {arrays[wrong[0]].shape}")
    if not 1 <= count <= _MAX_BOXES:
        raise UnusableRegions("no_boxes", f"{count} boxes")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise UnusableRegions("not_finite", f"a value of {name} is NaN or infinite")
    check_width(features, config)
    boxes, sizes = places[:, :4].astype(np.float32), places[:, 4:].astype(np.float32)
    _check_boxes(boxes, np.ones(4, np.float32), _EDGE)
    if (np.abs(boxes[:, 2:] - boxes[:, :2] - sizes) > _EDGE).any():
        raise UnusableRegions("box_order", "norm_bb is not x0, y0, x1, y1, width, height")
    chances = _without_background(soft.astype(np.float32), confidences.astype(np.float32), config)
    classes = chances.argmax(axis=1)
    _check_labels(classes, confidences, config)
    return Found(features.astype(np.float32), boxes, confidences, classes, chances)


def _without_background(soft: np.ndarray, confidences: np.ndarray, config: RegionsConfig) -> np.ndarray:
    """Returns the probabilities of the classes; the confidences, which were taken from them, say where they are."""
    if soft.shape[1] == config.num_classes:
        return soft
    if soft.shape[1] != config.num_classes + 1:
        raise UnusableRegions("wrong_class_count", f"soft_labels have {soft.shape[1]} columns, num_classes is "
                                                   f"{config.num_classes} (and one of background)")
    first = config.background == "first"
    classes, background = (soft[:, 1:], soft[:, 0]) if first else (soft[:, :-1], soft[:, -1])
    among = (np.abs(classes - confidences[:, None]) <= _MATCHES).any(axis=1)
    if ((np.abs(background - confidences) <= _MATCHES) & ~among).any():
        raise UnusableRegions("background_column_elsewhere", f"a confidence is that of column "
                                                             f"{0 if first else config.num_classes}, which should be "
                                                             f"background; see background=first or last")
    return classes
