"""Heads over CLIP embeddings: the published forms, and files that are none."""
from __future__ import annotations

import io
import pathlib
import pickle

import numpy as np
import pytest
import torch

from model.clip_heads import open_head
from model.detection import WeightsError
from tests.model.detector_weights import as_torch

HEADS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "fixtures" / "heads"
ONE = torch.eye(3)[:1]


def as_npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_linear_head_is_a_logistic_function_of_its_output():
    head = open_head(as_torch({"weight": torch.tensor([[2.0, 0, 0]]), "bias": torch.tensor([-1.0])}), "h.pth")
    assert head.dim == 3 and head.probabilities(ONE).tolist() == pytest.approx([1 / (1 + np.exp(-1))])


def test_numbered_layers_go_in_the_order_of_their_numbers_with_relu_between():
    tensors = {"layers.10.weight": torch.tensor([[1.0, 3.0]]), "layers.10.bias": torch.zeros(1),
               "layers.2.weight": torch.tensor([[-1.0, 0, 0], [0.5, 0, 0]]), "layers.2.bias": torch.zeros(2)}
    assert open_head(as_torch(tensors), "h.pt").probabilities(ONE).tolist() == pytest.approx([1 / (1 + np.exp(-1.5))])


def test_two_texts_are_weighed_as_clip_does():
    head = open_head(as_npy(np.array([[0.10, 0, 0], [0.12, 0, 0]], np.float32)), "h.npy")
    assert head.probabilities(ONE).tolist() == pytest.approx([1 / (1 + np.exp(-2))], rel=1e-4)


@pytest.mark.parametrize("data, file, says", [
    (b"\x80junk", "h.pth", "cannot be read as weights"), (b"", "h.npy", "cannot be read as an array"),
    (as_npy(np.zeros((3, 4), np.float32)), "h.npy", "two rows are needed"),
    (as_npy(np.array([{"a": 1}], dtype=object)), "h.npy", "cannot be read as an array"),
    (pickle.dumps(print), "h.pth", "cannot be read as weights"),
    (as_torch({"weight": torch.zeros(1, 3), "bias": torch.zeros(2)}), "h.pth", "no head"),
    (as_torch({"weight": torch.full((1, 3), float("nan")), "bias": torch.zeros(1)}), "h.pth", "no number"),
    (as_torch({"weight": torch.zeros(5, 3), "bias": torch.zeros(5)}), "h.pth", "5 outputs"),
    (as_torch({"conv": torch.zeros(5, 3)}), "h.pth", "'conv' is neither"),
    (as_torch({"0.weight": torch.zeros(5, 3)}), "h.pth", "lacks"),
    (b"PK\x03\x04...", "clip_autokeras_nsfw_b32.zip", "TensorFlow SavedModel")])
def test_what_is_no_head_is_one_line(data, file, says):
    with pytest.raises(WeightsError, match=says) as raised:
        open_head(data, file)
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(not HEADS.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize("name, dim", [("sa_0_4_vit_b_32_linear.pth", 512), ("sa_0_4_vit_l_14_linear.pth", 768),
                                       ("violence_detection_vit_b_32.npy", 512),
                                       ("violence_detection_vit_l_14.npy", 768)])
def test_published_heads_load(name, dim):
    head = open_head((HEADS / name).read_bytes(), name)
    found = head.probabilities(torch.nn.functional.normalize(torch.randn(4, dim), dim=-1))
    assert head.dim == dim and found.shape == (4,) and bool(((found >= 0) & (found <= 1)).all())
