"""Region files as others write them, made small: what tests of precomputed regions read."""
from __future__ import annotations

import base64
import io

import numpy as np

WIDTH, HEIGHT, DIM, CLASSES = 400, 320, 8, 20


def values(number: int, count: int = 5) -> dict[str, np.ndarray]:
    """Returns boxes in pixels, features, classes, confidences and soft labels (background first) of one image."""
    draw = np.random.Generator(np.random.Philox(key=number))
    corners = np.sort(draw.random((count, 2, 2)), axis=1).reshape(count, 4)
    soft = draw.dirichlet(np.full(CLASSES + 1, 0.2), count).astype(np.float16)
    return {"boxes": (corners * [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype("<f4"),
            "features": (draw.exponential(0.5, (count, DIM)) * (draw.random((count, DIM)) > 0.4)).astype("<f4"),
            "soft_labels": soft, "conf": soft[:, 1:].max(axis=1),
            "objects_id": soft[:, 1:].argmax(axis=1).astype("<i8")}


def b64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def bottom_up_line(id_: str, number: int, **changes: str) -> str:
    """Returns a row of a bottom-up-attention TSV, with a line end."""
    made = values(number)
    cells = {"image_id": id_, "image_w": str(WIDTH), "image_h": str(HEIGHT), "num_boxes": str(len(made["boxes"])),
             "boxes": b64(made["boxes"]), "features": b64(made["features"])} | changes
    return "\t".join(cells.values()) + "\n"


def lxmert_line(id_: str, number: int, **changes: str) -> str:
    """Returns a row of an LXMERT TSV, with a line end."""
    made = values(number)
    count = len(made["boxes"])
    cells = {"img_id": id_, "img_h": str(HEIGHT), "img_w": str(WIDTH), "objects_id": b64(made["objects_id"]),
             "objects_conf": b64(made["conf"].astype("<f4")), "attrs_id": b64(np.zeros(count, "<i8")),
             "attrs_conf": b64(np.zeros(count, "<f4")), "num_boxes": str(count), "boxes": b64(made["boxes"]),
             "features": b64(made["features"])} | changes
    return "\t".join(cells.values()) + "\n"


def uniter_npz(number: int, **changes: np.ndarray | None) -> bytes:
    """Returns the bytes of a UNITER npz; a change of None leaves an array out."""
    made = values(number)
    boxes = made["boxes"] / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    arrays = {"features": made["features"].astype(np.float16),
              "norm_bb": np.concatenate([boxes, boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float16),
              "conf": made["conf"], "soft_labels": made["soft_labels"]} | changes
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: array for name, array in arrays.items() if array is not None})
    return buffer.getvalue()
