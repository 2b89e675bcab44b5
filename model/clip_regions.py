"""Parts of a picture seen by an open_clip model: the whole, its 2 x 2 parts, ... as boxes, embeddings as features.

No detector: boxes do not follow objects.  With class names the classes are the names that an embedding is nearest to,
and their softmax the probabilities; without there are none.
"""
from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.detection import Detected, DetectorOptions, WeightsError, load_exactly

_PROMPT = "a photo of a {}"
_NAMES_AT_ONCE = 256


class ClipRegions:
    """The extractor."""

    signed = True

    def __init__(self, tensors: dict[str, Tensor], file: str, options: DetectorOptions, device: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")            # of its libraries' own changes
            self._net, tokenize = _open(options.architecture, bool(options.class_names))
        load_exactly(self._net, tensors, file)
        self._net.to(device).eval()
        self._device, self._options = device, options
        visual = self._net.visual
        size = visual.image_size
        self._side: int = size[0] if isinstance(size, tuple | list) else size
        facts = dict(getattr(visual, "preprocess_cfg", {}))
        self._means = torch.tensor(facts.get("mean") or (0.48145466, 0.4578275, 0.40821073))[:, None, None]
        self._deviations = torch.tensor(facts.get("std") or (0.26862954, 0.26130258, 0.27577711))[:, None, None]
        self._boxes = _parts(options.grid)
        self._texts = self._embedded(options.class_names, tokenize) if options.class_names else None
        self.num_classes = len(options.class_names)
        with torch.inference_mode():
            probe = torch.zeros(1, 3, self._side, self._side, device=device)
            self.feature_dim = int(self._net.encode_image(probe).shape[1])

    def prepare(self, pixels: np.ndarray) -> Tensor:
        """Returns all parts of a picture, each resized to the model's square, [parts, 3, side, side]."""
        image = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1).float() / 255
        height, width = pixels.shape[:2]
        parts = []
        for x0, y0, x1, y1 in self._boxes.tolist():
            part = image[:, int(y0 * height):max(int(y1 * height), int(y0 * height) + 1),
                         int(x0 * width):max(int(x1 * width), int(x0 * width) + 1)]
            parts.append(F.interpolate(part[None], (self._side, self._side), mode="bicubic", antialias=True,
                                       align_corners=False)[0].clamp(0, 1))
        return (torch.stack(parts) - self._means) / self._deviations

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
    def _embedded(self, names: tuple[str, ...], tokenize: Any) -> Tensor:
        texts = [_PROMPT.format(name) for name in names]
        return torch.cat([F.normalize(self._net.encode_text(
            tokenize(texts[at:at + _NAMES_AT_ONCE]).to(self._device)).float(), dim=-1)
            for at in range(0, len(texts), _NAMES_AT_ONCE)])


def _open(architecture: str, with_names: bool) -> tuple[Any, Any]:
    import open_clip
    known = open_clip.list_models()
    if architecture not in known:
        raise WeightsError(f"clip: architecture {architecture!r} is not known to open_clip; it has "
                           f"{', '.join(known[:3])} and {len(known) - 3} more (ViT-B-32 for most checkpoints)")
    config = open_clip.get_model_config(architecture) or {}
    if any(name in config.get("text_cfg", {}) for name in ("hf_model_name", "hf_tokenizer_name")):
        raise WeightsError(f"clip: {architecture} takes its text part from a download; choose one that is whole, such "
                           f"as ViT-B-32")
    # Weights are loaded by name afterwards, and all of them: what it begins with, and warns of, is overwritten.
    logging.disable(logging.WARNING)
    try:
        model = open_clip.create_model(architecture, pretrained=None, pretrained_image=False)
    finally:
        logging.disable(logging.NOTSET)
    return model, open_clip.get_tokenizer(architecture) if with_names else None


def _parts(grid: int) -> Tensor:
    """Returns the boxes of the picture, of its 2 x 2 parts, and so on up to grid x grid; row by row."""
    found = [[column / cells, row / cells, (column + 1) / cells, (row + 1) / cells]
             for cells in range(1, grid + 1) for row in range(cells) for column in range(cells)]
    return torch.tensor(found)
