"""Trains the caption-quality classifier: captions against page furniture, of files or of one's own datasets.

Equal texts give an equal model: one thread, a fixed seed, texts in sorted order.
"""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from crawl.errors import UsageError
from crawl.stages import current_manifest
from crawl.tables import read_table, stable_hash
from filter.captions import clean_caption, normalise_caption
from filter.quality import CAPTION, NOISE, as_read, caption_quality, quality_model, sealed
from filter.records import Best, Judged

# What the rules of `judge` call page furniture; shorter and longer texts may well be captions.
FURNITURE = frozenset(("boilerplate", "menu_text", "spam_words", "credit", "file_name", "repeated_words",
                       "mostly_symbols", "too_many_digits"))
_HELD_OUT = 10                     # one text of so many is not trained on, by the hash of its normalised form
_LEAST = 20                        # texts of each kind
_OPTIONS = {"dim": 16, "epoch": 12, "lr": 0.5, "wordNgrams": 2, "minn": 2, "maxn": 4, "bucket": 50_000, "minCount": 1,
            "loss": "softmax", "thread": 1, "seed": 1, "verbose": 0}
_PROGRAM = """import fasttext, json, sys
source, target, options = sys.argv[1:]
fasttext.train_supervised(source, **json.loads(options)).save_model(target)
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """Cleaned texts, distinct by their normalised form; what both lists had is in neither."""

    captions: tuple[str, ...]
    noise: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """A model file's bytes, and how it does on the texts that were left out."""

    model: bytes
    trained: int
    held_out: int
    area: float                    # under the ROC curve; nan where one kind was left out of nothing


def distinct(captions: Iterable[str], noise: Iterable[str]) -> Texts:
    """Returns both lists cleaned, sorted, without repeats and without what stands in both."""
    found: list[dict[str, str]] = []
    for texts in (captions, noise):
        cleaned = sorted({cleaned for text in texts if (cleaned := clean_caption(text))})
        found.append({normalise_caption(text): text for text in reversed(cleaned)})
    good, bad = found
    return Texts(tuple(sorted(text for name, text in good.items() if name not in bad)),
                 tuple(sorted(text for name, text in bad.items() if name not in good)))


def lines_of(path: str) -> list[str]:
    """Returns the lines of a UTF-8 file; raises UsageError for one that cannot be read."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read as lines of UTF-8 text ({error}); name a file with a text a line"
                         ) from error


def texts_of_dataset(out: str) -> tuple[list[str], list[str]]:
    """Returns the captions that a dataset kept, and the texts that its judge called page furniture."""
    kept = [row.caption for path in current_manifest(out, "filter").paths("best") for row in read_table(path, Best)]
    noise = [caption.text or caption.raw for path in current_manifest(out, "judge").paths("judged")
             for row in read_table(path, Judged) for caption in row.captions if caption.reason in FURNITURE]
    return kept, noise


def train_quality(texts: Texts) -> Trained:
    """Returns the model; raises UsageError where there are too few texts of a kind."""
    for name, listed in (("captions", texts.captions), ("texts of noise", texts.noise)):
        if len(listed) < _LEAST:
            raise UsageError(f"{len(listed)} different {name}; {_LEAST} of each kind are the least, some thousands are "
                             f"better: give more --positive, --negative or --out")
    rows = [(label, text) for label, listed in ((CAPTION, texts.captions), (NOISE, texts.noise)) for text in listed]
    out = [row for row in rows if _is_held_out(row[1])]
    kept = sorted((row for row in rows if not _is_held_out(row[1])), key=lambda row: (stable_hash(row[1]), row))
    with tempfile.TemporaryDirectory(prefix="imagebert-quality-") as folder:
        source, target = os.path.join(folder, "texts.txt"), os.path.join(folder, "model.bin")
        pathlib.Path(source).write_text("".join(f"{label} {as_read(text)}\n" for label, text in kept), encoding="utf-8")
        _train(source, target)
        model = sealed(pathlib.Path(target).read_bytes())
        pathlib.Path(target).write_bytes(model)
        scores = [(caption_quality(text, target), label == CAPTION) for label, text in out]
        quality_model.cache_clear()
    return Trained(model, len(kept), len(out), _area(scores))


def _train(source: str, target: str) -> None:
    """Writes fastText's model of the labelled lines of `source`.

    With one thread fastText draws a tenth of its input matrix and leaves the rest as the allocator gave it: zeros where
    the pages are new, and what an earlier owner left there where they are not, which is another model or a NaN.  So the
    matrix is allocated in a process of its own that maps every large block anew.
    """
    subprocess.run([sys.executable, "-c", _PROGRAM, source, target, json.dumps(_OPTIONS)], check=True,
                   env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"})


def _is_held_out(text: str) -> bool:
    return stable_hash(f"quality\n{normalise_caption(text)}") % _HELD_OUT == 0


def _area(scores: list[tuple[float, bool]]) -> float:
    good, bad = ([score for score, is_good in scores if is_good is wanted] for wanted in (True, False))
    if not good or not bad:
        return float("nan")
    return sum((one > other) + (one == other) / 2 for one in good for other in bad) / (len(good) * len(bad))
