"""A folder of photographs with captions, read as a collection: for fine-tuning and evaluation on one's own set.

    FOLDER/captions.json                [{"file", "captions": [...], "split"}, ...], photographs in images/
    FOLDER/dataset_flickr30k.json       Karpathy's form (paper.md section 9.5), photographs in images/, in a folder
                                        named after "filepath", or beside the JSON
    FOLDER/annotations/captions_*.json  COCO's form (section 9.6): captions_train2014.json is the split `train`, val and
                                        test alike; photographs in images/ or in train2014/, val2014/, test2014/
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from crawl.errors import UsageError
from shards.regions import Regions, first
from shards.tokens import CaptionTokenizer
from train.items import Collection, sample_of

SPLITS = ("train", "val", "test")
# COCO's restval belongs to training (paper.md section 7).
_SPLIT_NAMES = {"restval": "train", "dev": "val"}
_ANNOTATIONS = "annotations"
_COCO_FILE = re.compile(r"captions_(train|val|test)(\d*)\.json")
MAX_IMAGE_BYTES = 64 * 1024 * 1024


class UnusableImage(ValueError):
    """An image that gives no regions; its text is a stable reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Photograph:
    """One entry of the captions file."""

    path: str                      # of the image file
    captions: tuple[str, ...]
    split: str                     # train, val or test


def captions_file(folder: str) -> str:
    """Returns the path of a folder's captions file, "" when it has none."""
    if not os.path.isdir(folder):
        return ""
    names = sorted(name for name in os.listdir(folder)
                   if name == "captions.json" or (name.startswith("dataset_") and name.endswith(".json")))
    found = [os.path.join(folder, name) for name in names] or _coco_files(folder)
    return found[0] if found else ""


def dataset_name(folder: str) -> str:
    """Returns what a captions file says it is, such as "coco" or "flickr30k"; "" where it does not say."""
    path = captions_file(folder)
    if os.path.basename(os.path.dirname(path)) == _ANNOTATIONS:
        return "coco"
    value = _read_json(path)
    return str(value.get("dataset", "")) if isinstance(value, dict) else ""


def read_photographs(folder: str) -> list[Photograph]:
    """Returns all entries of a captions file in its order; raises UsageError that names the entry that is wrong."""
    path = captions_file(folder)
    if not path:
        raise UsageError(f"{folder}: neither captions.json nor dataset_*.json nor annotations/captions_*.json is here; "
                         f"see `imagebert evaluate --help` for the form of a captioned folder")
    if os.path.basename(os.path.dirname(path)) == _ANNOTATIONS:
        return [one for file in _coco_files(folder) for one in _coco_photographs(folder, file)]
    value = _read_json(path)
    entries = value.get("images") if isinstance(value, dict) else value
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{path}: no list of images in it; give a list, or an object with a list \"images\"")
    return [_photograph(folder, f"{path}: entry {number}", entry) for number, entry in enumerate(entries)]


def _coco_files(folder: str) -> list[str]:
    inside = os.path.join(folder, _ANNOTATIONS)
    names = sorted(os.listdir(inside)) if os.path.isdir(inside) else []
    return [os.path.join(inside, name) for name in names if _COCO_FILE.fullmatch(name)]


