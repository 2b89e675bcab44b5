"""Boxes against torchvision's own operations, where it is installed."""
import pytest
import torch

from model.boxes import (
    apply_deltas,
    best_after_suppression,
    cell_anchors,
    grid_anchors,
    overlap,
    region_max_pool,
    suppressed,
)

ops = pytest.importorskip("torchvision.ops")


def boxes(n, seed=0, side=200.0):
    draw = torch.Generator().manual_seed(seed)
    low = torch.rand(n, 2, generator=draw) * side * 0.8
    return torch.cat([low, low + 1 + torch.rand(n, 2, generator=draw) * side * 0.4], dim=1)


def test_overlap_and_suppression():
    some, scores = boxes(300), torch.rand(300, generator=torch.Generator().manual_seed(5))
    assert torch.allclose(overlap(some, some), ops.box_iou(some, some), atol=1e-5)
    assert suppressed(some, scores, 0.3, 1000).tolist() == ops.nms(some, scores, 0.3).tolist()
    assert suppressed(some, scores, 0.3, 7).tolist() == ops.nms(some, scores, 0.3)[:7].tolist()
    assert suppressed(some[:0], scores[:0], 0.3, 7).tolist() == []


def test_suppression_of_many_classes_at_once():
    some = boxes(80)
    scores = torch.rand(80, 9, generator=torch.Generator().manual_seed(6))
    wanted = torch.zeros(80)
    for label in range(9):
        kept = ops.nms(some, scores[:, label], 0.3)
        wanted[kept] = torch.maximum(wanted[kept], scores[kept, label])
    assert torch.equal(best_after_suppression(some, scores, 0.3), wanted)


def test_pooling():
    features = torch.randn(3, 13, 17, generator=torch.Generator().manual_seed(7))
    some = torch.cat([boxes(40, side=250.0), torch.tensor([[0.0, 0, 271, 207], [260, 200, 271, 207], [5, 5, 6, 6]])])
    wanted = ops.roi_pool(features[None], [some], 14, 1 / 16)
    assert torch.equal(region_max_pool(features, some, 14, 1 / 16), wanted)
    assert region_max_pool(features, some[:0], 14, 1 / 16).shape == (0, 3, 14, 14)


def test_anchors_and_deltas():
    cell = cell_anchors((64, 128))
    assert cell.shape == (6, 4) and torch.allclose(cell[1], torch.tensor([-32.0, -32, 32, 32]))
    assert torch.allclose((cell[:, 3] - cell[:, 1]) / (cell[:, 2] - cell[:, 0]), torch.tensor([0.5, 1, 2] * 2))
    grid = grid_anchors(cell, 2, 3, 16)
    assert torch.equal(grid[6 * 4 + 1], cell[1] + torch.tensor([16.0, 16, 16, 16]))     # row 1, column 1
    some = boxes(5)
    assert torch.allclose(apply_deltas(torch.zeros(5, 4), some), some, atol=1e-4)
    grown = apply_deltas(torch.tensor([[0.5, 0, 99.0, 0]]), torch.tensor([[0.0, 0, 16, 16]]))
    assert torch.allclose(grown, torch.tensor([[16 - 500.0, 0, 16 + 500.0, 16]]), atol=1e-2)
