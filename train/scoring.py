"""ITM logits of every image with every caption, from dense batches of equal lengths: no padding, no repeated work.

What does not depend on the pair is computed once an image or a caption: the embeddings (with the visual projection) and
the first layer's queries, keys and values.  The last layer is computed for [CLS] alone, since nothing else is read from
it.  Both are exact: a test compares with `ImageBert.match`.
"""
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from model.imagebert import Block, ImageBert
from train.items import Collection, Words
from train.packing import NOTHING, Rows, Sample, SpecialTokens, build_pack, capacity_for
from train.tags import tags_of

# Tokens of one batch on a CPU: 64-wide activations stay in a core's cache (measured: 9.0k pairs/s, 6.9k with 8192).
TOKENS_PER_BATCH = 1024
TOKENS_PER_BATCH_CUDA = 65536
_EMBED_AT_ONCE = 256


@dataclasses.dataclass(frozen=True, slots=True)
class _Halves:
    """Sequences of one length, one half of a pair each, embedded; and the first layer's qkv of them."""

    numbers: NDArray[np.int64]     # whose they are
    x_NLD: Tensor
    qkv_NLE: Tensor                # [N, L, 3 D]


class CrossScorer:
    """Scores blocks of the cross product of a collection; safe to use from several threads."""

    def __init__(self, model: ImageBert, collection: Collection, special: SpecialTokens,
                 tokens_per_batch: int = 0) -> None:
        """`tokens_per_batch` of 0 chooses by the device; it changes no score beyond rounding."""
        self.model = model.eval()
        on_gpu = model.itm.weight.is_cuda
        self.tokens_per_batch = tokens_per_batch or (TOKENS_PER_BATCH_CUDA if on_gpu else TOKENS_PER_BATCH)
        words, self.image_of_caption = collection.flat_captions()
        self.num_images, self.num_captions = len(collection), len(words)
        with torch.inference_mode():
            self._images = self._halves(collection.samples, special, image=True)
            self._captions = self._halves(caption_samples(collection, words), special, image=False)

    def rows(self, first: int, last: int) -> NDArray[np.float32]:
        """Returns the logits of images first..last-1 with all captions, [last - first, C]."""
        scores_IC = np.empty((last - first, self.num_captions), np.float32)
        with torch.inference_mode():
            for images in self._images:
                own = np.flatnonzero((images.numbers >= first) & (images.numbers < last))
                if len(own):
                    for captions in self._captions:
                        block = self._product(images, own, captions)
                        scores_IC[np.ix_(images.numbers[own] - first, captions.numbers)] = block
        return scores_IC

    def _product(self, images: _Halves, own: NDArray[np.int64], captions: _Halves) -> NDArray[np.float32]:
        """Returns the logits of some images with all captions of one length."""
        length = images.x_NLD.shape[1] + captions.x_NLD.shape[1]
        step = max(1, self.tokens_per_batch // length)
        count = len(captions.numbers)
        pairs = len(own) * count
        logits = torch.empty(pairs, dtype=torch.float32, device=images.x_NLD.device)
        for start in range(0, pairs, step):
            number = np.arange(start, min(start + step, pairs))
            i = torch.from_numpy(own[number // count]).to(logits.device)
            c = torch.from_numpy(number % count).to(logits.device)
            logits[start:start + step] = self._forward(
                torch.cat([images.x_NLD[i], captions.x_NLD[c]], dim=1),
                torch.cat([images.qkv_NLE[i], captions.qkv_NLE[c]], dim=1))
        return logits.view(len(own), count).cpu().numpy()

    def _forward(self, x_BLD: Tensor, qkv_BLE: Tensor) -> Tensor:
        layers = [cast(Block, layer) for layer in self.model.layers]
        for number, layer in enumerate(layers):
            if number:
                qkv_BLE = layer.qkv(x_BLD)
            if number == len(layers) - 1:
                x_BLD = _finish(layer, x_BLD[:, :1], _attend(qkv_BLE, layer.heads, queries=1))
            else:
                x_BLD = _finish(layer, x_BLD, _attend(qkv_BLE, layer.heads, queries=x_BLD.shape[1]))
        return self.model.itm(torch.tanh(self.model.pooler(x_BLD[:, 0]))).squeeze(-1).float()

    def _halves(self, samples: Sequence[Sample], special: SpecialTokens, image: bool) -> list[_Halves]:
        lengths = np.array([len(sample.classes) if image else len(sample.words) for sample in samples])
        lengths += tags_of(samples, special).counts if image else 0
        groups = []
        for length in np.unique(lengths):
            numbers = np.flatnonzero(lengths == length)
            x = torch.cat([self._embed([samples[n] for n in numbers[at:at + _EMBED_AT_ONCE]], special, image)
                           for at in range(0, len(numbers), _EMBED_AT_ONCE)])
            groups.append(_Halves(numbers, x, cast(Block, self.model.layers[0]).qkv(x)))
        return groups

    def _embed(self, samples: Sequence[Sample], special: SpecialTokens, image: bool) -> Tensor:
        """Returns [N, L, D]: [CLS] regions [SEP] of images, words [SEP] of captions."""
        each, none = np.arange(len(samples)), np.full(len(samples), NOTHING)
        rows = Rows.pairs(each, none) if image else Rows.pairs(none, each)
        pack = build_pack(samples, rows, special, capacity_for(samples, rows, special)).cropped()
        x_TD = self.model.embeddings(pack.to(self.model.itm.weight.device))
        x_NLD = x_TD.view(len(samples), -1, x_TD.shape[-1])
        return x_NLD if image else x_NLD[:, 1:].contiguous()       # the image's half has the [CLS]


def caption_samples(collection: Collection, words: Sequence[Words]) -> list[Sample]:
    """Returns captions as samples without regions, so that a pack stores no feature for them."""
    one = collection.samples[0]
    empty = dataclasses.replace(one, features=one.features[:0], scale=one.scale[:0], zero=one.zero[:0],
                                boxes=one.boxes[:0], classes=one.classes[:0])
    return [dataclasses.replace(empty, words=own) for own in words]


def contrastive_scores(model: ImageBert, collection: Collection, special: SpecialTokens) -> NDArray[np.float32]:
    """Returns cosines of image-only and text-only vectors, scores_IC; raises ValueError without projections."""
    if model.contrast is None:
        raise ValueError("this model has no contrastive projections (contrastive_dim is 0)")
    words, _ = collection.flat_captions()
    with torch.inference_mode():
        model.eval()
        images = _first_hidden(model, collection.samples, special, image=True)
        texts = _first_hidden(model, caption_samples(collection, words), special, image=False)
        scores = model.contrast.of_images(images).float() @ model.contrast.of_texts(texts).float().T
    return scores.cpu().numpy()


def _first_hidden(model: ImageBert, samples: Sequence[Sample], special: SpecialTokens, image: bool) -> Tensor:
    parts = []
    for at in range(0, len(samples), _EMBED_AT_ONCE):
        part = samples[at:at + _EMBED_AT_ONCE]
        each, none = np.arange(len(part)), np.full(len(part), NOTHING)
        rows = Rows.pairs(each, none) if image else Rows.pairs(none, each)
        pack = build_pack(part, rows, special, capacity_for(part, rows, special)).cropped().to(model.itm.weight.device)
        parts.append(model.encode(pack)[pack.first_tokens])
    return torch.cat(parts)


def _attend(qkv_BLE: Tensor, heads: int, queries: int) -> Tensor:
    """Returns [B, queries, D]: attention of the first `queries` tokens over all of their own sequence."""
    batch, length, _ = qkv_BLE.shape
    q, k, v = qkv_BLE.view(batch, length, 3, heads, -1).permute(2, 0, 3, 1, 4)      # each [B, heads, L, size]
    mixed = F.scaled_dot_product_attention(q[:, :, :queries], k, v)
    return mixed.transpose(1, 2).reshape(batch, queries, -1)


def _finish(layer: Block, x_BLD: Tensor, mixed_BLD: Tensor) -> Tensor:
    """Returns a layer's output from its attention's, as `Block.forward` without dropout."""
    x_BLD = layer.attention_norm(x_BLD + layer.attention_out(mixed_BLD))
    return layer.output_norm(x_BLD + layer.contract(F.gelu(layer.expand(x_BLD))))
