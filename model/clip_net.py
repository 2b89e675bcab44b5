"""open_clip's networks with weights by path: the one place where they are opened; nothing is downloaded."""
from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from torch import Tensor

from model.detection import WeightsError, load_exactly

_MEANS, _DEVIATIONS = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class ClipNet:
    """A loaded network, the side of the square it sees, and the means and deviations of its colours."""

    def __init__(self, tensors: dict[str, Tensor], file: str, architecture: str, device: str,
                 with_texts: bool = True) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")            # of its libraries' own changes
            self.net, self.tokenize = _open(architecture, with_texts)
        load_exactly(self.net, tensors, file)
        self.net.to(device).eval()
        self.device = device
        visual = self.net.visual
        size = visual.image_size
        self.side: int = size[0] if isinstance(size, tuple | list) else size
        facts = dict(getattr(visual, "preprocess_cfg", {}))
        self._means = torch.tensor(facts.get("mean") or _MEANS)[:, None, None]
        self._deviations = torch.tensor(facts.get("std") or _DEVIATIONS)[:, None, None]

    def normalised(self, pictures: Tensor) -> Tensor:
        """Returns pictures in [0, 1], [..., 3, H, W], as the network takes them."""
        return (pictures - self._means) / self._deviations


def _open(architecture: str, with_texts: bool) -> tuple[Any, Any]:
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
    return model, open_clip.get_tokenizer(architecture) if with_texts else None
