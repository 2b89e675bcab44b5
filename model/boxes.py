"""Boxes of a detector: anchors, deltas, overlap, suppression, pooling.  All xyxy in px; plain torch."""
from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_MAX_GROWTH = math.log(1000 / 16)      # of a side in one regression: the 16 px anchor to a picture of 1000 px


def cell_anchors(sizes: tuple[int, ...], ratios: tuple[float, ...] = (0.5, 1.0, 2.0)) -> Tensor:
    """Returns the anchors around a point, [A, 4]: for each side length one a ratio of height to width."""
    found = []
    for size in sizes:
        for ratio in ratios:
            width = math.sqrt(size * size / ratio)
            found.append([-width / 2, -width * ratio / 2, width / 2, width * ratio / 2])
    return torch.tensor(found)


def grid_anchors(cell: Tensor, height: int, width: int, stride: int) -> Tensor:
    """Returns the anchors of all cells of a feature map, [height * width * A, 4], row by row."""
    y, x = torch.meshgrid(torch.arange(height, device=cell.device) * stride,
                          torch.arange(width, device=cell.device) * stride, indexing="ij")
    shifts = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shifts + cell).reshape(-1, 4)


def apply_deltas(deltas: Tensor, boxes: Tensor) -> Tensor:
    """Returns boxes [n, 4] moved by (dx, dy) of their size and grown by exp(dw), exp(dh)."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + sizes / 2 + deltas[:, :2] * sizes
    half = deltas[:, 2:].clamp(max=_MAX_GROWTH).exp() * sizes / 2
    return torch.cat([centres - half, centres + half], dim=1)


def clipped(boxes: Tensor, height: int, width: int) -> Tensor:
    """Returns boxes cut at the edges of a picture."""
    return torch.stack([boxes[:, 0].clamp(0, width), boxes[:, 1].clamp(0, height),
                        boxes[:, 2].clamp(0, width), boxes[:, 3].clamp(0, height)], dim=1)


def overlap(boxes: Tensor, others: Tensor) -> Tensor:
    """Returns intersection over union, [n, m]; 0 for a box without area."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    areas, theirs = ((one[:, 2:] - one[:, :2]).prod(dim=1) for one in (boxes, others))
    return shared / (areas[:, None] + theirs[None] - shared).clamp(min=1e-9)


def suppressed(boxes: Tensor, scores: Tensor, limit: float, most: int) -> Tensor:
    """Returns the numbers of the `most` best boxes of which none overlaps a better kept one by more than `limit`."""
    order = torch.argsort(scores, descending=True, stable=True)
    boxes = boxes[order]
    alive = torch.ones(len(boxes), dtype=torch.bool, device=boxes.device)
    kept: list[int] = []
    for place in range(len(boxes)):
        if not alive[place]:
            continue
        kept.append(place)
        if len(kept) == most:
            break
        alive &= overlap(boxes[place:place + 1], boxes)[0] <= limit
    return order[torch.tensor(kept, dtype=torch.int64, device=order.device)]


def best_after_suppression(boxes: Tensor, scores: Tensor, limit: float) -> Tensor:
    """Returns for each box its best score among the classes whose own suppression it survives, [n]; scores [n, C].

    All classes at once: step i looks at the i-th best box of every class.
    """
    near = overlap(boxes, boxes) > limit
    order = torch.argsort(scores, dim=0, descending=True, stable=True)         # [n, C]
    classes = torch.arange(scores.shape[1], device=scores.device)
    alive = torch.ones(scores.shape[1], len(boxes), dtype=torch.bool, device=scores.device)
    survives = torch.zeros_like(alive)
    for step in range(len(boxes)):
        box = order[step]
        here = alive[classes, box]
        survives[classes, box] = here
        alive &= ~(near[box] & here[:, None])
    return torch.where(survives.T, scores, torch.zeros_like(scores)).amax(dim=1)


def region_max_pool(features: Tensor, boxes: Tensor, size: int, scale: float) -> Tensor:
    """Returns the maxima of size x size bins of each box of a feature map [C, H, W]: [n, C, size, size].

    As Caffe's ROIPooling: corners rounded to cells, both included; a bin beyond the map is 0.
    """
    height, width = features.shape[1:]
    corners = torch.floor(boxes * scale + 0.5).long().tolist()
    pooled = []
    for x0, y0, x1, y1 in corners:
        columns, rows = max(x1 - x0 + 1, 1), max(y1 - y0 + 1, 1)
        piece = features[:, min(y0, height):min(y0 + rows, height), min(x0, width):min(x0 + columns, width)]
        outside = (0, columns - piece.shape[2], 0, rows - piece.shape[1])
        piece = F.pad(piece, outside, value=-math.inf) if any(outside) else piece
        pooled.append(F.adaptive_max_pool2d(piece, size))
    result = torch.stack(pooled) if pooled else features.new_zeros((0, features.shape[0], size, size))
    return torch.where(torch.isinf(result), torch.zeros_like(result), result)
