"""Images that a person labelled, found again by what they are: by path, or by the sha256 of their bytes."""
from __future__ import annotations

import csv
import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Iterator, Sequence

from crawl.errors import UsageError

LABELS = ("natural", "nonnatural", "nonlearnable")     # the paper's three outcomes (Fig. 1)
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")


@dataclasses.dataclass(frozen=True, slots=True)
class Label:
    """One labelled image."""

    path: str                      # relative to the root, "" where the sha256 names it
    sha256: str                    # of its bytes, "" where the path names it
    label: str                     # of LABELS
    source: str                    # who made or published it; images of one source are alike


def read_labels(table: str) -> list[Label]:
    """Returns the rows of a CSV with the columns label, and path or sha256; a column source is optional."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or "label" not in rows[0] or not {"path", "sha256"} & rows[0].keys():
        raise UsageError(f"{table}: no columns path (or sha256) and label; the label is one of {', '.join(LABELS)}")
    labels = []
    for row in rows:
        if row["label"] not in LABELS:
            raise UsageError(f"{table}: label {str(row['label'])!r}; it is one of {', '.join(LABELS)}")
        path = row.get("path") or ""
        labels.append(Label(path, row.get("sha256") or "", row["label"], row.get("source") or _source(path)))
    return labels


def _source(path: str) -> str:
    """sites/NAME, captions/NAME or fixtures/NAME of a path, else its folder: they are alike."""
    parts = pathlib.Path(path).parts
    return "/".join(parts[:2]) if len(parts) > 2 else str(pathlib.Path(path).parent)


def labelled_files(labels: Sequence[Label], roots: Sequence[str]) -> Iterator[tuple[Label, bytes]]:
    """Yields each labelled image that lies below the folders, once, in the order of the labels.

    Raises UsageError for a path that is not there; an image named by its sha256 may be missing.
    """
    wanted = {label.sha256 for label in labels if not label.path}
    found = dict(_hashed(roots, wanted)) if wanted else {}
    for label in dict.fromkeys(labels):
        path = pathlib.Path(roots[0]) / label.path if label.path else found.get(label.sha256)
        if path is None:
            continue
        try:
            yield label, path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: a labelled image that cannot be read ({error.strerror}); "
                             f"correct its row or --root") from error


def _hashed(roots: Sequence[str], wanted: set[str]) -> Iterator[tuple[str, pathlib.Path]]:
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders.sort()
            for name in sorted(names):
                path = pathlib.Path(folder) / name
                if name.lower().endswith(_SUFFIXES) and path.is_file():
                    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
                    if sha256 in wanted:
                        yield sha256, path
