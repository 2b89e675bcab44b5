"""Evaluation images that must not be learned from: a folder of them, or a list of their hashes.

    FOLDER    image files below it; a picture that passes the near-duplicate tests against one of them is out
    LIST      sha256:HEX or phash:HEX[:RADIUS] a line, as of --block-hashes

Every image is compared with all of them, not by bands: there are thousands, and a missed one spoils a benchmark.
"""
from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from crawl.block_list import hash_rules
from crawl.config import digest
from crawl.errors import UsageError
from crawl.records import Image
from crawl.suppress import Suppression
from filter.decode import MAX_PIXELS
from filter.image_work import image_sandbox, measured_images
from filter.images import DECODED
from filter.near_duplicates import NearRules, card_of, pack, packed_rows, same_as_any
from filter.records import ImageFacts

OPTION = "--decontaminate"
EVALUATION_IMAGE = "evaluation_image"      # the outcome of what shows one
MAX_IMAGES = 500_000
_LISTED = np.dtype([("hash", "<u8"), ("radius", "u1")])
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationSource:
    """What --decontaminate names, before any picture is decoded; empty without it."""

    path: str = ""
    digest: str = ""               # of its rules, or of the sha256 of its files: names and order do not matter
    files: tuple[str, ...] = ()    # of a folder
    count: int = 0                 # distinct files, or rules

    def __bool__(self) -> bool:
        return bool(self.path)


@dataclasses.dataclass(frozen=True, slots=True)
class EvaluationImages:
    """Evaluation images, ready to be asked; small enough to travel with a job."""

    sha256: frozenset[str] = frozenset()
    cards: bytes = b""             # packed cards of a folder's pictures, one after another
    hashes: bytes = b""            # (perceptual hash, radius) of a list, packed
    unreadable: int = 0            # files of the folder that do not decode: only their very bytes are known

    def shows(self, facts: ImageFacts, rules: NearRules) -> bool:
        """Returns whether an image is one of them or a near-duplicate of one."""
        if facts.sha256 in self.sha256:
            return True
        if facts.outcome != DECODED:
            return False
        if self.hashes:
            listed = np.frombuffer(self.hashes, dtype=_LISTED)
            bits = np.bitwise_count(listed["hash"] ^ np.uint64(int(facts.perceptual_hash, 16)))
            return bool((bits <= listed["radius"]).any())
        return bool(self.cards) and same_as_any(pack(card_of(facts, 0.0)), packed_rows(self.cards), rules)


def evaluation_source(path: str) -> EvaluationSource:
    """Returns what a path holds, "" for nothing.

    Raises UsageError for what is neither a folder of images nor a list.
    """
    if not path:
        return EvaluationSource()
    folder = pathlib.Path(path)
    if not folder.is_dir():
        if "://" not in path and not folder.exists():
            raise UsageError(f"{OPTION} {path}: there is no such folder or file; name a folder of evaluation images, "
                             "or a list of their hashes")
        rules = hash_rules(path, OPTION)
        return EvaluationSource(path, Suppression(rules).digest, (), len(set(rules)))
    files = sorted(str(file) for file in folder.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise UsageError(f"{OPTION} {path}: no image below this folder ({', '.join(_SUFFIXES)}); name another one")
    if len(files) > MAX_IMAGES:
        raise UsageError(f"{OPTION} {path}: {len(files)} images are too many (at most {MAX_IMAGES}); give their hashes "
                         "as a list")
    known = sorted({_sha256(file) for file in files})
    return EvaluationSource(path, digest({"files": known}), tuple(files), len(known))


def evaluation_images(source: EvaluationSource) -> EvaluationImages:
    """Returns the images of a source, hashed in the sandbox; raises UsageError where no picture of a folder decodes."""
    if not source:
        return EvaluationImages()
    if not source.files:
        rules = hash_rules(source.path, OPTION)
        hashes = [(int(rule.value, 16), rule.radius) for rule in rules if rule.kind == "phash"]
        return EvaluationImages(frozenset(rule.value for rule in rules if rule.kind == "sha256"),
                                hashes=np.array(hashes, dtype=_LISTED).tobytes())
    with image_sandbox(MAX_PIXELS) as box:
        measured = list(measured_images(box, _stored(source.files)))
    cards = sorted({pack(card_of(facts, 0.0)) for facts in measured if facts.outcome == DECODED})
    if not cards:
        raise UsageError(f"{OPTION} {source.path}: none of its {len(measured)} images decodes; name another folder")
    return EvaluationImages(frozenset(facts.sha256 for facts in measured), b"".join(cards),
                            unreadable=sum(facts.outcome != DECODED for facts in measured))


def evaluation_facts(source: EvaluationSource, images: EvaluationImages) -> dict[str, Any]:
    """Returns what the manifest says of them: never a path."""
    return {"digest": source.digest, "count": source.count, "kind": "folder" if source.files else "list",
            "unreadable": images.unreadable}


def _stored(files: tuple[str, ...]) -> Iterator[tuple[Image, bytes]]:
    for file in files:
        data = pathlib.Path(file).read_bytes()
        yield Image(url_key="", url="", outcome="ok", http_status=200, final_url="", fetched_at="", signals=(),
                    permission="", format="", width=1, height=1, num_bytes=len(data),
                    sha256=hashlib.sha256(data).hexdigest(), part="", offset=0, length=len(data)), data


def _sha256(file: str) -> str:
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UsageError(f"{OPTION}: cannot read {file}: {error.strerror or error}") from error