def _coco_photographs(folder: str, path: str) -> list[Photograph]:
    """Returns the images of a COCO file in its order; captions in the order of their ids, none for an image without."""
    named = _COCO_FILE.fullmatch(os.path.basename(path))
    if named is None:
        raise ValueError(f"{path} is no captions_*.json")
    split, year = named.groups()
    value = _read_json(path)
    try:
        captions: dict[int, list[str]] = {}
        for note in sorted(value["annotations"], key=lambda note: int(note["id"])):
            captions.setdefault(int(note["image_id"]), []).append(note["caption"])
        entries = [{"file": image["file_name"], "captions": captions.pop(int(image["id"]), []), "split": split,
                    "filepath": f"{split}{year}"} for image in value["images"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: not COCO's captions ({type(error).__name__}: {error}); it has \"images\" with id "
                         f"and file_name and \"annotations\" with id, image_id and caption") from error
    if captions:
        raise UsageError(f"{path}: a caption of image {min(captions)}, which is not among its images")
    return [_photograph(folder, f"{path}: image {number}", entry, least=0) for number, entry in enumerate(entries)]


def _read_json(path: str) -> Any:
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{path}: not JSON ({error}); write it again as UTF-8 JSON") from error


def _photograph(folder: str, where: str, entry: Any, least: int = 1) -> Photograph:
    if not isinstance(entry, dict):
        raise UsageError(f"{where} is {type(entry).__name__}, not an object")
    name = entry.get("file", entry.get("filename"))
    captions = entry.get("captions", [sentence.get("raw") for sentence in entry.get("sentences", ())])
    split = _SPLIT_NAMES.get(entry.get("split", ""), entry.get("split"))
    if not isinstance(name, str) or not name:
        raise UsageError(f"{where} has no \"file\" (or \"filename\")")
    if not isinstance(captions, list) or len(captions) < least or not all(isinstance(text, str) for text in captions):
        raise UsageError(f"{where} ({name}) has no list of captions")
    if split not in SPLITS:
        raise UsageError(f"{where} ({name}) has split {split!r}; it must be train, val, test or restval")
    # A name from the file must not lead out of the folder.
    if os.path.isabs(name) or ".." in name.replace("\\", "/").split("/"):
        raise UsageError(f"{where}: {name!r} leads out of the folder; give names relative to it")
    return Photograph(_find(folder, entry.get("filepath", ""), name), tuple(captions), split)


def _find(folder: str, subfolder: Any, name: str) -> str:
    places = [os.path.join(folder, "images", name), os.path.join(folder, name)]
    if isinstance(subfolder, str) and subfolder and ".." not in subfolder and not os.path.isabs(subfolder):
        places.insert(0, os.path.join(folder, subfolder, name))
    return next((place for place in places if os.path.isfile(place)), places[0])


def load_captioned(folder: str, splits: Iterable[str], regions_of: Callable[[bytes], Regions],
                   tokenizer: CaptionTokenizer, max_regions: int = 100,
                   on_image: Callable[[], None] | None = None) -> dict[str, Collection]:
    """Returns the splits asked for, regions by `regions_of`; unusable images are skipped and counted by reason.

    Raises UsageError for a split without a usable image.
    """
    photographs = read_photographs(folder)
    collections = {}
    for split in splits:
        chosen = [photograph for photograph in photographs if photograph.split == split]
        collections[split] = _load_split(f"{folder} {split}", chosen, regions_of, tokenizer, max_regions, on_image)
    return collections


def _load_split(name: str, photographs: list[Photograph], regions_of: Callable[[bytes], Regions],
                tokenizer: CaptionTokenizer, max_regions: int, on_image: Callable[[], None] | None) -> Collection:
    samples, captions = [], []
    skipped: dict[str, int] = {}
    for photograph in photographs:
        words = tuple(np.asarray(ids, np.int64) for ids in
                      (tokenizer.encode(caption)[0] for caption in photograph.captions) if ids)
        try:
            data = read_photograph(photograph.path)
            if not words:
                raise UnusableImage("no_words")
            regions = first(regions_of(data), max_regions)
            if not len(regions):
                raise UnusableImage("no_regions")
        except UnusableImage as reason:
            skipped[str(reason)] = skipped.get(str(reason), 0) + 1
        else:
            identity = hashlib.sha256(data).digest()
            number = int.from_bytes(identity[:8], "big")
            samples.append(sample_of(identity.hex()[:32], words[0].tolist(), regions, number))
            captions.append(words)
        if on_image is not None:
            on_image()
    if not samples:
        raise UsageError(f"{name}: no usable photograph in this split ({len(photographs)} named"
                         f"{', ' if skipped else ''}{', '.join(f'{n} {why}' for why, n in sorted(skipped.items()))}); "
                         f"the captions file must name photographs with this split")
    return Collection(name, tuple(samples), tuple(captions), tuple(sorted(skipped.items())))


def read_photograph(path: str) -> bytes:
    """Returns the bytes of an image file; raises UnusableImage for none, and for one above 64 MiB."""
    if not os.path.isfile(path):
        raise UnusableImage("image_missing")
    if os.path.getsize(path) > MAX_IMAGE_BYTES:
        raise UnusableImage("image_too_large")
    with open(path, "rb") as file:
        return file.read()
