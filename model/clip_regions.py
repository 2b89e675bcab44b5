"""Parts of a picture seen by an open_clip model: the whole, its 2 x 2 parts, ... as boxes, embeddings as features.

No detector: boxes do not follow objects.  With class names the classes are the names that an embedding is nearest to,
and their softmax the probabilities; without there are none.
"""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.clip_net import ClipNet
from model.detection import Detected, DetectorOptions

_PROMPT = "a photo of a {}"
_NAMES_AT_ONCE = 256


class ClipRegions:
    """The extractor."""

    signed = True

    def __init__(self, tensors: dict[str, Tensor], file: str, options: DetectorOptions, device: str) -> None:
        self._clip = ClipNet(tensors, file, options.architecture, device, bool(options.class_names))
        self._net, self._side = self._clip.net, self._clip.side
        self._device, self._options = device, options
        self._boxes = _parts(options.grid)
        self._texts = self._embedded(options.class_names) if options.class_names else None
        self.num_classes = len(options.class_names)
        with torch.inference_mode():
            probe = torch.zeros(1, 3, self._side, self._side, device=device)
            self.feature_dim = int(self._net.encode_image(probe).shape[1])

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Returns all parts of a picture, each resized to the model's square, [parts, 3, side, side]."""
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        height, width = pixels.shape[:2]
        parts = []
        for x0, y0, x1, y1 in self._boxes.tolist():
            part = image[:, int(y0 * height):max(int(y1 * height), int(y0 * height) + 1),
                         int(x0 * width):max(int(x1 * width), int(x0 * width) + 1)]
            parts.append(F.interpolate(part[None], (self._side, self._side), mode="bicubic", antialias=True,
                                       align_corners=False)[0].clamp(0, 1))
        return self._clip.normalised(torch.stack(parts))

    @torch.inference_mode()
    def detect(self, prepared: Tensor) -> list[Detected]:
        """Returns the parts of each picture, in their order, with unit embeddings."""
        pictures, parts = prepared.shape[:2]
        embedded = F.normalize(self._net.encode_image(prepared.flatten(0, 1).to(self._device)).float(), dim=-1)
        probabilities = None if self._texts is None else (100 * embedded @ self._texts.T).softmax(dim=-1)
        found = []
        for at in range(0, pictures * parts, parts):
            kept = slice(at, at + min(parts, self._options.max_regions))
            values, boxes = embedded[kept].cpu().numpy(), self._boxes[:self._options.max_regions].numpy()
            if probabilities is None:
                found.append(Detected(values, boxes, np.ones(len(values), np.float32), None, None))
            else:
                own = probabilities[kept].cpu().numpy()
                found.append(Detected(values, boxes, own.max(axis=1), own.argmax(axis=1), own))
        return found

    @torch.inference_mode()
    def _embedded(self, names: tuple[str, ...]) -> Tensor:
        texts = [_PROMPT.format(name) for name in names]
        return torch.cat([F.normalize(self._net.encode_text(
            self._clip.tokenize(texts[at:at + _NAMES_AT_ONCE]).to(self._device)).float(), dim=-1)
            for at in range(0, len(texts), _NAMES_AT_ONCE)])


def _parts(grid: int) -> Tensor:
    """Returns the boxes of the picture, of its 2 x 2 parts, and so on up to grid x grid; row by row."""
    found = [[column / cells, row / cells, (column + 1) / cells, (row + 1) / cells]
             for cells in range(1, grid + 1) for row in range(cells) for column in range(cells)]
    return torch.tensor(found)
