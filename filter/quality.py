"""Does a cleaned text read like a caption?  A fastText classifier of one's own (`imagebert quality train`).

No model is shipped: without a path the rule is off, and the manifest of `judge` says so.
"""
from __future__ import annotations

import functools
import hashlib
import pathlib
from typing import Any

from crawl.errors import UsageError
from filter.records import on_grid

CAPTION, NOISE = "__label__caption", "__label__noise"
# Behind fastText's own bytes, which it reads to their end and no further: a model cut short it would load in silence.
_SEAL = b"\nimagebert caption quality, version 1, sha256 "
_SEAL_LENGTH = len(_SEAL) + 64
OFF = ("caption quality: off, for no model is named (--set quality_path=MODEL; `imagebert quality train` makes one "
       "from captions and boilerplate of your own)")


def caption_quality(text: str, path: str) -> float:
    """Returns P(a caption, not page furniture) of a cleaned text in [0, 1], on the grid."""
    found = quality_model(path).f.predict(as_read(text) + "\n", 2, 0.0, "strict")
    return on_grid(min(1.0, max(0.0, next((float(p) for p, label in found if label == CAPTION), 0.0))))


def as_read(text: str) -> str:
    """Returns a text as the classifier reads it: one line, small letters, every digit a 0, no label in it.

    >>> as_read("Room 12 __label__x\\nThe End")
    'room 00 label x the end'
    """
    plain = "".join("0" if character.isdigit() else character for character in text.lower())
    return " ".join(plain.replace("__label__", "label ").split())


def sealed(model: bytes) -> bytes:
    """Returns the bytes of a model file: fastText's own, and the seal."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


def model_digest(path: str) -> str:
    """Returns the sha256 hex of a model's file; raises UsageError for one that is none, or is cut off or changed."""
    try:
        data = pathlib.Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"quality_path {path!r}: cannot be read ({error.strerror}); name a model that `imagebert "
                         f"quality train` wrote, or leave it empty") from error
    model, seal = data[:-_SEAL_LENGTH], data[-_SEAL_LENGTH:]
    if not seal.startswith(_SEAL):
        raise UsageError(f"quality_path {path!r}: not a model that `imagebert quality train` wrote, or cut off; "
                         f"copy it again, or train it again")
    if seal != _SEAL + hashlib.sha256(model).hexdigest().encode():
        raise UsageError(f"quality_path {path!r}: changed since it was written; copy it again, or train it again")
    return hashlib.sha256(data).hexdigest()


@functools.cache
def quality_model(path: str) -> Any:
    """Returns fastText's model from a file; raises UsageError as `model_digest` does."""
    model_digest(path)
    import fasttext  # built from source; only a run with a model needs it

    return fasttext.load_model(path)
