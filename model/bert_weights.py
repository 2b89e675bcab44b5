"""Starts ImageBERT from a published BERT: our names for its tensors (paper.md section 9.9).

Accepted: files with and without the prefix `bert.`, LayerNorms called gamma/beta or weight/bias; `.safetensors`, and
`.bin`/`.pt` read without running any code in them (weights_only).
"""
from __future__ import annotations

import dataclasses
import os
import re

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.imagebert import ImageBert

_SIMPLE = {
    "embeddings.word_embeddings.weight": "embeddings.words.weight",
    "embeddings.position_embeddings.weight": "embeddings.positions.weight",
    "embeddings.token_type_embeddings.weight": "embeddings.segments.weight",
    "embeddings.LayerNorm": "embeddings.word_norm",
    "pooler.dense": "pooler",
    "cls.predictions.transform.dense": "mlm.transform",
    "cls.predictions.transform.LayerNorm": "mlm.norm",
    "cls.predictions.bias": "mlm.decoder.bias",
}
_IN_LAYER = {
    "attention.output.dense": "attention_out",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "expand",
    "output.dense": "contract",
    "output.LayerNorm": "output_norm",
}
# Known parts of BERT without a use here: the tied decoder is the word table, next-sentence prediction is gone.
_IGNORED = ("embeddings.position_ids", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias",
            "cls.seq_relationship.weight", "cls.seq_relationship.bias")
_QKV = ("query", "key", "value")


class UnusableWeights(ValueError):
    """A file that is no BERT for this model; the message is one line for a person."""


@dataclasses.dataclass(frozen=True, slots=True)
class BertReport:
    """What was found in a BERT file; print it."""

    loaded: tuple[str, ...]        # our names, sorted
    missing: tuple[str, ...]       # BERT's names we would have taken, sorted: these keep their random weights
    unexpected: tuple[str, ...]    # names in the file that mean nothing to us, sorted


def load_bert(model: ImageBert, path: str) -> BertReport:
    """Copies a BERT file into a model and reports every missing and unexpected name.

    The image LayerNorm starts as the text's (section 2.5).  Raises UnusableWeights for an unreadable file, for one
    without any encoder weight, and for another shape (which name, both shapes).
    """
    found = {_canonical(name): tensor for name, tensor in read_tensors(path).items()}
    targets = dict(model.named_parameters())
    wanted = _wanted(model)
    taken = {name: found[name] for name in wanted if name in found}
    if not any(name.startswith("encoder.layer.") for name in taken):
        raise UnusableWeights(f"{path}: no name of a BERT encoder in it (it has {', '.join(sorted(found)[:3])} ...); "
                              f"give the weights of a BERT, such as bert-base-uncased")
    for name, tensor in taken.items():
        ours, part = wanted[name]
        target = targets[ours].data if part is None else targets[ours].data.chunk(3)[part]
        if tensor.shape != target.shape:
            raise UnusableWeights(f"{path}: {name} is {list(tensor.shape)}, the model has {list(target.shape)}; "
                                  f"--set the model's sizes to those of this BERT")
        target.copy_(tensor)
    if not model.config.shared_layernorm:
        model.embeddings.region_norm.load_state_dict(model.embeddings.word_norm.state_dict())
    return BertReport(loaded=tuple(sorted({wanted[name][0] for name in taken})),
                      missing=tuple(sorted(wanted.keys() - taken.keys())),
                      unexpected=tuple(sorted(found.keys() - wanted.keys() - set(_IGNORED))))


def read_tensors(path: str) -> dict[str, Tensor]:
    """Returns the tensors of a .safetensors, .bin or .pt file by name; raises UnusableWeights for an unreadable one."""
    if not os.path.isfile(path):
        raise UnusableWeights(f"{path}: no such file; give model.safetensors or pytorch_model.bin of a BERT")
    try:
        if path.endswith(".safetensors"):
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, ValueError, RuntimeError) as error:
        raise UnusableWeights(f"{path}: cannot be read as weights ({_first_line(error)}); download it again") from error
    except Exception as error:      # pickle.UnpicklingError and its kin: the file wants to run code
        raise UnusableWeights(f"{path}: not plain tensors ({_first_line(error)}); convert it to safetensors") from error
    if not isinstance(tensors, dict):
        raise UnusableWeights(f"{path}: holds a {type(tensors).__name__}, not tensors by name; give a state dict")
    return {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _canonical(name: str) -> str:
    name = name.removeprefix("bert.")
    return re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", name))


def _wanted(model: ImageBert) -> dict[str, tuple[str, int | None]]:
    """Returns BERT's name -> our name, and which third of it for query, key and value."""
    ours = dict(model.named_parameters())
    names: dict[str, tuple[str, int | None]] = {}
    for theirs, mine in _SIMPLE.items():
        if mine in ours:
            names[theirs] = (mine, None)
        else:
            names |= {f"{theirs}.{kind}": (f"{mine}.{kind}", None) for kind in ("weight", "bias")}
    for layer in range(model.config.layers):
        for kind in ("weight", "bias"):
            for theirs, mine in _IN_LAYER.items():
                names[f"encoder.layer.{layer}.{theirs}.{kind}"] = (f"layers.{layer}.{mine}.{kind}", None)
            for part, letter in enumerate(_QKV):
                names[f"encoder.layer.{layer}.attention.self.{letter}.{kind}"] = (f"layers.{layer}.qkv.{kind}", part)
    return names


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
