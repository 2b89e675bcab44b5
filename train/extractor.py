"""The region extractor a model was trained with, kept beside its checkpoints: a photograph of one's own needs it.

    OUT/extractor.json             name, digest, numbers of regions, features and classes
    OUT/codebook.safetensors       of `patches`
"""
from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable

from crawl.config import as_dict
from crawl.errors import UsageError
from shards.manifest import ShardSet
from shards.regions import Regions
from train.captioned import UnusableImage
from train.checkpoint import RunState

EXTRACTOR = "extractor.json"
CODEBOOK = "codebook.safetensors"
PATCHES = "patches"


@dataclasses.dataclass(frozen=True, slots=True)
class ExtractorFacts:
    """What a model must know of its extractor to see a new image as it saw the old ones."""

    name: str                      # patches, bottom-up, ...
    digest: str                    # of settings and weights: Sources.extractor_digest
    feature_dim: int
    num_classes: int
    max_regions: int


def keep_extractor(shards: ShardSet, out: str) -> None:
    """Writes the facts of the shards' extractor, and its codebook if it has one, into a run folder."""
    facts = ExtractorFacts(shards.extractor, shards.extractor_digest, shards.feature_dim, shards.num_classes,
                           shards.max_regions)
    write_extractor(facts, shards.path(shards.codebook) if shards.codebook else "", out)


def copy_extractor(checkpoint: str, out: str) -> None:
    """Copies what `keep_extractor` wrote beside one checkpoint into another run folder, if it is there."""
    home = _home(checkpoint)
    if home:
        codebook = os.path.join(home, CODEBOOK)
        write_extractor(_facts(home), codebook if os.path.isfile(codebook) else "", out)


def write_extractor(facts: ExtractorFacts, codebook: str, out: str) -> None:
    """Writes facts and a copy of the codebook's file into a folder."""
    os.makedirs(out, exist_ok=True)
    if codebook:
        _replace(os.path.join(out, CODEBOOK), lambda name: shutil.copyfile(codebook, name))
    text = json.dumps(as_dict(facts), indent=1, sort_keys=True)
    _replace(os.path.join(out, EXTRACTOR), lambda name: _write(name, text))


def load_extractor(checkpoint: str, state: RunState) -> Callable[[bytes], Regions]:
    """Returns image bytes -> regions, as the checkpoint's training data had them.

    The function raises UnusableImage with a stable reason.  Raises UsageError when the extractor is not beside the
    checkpoint, is another one, or is one that this command cannot run.
    """
    home = _home(checkpoint)
    if not home:
        raise UsageError(f"{checkpoint}: no {EXTRACTOR} beside this checkpoint, so photographs cannot be cut into "
                         f"regions as it knows them; copy {EXTRACTOR} and {CODEBOOK} from the folder of its run")
    facts = _facts(home)
    if facts.digest != state.sources.extractor_digest:
        raise UsageError(f"{home}/{EXTRACTOR} is of extractor {facts.digest[:12]}, the checkpoint was trained with "
                         f"{state.sources.extractor_digest[:12]}; copy the one of its own run")
    if facts.name != PATCHES:
        raise UsageError(f"{checkpoint} was trained on regions of {facts.name!r}; this command cuts photographs with "
                         f"'{PATCHES}' only: build shards from the photographs with that extractor and give those")
    return patches_extractor(os.path.join(home, CODEBOOK), facts)


def patches_extractor(codebook: str, facts: ExtractorFacts) -> Callable[[bytes], Regions]:
    """Returns image bytes -> regions by `patches`; decoding is bounded by filter/decode.py."""
    from shards import patches
    if not os.path.isfile(codebook):
        raise UsageError(f"{codebook}: the codebook of the regions is missing; copy it from the folder of the run")
    with open(codebook, "rb") as file:
        centroids = patches.unpack_codebook(file.read())
    config = patches.PatchesConfig(grid=math.isqrt(facts.max_regions), cell=math.isqrt(facts.feature_dim // 3),
                                   num_classes=facts.num_classes)
    if (config.num_regions, config.feature_dim) != (facts.max_regions, facts.feature_dim) \
            or centroids.shape != (facts.num_classes, facts.feature_dim):
        raise UsageError(f"{codebook}: {centroids.shape[0]} classes of {centroids.shape[1]} values do not fit "
                         f"{EXTRACTOR} beside it; copy both files from one run")

    def regions_of(data: bytes) -> Regions:
        decoded = patches.decode_for(data, config)
        if decoded.pixels is None:
            raise UnusableImage(decoded.reason)
        return patches.extract(decoded.pixels, centroids, config)
    return regions_of


def _home(checkpoint: str) -> str:
    """Returns the folder with the facts: the checkpoint itself, or its run folder two levels up; "" for none."""
    places = (checkpoint, os.path.dirname(os.path.dirname(os.path.abspath(checkpoint))))
    return next((place for place in places if os.path.isfile(os.path.join(place, EXTRACTOR))), "")


def _facts(home: str) -> ExtractorFacts:
    path = os.path.join(home, EXTRACTOR)
    try:
        with open(path, encoding="utf-8") as file:
            return ExtractorFacts(**json.load(file))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); copy it again from the folder of the run") from error


def _write(name: str, text: str) -> None:
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def _replace(path: str, write: Callable[[str], object]) -> None:
    temporary = path + ".tmp"
    write(temporary)
    os.replace(temporary, path)
