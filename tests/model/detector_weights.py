"""Small checkpoints in the published forms, with made-up numbers: tests say so, no command ever makes one."""
from __future__ import annotations

import io
import pickle

import numpy as np
import torch
from torch import Tensor

from model.bottom_up import Architecture, Network

SMALL = Architecture(blocks=(1, 1, 2, 1), width=4, classes=20, proposal_channels=8, sizes=(64, 128))


def bottom_up_tensors(architecture: Architecture = SMALL, seed: int = 1) -> dict[str, Tensor]:
    """Returns the tensors of a bottom-up checkpoint, attributes and box regression included."""
    draw = torch.Generator().manual_seed(seed)
    found = {}
    for name, tensor in Network(architecture).state_dict().items():
        found[name] = torch.randn(tensor.shape, generator=draw) * (1.5 / max(1, tensor[0].numel()) ** 0.5)
        if name.endswith(("norm.weight", "running_var")):
            found[name] = found[name].abs() + 0.5
        if name.startswith("backbone.stem") and name.endswith("conv1.weight"):
            found[name] /= 64                              # pixels are far from 0
        if "anchor_deltas" in name:
            found[name] *= 0.05                            # and boxes shall stay boxes
        if "cls_score" in name:
            found[name] *= 1e-3                            # of features that are large in such a net
    dim = architecture.feature_dim
    for name, shape in (("bbox_pred.weight", (4 * architecture.classes, dim)), ("bbox_pred.bias", (4 *
                        architecture.classes,)), ("cls_embedding.weight", (architecture.classes + 1, dim // 8)),
                        ("fc_attr.weight", (dim // 4, dim + dim // 8)), ("fc_attr.bias", (dim // 4,)),
                        ("attr_score.weight", (11, dim // 4)), ("attr_score.bias", (11,))):
        found[f"roi_heads.box_predictor.{name}"] = torch.zeros(shape)
    return found


def as_pkl(tensors: dict[str, Tensor]) -> bytes:
    """Returns tensors as faster_rcnn_from_caffe.pkl has them: arrays under "model", in a pickle."""
    return pickle.dumps({"model": {name: tensor.numpy() for name, tensor in tensors.items()}, "__author__": "made up"})


def as_torch(tensors: dict[str, Tensor]) -> bytes:
    """Returns tensors as torch.save has them."""
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def picture(number: int, height: int = 96, width: int = 128) -> np.ndarray:
    """Returns a made-up picture, u8 [H, W, 3]."""
    draw = np.random.Generator(np.random.Philox(key=number))
    small = draw.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.kron(small, np.ones((-(-height // 6), -(-width // 8), 1), np.uint8))[:height, :width]
