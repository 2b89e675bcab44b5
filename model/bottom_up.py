"""Faster R-CNN of bottom-up attention: ResNet-101 C4, 1600 Visual Genome classes, features of 2048 values.

Structure and settings: models/vg/ResNet-101/faster_rcnn_end2end_final/test.prototxt and tools/generate_tsv.py of
peteanderson80/bottom-up-attention.  Names of tensors: its conversions to PyTorch (faster_rcnn_from_caffe*.pkl of
airsplay/py-bottom-up-attention, pytorch_model.bin of unc-nlp/frcnn-vg-finetuned), which put the background last.
As generate_tsv.py, boxes are the proposals themselves, and a region's confidence is the best of the classes whose
suppression it survives.
"""
from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.boxes import (
    apply_deltas,
    best_after_suppression,
    cell_anchors,
    clipped,
    grid_anchors,
    region_max_pool,
    suppressed,
)
from model.detection import Detected, DetectorOptions, WeightsError, kept_first, load_exactly

_MEANS = (102.9801, 115.9465, 122.7717)        # BGR, of 0..255
_MIN_SIDE, _MAX_SIDE = 600, 1000
_STRIDE, _POOL = 16, 14
_PROPOSALS_BEFORE, _PROPOSALS, _PROPOSAL_OVERLAP = 6000, 300, 0.7
_CLASS_OVERLAP = 0.3
_REGIONS_AT_ONCE = 50
_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
# Of the published files: attributes and box regression, which generate_tsv.py does not use either.
UNUSED = ("roi_heads.box_predictor.bbox_pred.", "roi_heads.box_predictor.cls_embedding.",
          "roi_heads.box_predictor.fc_attr.", "roi_heads.box_predictor.attr_score.", _ANCHORS, "pixel_mean",
          "pixel_std")


@dataclasses.dataclass(frozen=True, slots=True)
class Architecture:
    """Sizes of the network; the defaults are the published ones."""

    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)      # of res2, res3, res4, res5
    width: int = 64                                        # channels of the stem; a region has 32 times as many values
    classes: int = 1600
    proposal_channels: int = 512
    sizes: tuple[int, ...] = (64, 128, 256, 512)           # px of the anchors

    @property
    def feature_dim(self) -> int:
        """Returns F."""
        return 32 * self.width


