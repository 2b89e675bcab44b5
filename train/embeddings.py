"""Contrastive vectors of all images of a gallery, computed once and kept: a search then reads only what it shows.

    FOLDER/embeddings-<hash>.safetensors      numbers i64 [n], vectors f32 [n, d] of length 1

The hash is of the weights' and the images' digests, so that an index is never used for others.
"""
from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable

import numpy as np
import safetensors
import safetensors.numpy
import torch
from numpy.typing import NDArray

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from model.imagebert import ImageBert
from train.gallery import Gallery, chunks, read_samples
from train.opening import Checkpoint
from train.packing import NOTHING, Rows, Sample, SpecialTokens, build_pack, capacity_for

CHUNK = 256                        # images read and encoded together


@dataclasses.dataclass(frozen=True, slots=True)
class Embeddings:
    """Vectors of the usable images of a gallery."""

    numbers: NDArray[np.int64]     # [n] of the gallery
    vectors: NDArray[np.float32]   # [n, d]
    skipped: tuple[tuple[str, int], ...]   # reason and count of images left out, sorted
    path: str                      # where they are kept
    reused: bool                   # they were there already


def embeddings_of(checkpoint: Checkpoint, gallery: Gallery, folder: str,
                  on_images: Callable[[int], None] | None = None) -> Embeddings:
    """Returns the vectors kept in `folder`, or computes and keeps them."""
    identity = digest({"weights": checkpoint.weights_digest, "images": gallery.digest(),
                       "extractor": checkpoint.state.sources.extractor_digest})
    path = os.path.join(folder, f"embeddings-{identity[:16]}.safetensors")
    if os.path.isfile(path):
        return _read(path, checkpoint.model.config.contrastive_dim)
    numbers: list[int] = []
    parts: list[NDArray[np.float32]] = []
    skipped: dict[str, int] = {}
    for chunk in chunks(range(len(gallery)), CHUNK):
        kept, samples = read_samples(gallery, chunk, skipped)
        numbers += kept
        if kept:
            parts.append(vectors_of(checkpoint.model, samples, checkpoint.special, image=True))
        if on_images is not None:
            on_images(len(chunk))
    width = checkpoint.model.config.contrastive_dim
    vectors = np.concatenate(parts) if parts else np.empty((0, width), np.float32)
    found = Embeddings(np.array(numbers, np.int64), vectors, tuple(sorted(skipped.items())), path, False)
    _keep(found)
    return found


def vectors_of(model: ImageBert, samples: list[Sample], special: SpecialTokens, image: bool) -> NDArray[np.float32]:
    """Returns [n, d] contrastive vectors of images, or of texts; raises ValueError without projections."""
    if model.contrast is None:
        raise ValueError("this model has no contrastive projections (contrastive_dim is 0)")
    each, none = np.arange(len(samples)), np.full(len(samples), NOTHING)
    rows = Rows.pairs(each, none) if image else Rows.pairs(none, each)
    pack = build_pack(samples, rows, special, capacity_for(samples, rows, special)).cropped()
    pack = pack.to(model.itm.weight.device)
    with torch.inference_mode():
        hidden = model.eval().encode(pack)[pack.first_tokens]
        vectors = model.contrast.of_images(hidden) if image else model.contrast.of_texts(hidden)
    return vectors.float().cpu().numpy()


def _keep(found: Embeddings) -> None:
    data = safetensors.numpy.save({"numbers": found.numbers, "vectors": np.ascontiguousarray(found.vectors)},
                                  metadata={"skipped": json.dumps(dict(found.skipped), sort_keys=True)})
    try:
        storage.replace_bytes(found.path, data)
    except OSError as error:
        raise UsageError(f"{found.path}: the index of image vectors cannot be kept here ({error.strerror}); give "
                         f"--out FOLDER") from error


def _read(path: str, width: int) -> Embeddings:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            numbers, vectors = file.get_tensor("numbers"), file.get_tensor("vectors")
            skipped = json.loads((file.metadata() or {})["skipped"])
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise UsageError(f"{path}: the index of image vectors cannot be read ({error}); remove it, and it is made "
                         f"again") from error
    if vectors.shape != (len(numbers), width):
        raise UsageError(f"{path}: {list(vectors.shape)} vectors for {len(numbers)} images of width {width}; remove "
                         f"it, and it is made again")
    return Embeddings(numbers, vectors, tuple(sorted(skipped.items())), path, True)
