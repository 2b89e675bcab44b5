"""Opens a checkpoint with its tokenizer, and the data it is to be tuned or measured on; refuses what does not fit."""
from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Sequence

import torch

from crawl.errors import UsageError
from model.imagebert import ImageBert
from shards.manifest import ShardSet, load_shards
from shards.tokens import MAX_PIECES, CaptionTokenizer, load_tokenizer
from train.captioned import captions_file, load_captioned, read_photographs
from train.checkpoint import AVERAGE, RunState, load_model
from train.data import special_tokens
from train.extractor import load_extractor
from train.items import Collection, from_shards
from train.packing import SpecialTokens
from train.randomness import ORDER_SHARDS, permutation

# Where data has no validation split, this share of its training images is kept out for it.
_VALIDATION_SHARE = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model ready to score, and where it comes from."""

    model: ImageBert
    state: RunState
    folder: str                    # with model.safetensors and vocab.txt
    tokenizer: CaptionTokenizer
    weights_digest: str            # sha256 of model.safetensors

    @property
    def special(self) -> SpecialTokens:
        """Returns the ids the layout needs."""
        return special_tokens(self.tokenizer, self.model.config)

    @property
    def max_regions(self) -> int:
        """Returns how many regions fit beside the longest caption."""
        return self.model.config.max_tokens - MAX_PIECES - 3 - self.model.config.image_extra


def open_checkpoint(path: str, averaged: bool = False) -> Checkpoint:
    """Returns a run's current checkpoint, on a GPU where there is one; raises UsageError that says what is wrong.

    `averaged` takes the mean of past weights that the run kept, instead of the last ones.
    """
    model, state, folder = load_model(path, averaged)
    tokenizer = load_tokenizer(os.path.join(folder, "vocab.txt"))
    if tokenizer.digest != state.sources.tokenizer:
        raise UsageError(f"{folder}/vocab.txt is not the vocabulary this checkpoint was trained with "
                         f"({tokenizer.digest[:12]}, recorded is {state.sources.tokenizer[:12]}); copy the right one")
    with open(os.path.join(folder, AVERAGE if averaged else "model.safetensors"), "rb") as file:
        weights = hashlib.file_digest(file, "sha256").hexdigest()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Checkpoint(model.to(device).eval(), state, folder, tokenizer, weights)


def open_data(path: str, checkpoint: Checkpoint, splits: Sequence[str], max_regions: int = 0,
              train_limit: int | None = None, on_image: Callable[[], None] | None = None) -> dict[str, Collection]:
    """Returns splits of a dataset or of a captioned folder.

    Shards have no split `val`: a tenth of their training images, by hash, is taken for it.  So it is in a captioned
    folder that names none.  `train_limit` bounds the training images read from shards.
    """
    regions = min(max_regions or checkpoint.max_regions, checkpoint.max_regions)
    if captions_file(path):
        stored = {photograph.split for photograph in read_photographs(path)}
        regions_of = load_extractor(checkpoint.folder, checkpoint.state)
        found = load_captioned(path, _stored(splits, stored), regions_of, checkpoint.tokenizer, regions, on_image)
    else:
        shards = load_shards(path)
        check_fits(checkpoint, shards)
        found = {split: from_shards(shards, split, checkpoint.tokenizer, regions,
                                    train_limit if split == "train" else None)
                 for split in _stored(splits, {"train", "test"})}
    if "val" in splits and "val" not in found:
        found["train"], found["val"] = _split_off(found["train"])
    return {split: found[split] for split in splits}


def check_fits(checkpoint: Checkpoint, shards: ShardSet) -> None:
    """Raises UsageError when shards have another vocabulary, extractor or feature width than the model knows."""
    sources, config = checkpoint.state.sources, checkpoint.model.config
    for what, width, found in (("feature width", config.feature_dim, shards.feature_dim),
                               ("number of region classes", config.num_classes, shards.num_classes)):
        if width != found:
            raise UsageError(f"{checkpoint.folder} is a checkpoint of another model: its {what} is {width}, "
                             f"{shards.directory} has {found}; use the shards it was trained on, or another checkpoint")
    for what, theirs, ours in (("vocabulary", sources.tokenizer, shards.tokenizer_digest),
                               ("region extractor", sources.extractor_digest, shards.extractor_digest)):
        if theirs != ours:
            raise UsageError(f"{checkpoint.folder} was trained with {what} {theirs[:12]}, {shards.directory} was built "
                             f"with {ours[:12]}; build the shards with the checkpoint's own, or use another checkpoint")


def _stored(splits: Sequence[str], stored: set[str]) -> list[str]:
    """Returns which stored splits must be read for the splits asked for."""
    needed = set(splits)
    if "val" in needed and "val" not in stored:
        needed = needed - {"val"} | {"train"}
    return sorted(needed)


def _split_off(train: Collection) -> tuple[Collection, Collection]:
    """Returns the training images without a tenth of them, and that tenth: a pure function of their keys."""
    by_key = sorted(range(len(train)), key=lambda index: (train.samples[index].key_hash, index))
    count = max(2, int(len(train) * _VALIDATION_SHARE))
    if len(train) < count + 2:
        raise UsageError(f"{train.name}: {len(train)} images are too few to keep some for validation; give at least 4")
    order = [by_key[number] for number in permutation(len(train), ORDER_SHARDS)]
    return train.take(sorted(order[count:])), train.take(sorted(order[:count]), f"{train.name}, kept for validation")