class BottomUp:
    """The detector."""

    signed = False

    def __init__(self, tensors: dict[str, Tensor], file: str, options: DetectorOptions, device: str) -> None:
        architecture = architecture_of(tensors, file)
        self._net: Any = Network(architecture).eval()
        load_exactly(self._net, tensors, file, UNUSED)
        self._anchors = tensors.get(_ANCHORS, cell_anchors(architecture.sizes)).to(device)
        self._net.to(device)
        self._device, self._options = device, options
        self.feature_dim, self.num_classes = architecture.feature_dim, architecture.classes

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Returns BGR without the mean, the shorter side 600 px and the longer at most 1000 px, [3, H, W]."""
        height, width = pixels.shape[:2]
        options = self._options
        scale = min((options.min_side or _MIN_SIDE) / min(height, width),
                    (options.max_side or _MAX_SIDE) / max(height, width))
        image = torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1).float()
        size = (max(1, round(height * scale)), max(1, round(width * scale)))
        centred = image - torch.tensor(_MEANS)[:, None, None]
        return F.interpolate(centred[None], size, mode="bilinear", align_corners=False)[0]

    @torch.inference_mode()
    def detect(self, prepared: Tensor) -> list[Detected]:
        """Returns the regions of each picture."""
        height, width = prepared.shape[2:]
        maps = self._net.backbone(prepared.to(self._device))
        logits, deltas = self._net.proposal_generator.rpn_head(maps)
        return [self._of_one(*one, height, width) for one in zip(maps, logits, deltas, strict=True)]

    def _of_one(self, features: Tensor, logits: Tensor, deltas: Tensor, height: int, width: int) -> Detected:
        proposals = self._proposals(features, logits, deltas, height, width)
        pooled = region_max_pool(features, proposals, _POOL, 1 / _STRIDE)
        heads = self._net.roi_heads
        values = torch.cat([heads.res5(some).mean(dim=(2, 3)) for some in pooled.split(_REGIONS_AT_ONCE)])
        probabilities = heads.box_predictor.cls_score(values).softmax(dim=1)[:, :-1]
        confidences = best_after_suppression(proposals, probabilities, _CLASS_OVERLAP)
        kept = kept_first(confidences, self._options)
        sizes = proposals.new_tensor([width, height, width, height])
        found = [one[kept].float().cpu().numpy() for one in (values, proposals / sizes, confidences, probabilities)]
        return Detected(found[0], found[1], found[2], found[3].argmax(axis=1), found[3])

    def _proposals(self, features: Tensor, logits: Tensor, deltas: Tensor, height: int, width: int) -> Tensor:
        anchors = grid_anchors(self._anchors, features.shape[1], features.shape[2], _STRIDE)
        scores = logits.permute(1, 2, 0).reshape(-1)
        best = torch.argsort(scores, descending=True, stable=True)[:_PROPOSALS_BEFORE]
        moves = deltas.unflatten(0, (-1, 4)).permute(2, 3, 0, 1).reshape(-1, 4)
        boxes = clipped(apply_deltas(moves[best], anchors[best]), height, width)
        fits = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(dim=1)
        boxes, scores = boxes[fits], scores[best][fits]
        return boxes[suppressed(boxes, scores, _PROPOSAL_OVERLAP, _PROPOSALS)]


def architecture_of(tensors: dict[str, Tensor], file: str) -> Architecture:
    """Returns the sizes that a checkpoint's shapes tell; raises WeightsError where it is none of this network."""
    try:
        blocks = [len({int(found[1]) for name in tensors if (found := re.match(rf"{stage}\.(\d+)\.", name))})
                  for stage in (r"backbone\.res2", r"backbone\.res3", r"backbone\.res4", r"roi_heads\.res5")]
        anchors = len(tensors["proposal_generator.rpn_head.objectness_logits.weight"])
        if not all(blocks) or anchors % 3:
            raise KeyError("backbone.res2 to roi_heads.res5")
        return Architecture(
            blocks=(blocks[0], blocks[1], blocks[2], blocks[3]),
            width=len(tensors["backbone.stem.conv1.weight"]),
            classes=len(tensors["roi_heads.box_predictor.cls_score.weight"]) - 1,
            proposal_channels=len(tensors["proposal_generator.rpn_head.conv.weight"]),
            sizes=tuple(64 << number for number in range(anchors // 3)))
    except KeyError as error:
        raise WeightsError(f"{file}: not the weights of bottom-up: no {error.args[0]} in it; name "
                           f"faster_rcnn_from_caffe*.pkl or pytorch_model.bin of frcnn-vg-finetuned") from error


class Network(nn.Module):
    """The tensors under their published names."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        width, blocks = architecture.width, architecture.blocks
        stages = [_stage(width * (1 if number == 0 else 2 << number), width << number, blocks[number],
                         1 if number == 0 else 2) for number in range(3)]
        self.backbone = nn.Sequential()
        self.backbone.add_module("stem", _Stem(width))
        for number, stage in enumerate(stages):
            self.backbone.add_module(f"res{number + 2}", stage)
        self.proposal_generator = nn.Module()
        self.proposal_generator.rpn_head = _ProposalHead(16 * width, architecture)
        self.roi_heads = nn.Module()
        # Not halved, and with holes instead: regions are pooled to 14 x 14.
        self.roi_heads.res5 = _stage(16 * width, 8 * width, blocks[3], 1, dilation=2)
        self.roi_heads.box_predictor = nn.Module()
        self.roi_heads.box_predictor.cls_score = nn.Linear(architecture.feature_dim, architecture.classes + 1)


class _Norm(nn.Module):
    """Batch normalisation whose statistics are fixed."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        for name in ("weight", "bias", "running_mean", "running_var"):
            self.register_buffer(name, torch.zeros(channels))

    def forward(self, values: Tensor) -> Tensor:
        scale = self.weight * (self.running_var + 1e-5).rsqrt()
        return values * scale[:, None, None] + (self.bias - self.running_mean * scale)[:, None, None]


class _Convolution(nn.Conv2d):
    """Convolution without bias, normalised."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__(inputs, outputs, size, stride, dilation * (size // 2), dilation, bias=False)
        self.norm = _Norm(outputs)

    def forward(self, values: Tensor) -> Tensor:
        return self.norm(super().forward(values))


class _Stem(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = _Convolution(3, width, 7, 2)

    def forward(self, images: Tensor) -> Tensor:
        # Caffe's pooling: no padding, and the last window may hang over the edge.
        return F.max_pool2d(F.relu(self.conv1(images)), 3, 2, ceil_mode=True)


class _Block(nn.Module):
    """A bottleneck; the stride is that of the first 1 x 1 convolution, as in the MSRA models."""

    def __init__(self, inputs: int, middle: int, stride: int, dilation: int) -> None:
        super().__init__()
        if inputs != 4 * middle:
            self.shortcut = _Convolution(inputs, 4 * middle, 1, stride)
        self.conv1 = _Convolution(inputs, middle, 1, stride)
        self.conv2 = _Convolution(middle, middle, 3, dilation=dilation)
        self.conv3 = _Convolution(middle, 4 * middle, 1)

    def forward(self, values: Tensor) -> Tensor:
        passed = self.shortcut(values) if hasattr(self, "shortcut") else values
        return F.relu(self.conv3(F.relu(self.conv2(F.relu(self.conv1(values))))) + passed)


def _stage(inputs: int, middle: int, blocks: int, stride: int, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(*(_Block(4 * middle if number else inputs, middle, 1 if number else stride, dilation)
                           for number in range(blocks)))


class _ProposalHead(nn.Module):
    def __init__(self, inputs: int, architecture: Architecture) -> None:
        super().__init__()
        anchors = 3 * len(architecture.sizes)
        self.conv = nn.Conv2d(inputs, architecture.proposal_channels, 3, padding=1)
        self.objectness_logits = nn.Conv2d(architecture.proposal_channels, anchors, 1)
        self.anchor_deltas = nn.Conv2d(architecture.proposal_channels, 4 * anchors, 1)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.conv(maps))
        return self.objectness_logits(hidden), self.anchor_deltas(hidden)
