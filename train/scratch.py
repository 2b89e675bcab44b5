"""An untrained checkpoint for a captioned folder: vocabulary, codebook and model size made from its photographs.

What `imagebert finetune --from-scratch` begins with where nobody gives a checkpoint.
"""
from __future__ import annotations

import collections
import hashlib
import os

import numpy as np
import torch

from crawl.config import as_dict, digest
from crawl.errors import UsageError
from model import config as sizes
from model.imagebert import ImageBert
from train.captioned import Photograph, read_photographs
from train.checkpoint import RunState, Sources, own_tensors, write_checkpoint
from train.extractor import PATCHES, ExtractorFacts, write_extractor
from train.randomness import torch_seed

_VOCABULARY = 2000
_MIN_COUNT = 2


def scratch_checkpoint(folder: str, out: str, seed: int = 1) -> str:
    """Writes a run folder with an untrained model of the demo's size and returns it; training photographs only."""
    photographs = [one for one in read_photographs(folder) if one.split == "train"]
    if not photographs:
        raise UsageError(f"{folder}: no photograph of split 'train' to make a vocabulary and a codebook from")
    os.makedirs(out, exist_ok=True)
    vocab_path, codebook_path = os.path.join(out, "vocab.txt"), os.path.join(out, "fitted.safetensors")
    pieces = _write_vocabulary(photographs, vocab_path)
    facts = _write_codebook(photographs, codebook_path)
    write_extractor(facts, codebook_path, out)
    os.remove(codebook_path)
    config = sizes.demo(len(pieces), facts.feature_dim, facts.num_classes)
    torch.manual_seed(torch_seed(seed))
    model = ImageBert(config)
    with open(vocab_path, "rb") as file:
        tokenizer = hashlib.sha256(file.read()).hexdigest()
    state = RunState(stage=0, stage_name="scratch", step=0, samples=0, lanes=(), pending=(), pending_steps=0,
                     finished=True, parent="", model=as_dict(config),
                     sources=Sources(config=digest(config), manifest="", tokenizer=tokenizer,
                                     extractor=facts.name, extractor_digest=facts.digest))
    weights = {name: tensor.detach() for name, tensor in own_tensors(model).items()}
    write_checkpoint(out, vocab_path, weights, {}, state)
    return out


def _write_vocabulary(photographs: list[Photograph], path: str) -> tuple[str, ...]:
    from shards.vocabulary import VocabConfig, train_pieces, words_of
    counts = collections.Counter(word for one in photographs for caption in one.captions for word in words_of(caption))
    pieces = train_pieces(counts.items(), VocabConfig(size=_VOCABULARY, min_count=_MIN_COUNT))
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(piece + "\n" for piece in pieces)
    return pieces


def _write_codebook(photographs: list[Photograph], path: str) -> ExtractorFacts:
    from shards import patches
    config = patches.PatchesConfig()
    cells = []
    for one in photographs[:config.codebook_images]:
        if os.path.isfile(one.path):
            with open(one.path, "rb") as file:
                decoded = patches.decode_for(file.read(), config)
            if decoded.pixels is not None:
                own = patches.chosen_cells(os.path.basename(one.path), config)
                cells.append(patches.cells_of(decoded.pixels, config)[own])
    if not cells:
        raise UsageError(f"{os.path.dirname(photographs[0].path)}: none of the {len(photographs)} training photographs "
                         f"can be decoded; put the files where the captions file names them")
    data = patches.pack_codebook(patches.fit_codebook(np.concatenate(cells), config))
    with open(path, "wb") as file:
        file.write(data)
    identity = digest({"name": PATCHES, "config": as_dict(config), "codebook": hashlib.sha256(data).hexdigest()})
    return ExtractorFacts(PATCHES, identity, config.feature_dim, config.num_classes, config.num_regions)
