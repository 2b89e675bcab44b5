"""Pictures and texts as open_clip's unit embeddings, and what a head says of a picture's.

Pictures are seen as the published models were trained: the shorter side resized, the middle cut out.
"""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from model.checkpoint_tensors import tensors_in
from model.clip_heads import Head, open_head
from model.clip_net import ClipNet
from model.detection import WeightsError


class ClipPairs:
    """A network, and a head where one is given."""

    def __init__(self, weights: bytes, file: str, architecture: str, batch: int, device: str = "",
                 head: bytes = b"", head_file: str = "") -> None:
        """Raises WeightsError for weights that are not the architecture's, or a head for embeddings of another size."""
        self._clip = ClipNet(tensors_in(weights, file), file, architecture,
                             device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._batch = batch
        with torch.inference_mode():
            probe = torch.zeros(1, 3, self._clip.side, self._clip.side, device=self._clip.device)
            self.dim = int(self._clip.net.encode_image(probe).shape[1])
        self._head: Head | None = open_head(head, head_file) if head_file else None
        if self._head is not None and self._head.dim != self.dim:
            raise WeightsError(f"{head_file}: a head over embeddings of {self._head.dim} values, and {architecture} "
                               f"makes {self.dim}; name the head that was trained on this model")

    @torch.inference_mode()
    def pictures(self, pixels: Sequence[np.ndarray]) -> np.ndarray:
        """Returns the unit embeddings of upright RGB pictures u8 [H, W, 3]: f32 [n, dim]."""
        found = [np.zeros((0, self.dim), np.float32)]
        for at in range(0, len(pixels), self._batch):
            prepared = torch.stack([self._prepared(one) for one in pixels[at:at + self._batch]])
            found.append(_unit(self._clip.net.encode_image(prepared.to(self._clip.device))))
        return np.concatenate(found)

    @torch.inference_mode()
    def texts(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the unit embeddings of texts: f32 [n, dim]; what is beyond the model's length is not read."""
        found = [np.zeros((0, self.dim), np.float32)]
        for at in range(0, len(texts), self._batch):
            tokens = self._clip.tokenize(list(texts[at:at + self._batch]))
            found.append(_unit(self._clip.net.encode_text(tokens.to(self._clip.device))))
        return np.concatenate(found)

    def unsafe(self, embeddings: np.ndarray) -> list[float]:
        """Returns the head's P(unsafe) of each embedding; -1 without a head."""
        if self._head is None:
            return [-1.0] * len(embeddings)
        return self._head.probabilities(torch.from_numpy(embeddings)).tolist()

    def _prepared(self, pixels: np.ndarray) -> Tensor:
        image = torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255
        height, width = pixels.shape[:2]
        side, short = self._clip.side, min(height, width)
        size = (max(side, round(height * side / short)), max(side, round(width * side / short)))
        if max(size) > 8 * side:                               # a ribbon: its middle is enough
            keep = 8 * short
            top, left = max(0, (height - keep) // 2), max(0, (width - keep) // 2)
            return self._prepared(pixels[top:top + keep, left:left + keep])
        image = F.interpolate(image[None], size, mode="bicubic", antialias=True, align_corners=False)[0].clamp(0, 1)
        top, left = (size[0] - side) // 2, (size[1] - side) // 2
        return self._clip.normalised(image[:, top:top + side, left:left + side])


def _unit(embeddings: Tensor) -> np.ndarray:
    return F.normalize(embeddings.float(), dim=-1).cpu().numpy()
