"""torchvision's Faster R-CNN with ResNet-50 FPN (v1 or v2): COCO classes, features of 1024 values (the box head's).

The published checkpoints are fasterrcnn_resnet50_fpn_coco-*.pth and fasterrcnn_resnet50_fpn_v2_coco-*.pth; nothing is
downloaded.  Class k is label k + 1 of the checkpoint: 0..89, some of which COCO never uses.
"""
from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.detection import Detected, DetectorOptions, WeightsError, kept_first, load_exactly

_MIN_SIDE, _MAX_SIDE = 800, 1333
_OVERLAP = 0.5
_MEANS, _DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SCORES = "roi_heads.box_predictor.cls_score.weight"


class FasterRcnn:
    """The detector."""

    signed = False

    def __init__(self, tensors: dict[str, Tensor], file: str, options: DetectorOptions, device: str) -> None:
        from torchvision.models import detection
        if _SCORES not in tensors:
            raise WeightsError(f"{file}: not the weights of fasterrcnn: no {_SCORES} in it; name a checkpoint of "
                               f"torchvision's fasterrcnn_resnet50_fpn or fasterrcnn_resnet50_fpn_v2")
        labels = len(tensors[_SCORES])
        second = "roi_heads.box_head.0.0.weight" in tensors
        make: Any = detection.fasterrcnn_resnet50_fpn_v2 if second else detection.fasterrcnn_resnet50_fpn
        self._net = make(weights=None, weights_backbone=None, num_classes=labels).eval()
        load_exactly(self._net, tensors, file)
        if not second:                 # its published statistics were frozen, and used without epsilon
            for module in self._net.backbone.body.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eps = 0.0
        self._net.to(device)
        self._device, self._options = device, options
        self.feature_dim, self.num_classes = tensors[_SCORES].shape[1], labels - 1

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Returns RGB normalised as ImageNet's, the shorter side 800 px and the longer at most 1333 px, [3, H, W].

        Sides are filled up to multiples of 32, as the network needs them, and few sizes are left.
        """
        height, width = pixels.shape[:2]
        options = self._options
        scale = min((options.min_side or _MIN_SIDE) / min(height, width),
                    (options.max_side or _MAX_SIDE) / max(height, width))
        size = [32 * max(1, round(side * scale / 32)) for side in (height, width)]
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
        means, deviations = (torch.tensor(values)[:, None, None] for values in (_MEANS, _DEVIATIONS))
        return F.interpolate(((image - means) / deviations)[None], size, mode="bilinear", align_corners=False)[0]

    @torch.inference_mode()
    def detect(self, prepared: Tensor) -> list[Detected]:
        """Returns the regions of each picture."""
        from torchvision.models.detection.image_list import ImageList
        height, width = prepared.shape[2:]
        images = ImageList(prepared.to(self._device), [(height, width)] * len(prepared))
        maps = self._net.backbone(images.tensors)
        proposals, _ = self._net.rpn(images, maps)
        heads = self._net.roi_heads
        values = heads.box_head(heads.box_roi_pool(maps, proposals, images.image_sizes))
        logits, deltas = heads.box_predictor(values)
        boxes = heads.box_coder.decode(deltas, proposals)              # [proposals of all pictures, labels, 4]
        counts = [len(own) for own in proposals]
        return [self._of_one(*one, height, width) for one in zip(
            values.split(counts), logits.softmax(dim=1)[:, 1:].split(counts), boxes[:, 1:].split(counts), strict=True)]

    def _of_one(self, values: Tensor, probabilities: Tensor, boxes: Tensor, height: int, width: int) -> Detected:
        from torchvision.ops import batched_nms, clip_boxes_to_image
        confidences, classes = probabilities.max(dim=1)
        own = clip_boxes_to_image(boxes[torch.arange(len(boxes)), classes], (height, width))
        fits = ((own[:, 2:] - own[:, :2]) > 0).all(dim=1).nonzero()[:, 0]
        alone = fits[batched_nms(own[fits], confidences[fits], classes[fits], _OVERLAP)]
        kept = alone[kept_first(confidences[alone], self._options)]
        sizes = own.new_tensor([width, height, width, height])
        found = [one[kept].float().cpu().numpy() for one in (values, own / sizes, confidences, probabilities)]
        return Detected(found[0], found[1], found[2], classes[kept].cpu().numpy(), found[3])
