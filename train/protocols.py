"""The test sets that the paper reports, what it reports on them, and its table beside results of our own.

Recall in percent at 1, 5 and 10; IR is text to image, TR image to text (paper, tables 1 and 2; order as printed there).
"""
from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from typing import Any

from crawl.errors import UsageError
from train.recall import IMAGE_TO_TEXT, KS, TEXT_TO_IMAGE

ZERO_SHOT, FINE_TUNED = "zero-shot", "fine-tuned"
SETTINGS = (ZERO_SHOT, FINE_TUNED)
Recalls = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Protocol:
    """How a test set is ranked: Karpathy's split, folds of consecutive images, the first captions of each."""

    name: str
    dataset: str                   # as Karpathy's JSON calls it
    folds: int
    fold_size: int                 # images
    captions: int = 5              # of each image, at most

    @property
    def images(self) -> int:
        """Returns the images of all folds."""
        return self.folds * self.fold_size


@dataclasses.dataclass(frozen=True, slots=True)
class TableRow:
    """One line: the paper's numbers, ours, or why there are none of ours."""

    setting: str                   # zero-shot, fine-tuned
    protocol: str
    paper_ir: Recalls
    paper_tr: Recalls
    unverified: bool               # the reference could not be checked against the paper
    ours_ir: Recalls | None
    ours_tr: Recalls | None
    from_result: str               # the file ours is from
    not_run: str                   # why there is none, "" where there is


PROTOCOLS = {one.name: one for one in (Protocol("flickr30k-1k", "flickr30k", 1, 1000),
                                       Protocol("coco-5k", "coco", 1, 5000), Protocol("coco-1k", "coco", 5, 1000))}
# COCO 1k is the mean of five folds here; the paper does not say whether its 1k is that or one subset.
_PAPER: dict[tuple[str, str], tuple[Recalls, Recalls, bool]] = {
    (ZERO_SHOT, "flickr30k-1k"): ((54.3, 79.6, 87.5), (70.7, 90.2, 94.0), False),
    (ZERO_SHOT, "coco-5k"): ((32.3, 59.0, 70.2), (44.0, 71.2, 80.4), False),
    (ZERO_SHOT, "coco-1k"): ((53.6, 83.2, 91.7), (67.0, 90.3, 96.1), True),
    (FINE_TUNED, "flickr30k-1k"): ((73.1, 92.6, 96.0), (87.0, 97.6, 99.2), False),
    (FINE_TUNED, "coco-5k"): ((50.5, 78.7, 87.1), (66.4, 89.8, 94.4), False),
    (FINE_TUNED, "coco-1k"): ((73.6, 94.3, 97.2), (85.4, 98.7, 99.8), False)}


def protocol_of(name: str) -> Protocol:
    """Returns a protocol; raises ValueError for a name that is none."""
    if name not in PROTOCOLS:
        raise ValueError(f"protocol is {name!r}; choose {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def table(results: Sequence[str]) -> tuple[TableRow, ...]:
    """Returns the paper's lines, each with the first of the results (result.json, or its folder) that answers it.

    Raises UsageError for a file that is no result of `imagebert evaluate`.
    """
    read = [_read(path) for path in results]
    rows = []
    for (setting, name), (ir, tr, unverified) in _PAPER.items():
        fitting = [(path, result) for path, result in read if result["config"].get("protocol") == name
                   and (result["stage"] == "finetune") == (setting == FINE_TUNED)]
        found = next(((path, result) for path, result in fitting if not _missing(result, name)), None)
        why = "" if found else _why_not(setting, name, fitting)
        ours = [_recalls(found[1], direction) if found else None for direction in (TEXT_TO_IMAGE, IMAGE_TO_TEXT)]
        rows.append(TableRow(setting, name, ir, tr, unverified, ours[0], ours[1], found[0] if found else "", why))
    return tuple(rows)


def _why_not(setting: str, name: str, fitting: list[tuple[str, dict[str, Any]]]) -> str:
    if fitting:
        return f"{fitting[0][0]}: {_missing(fitting[0][1], name)}"
    tuned = "a fine-tuned checkpoint" if setting == FINE_TUNED else "a pre-trained checkpoint"
    return f"no result of {tuned} given; imagebert evaluate --protocol {name} --data {PROTOCOLS[name].dataset.upper()}"


def _missing(result: dict[str, Any], name: str) -> str:
    """Returns what keeps a result from being compared, "" for nothing."""
    protocol, row = PROTOCOLS[name], result["rows"][0]
    folds = row["recalls"][0]["folds"]
    if (row["images"], folds) == (protocol.images, protocol.folds):
        return ""
    return f"{row['images']} images in {folds} folds, the protocol has {protocol.images} in {protocol.folds}"


def _recalls(result: dict[str, Any], direction: str) -> Recalls:
    own = {one["k"]: one["fold_mean"] for one in result["rows"][0]["recalls"] if one["direction"] == direction}
    first, second, third = (round(100 * own[k], 1) for k in KS)
    return first, second, third


def _read(path: str) -> tuple[str, dict[str, Any]]:
    file = os.path.join(path, "result.json") if os.path.isdir(path) else path
    try:
        with open(file, encoding="utf-8") as opened:
            value = json.load(opened)
        if value["rows"][0]["name"] != "itm" or not isinstance(value["stage"], str):
            raise ValueError("its first row is not the ITM head's")
        return file, dict(value) | {"config": dict(value["config"])}
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise UsageError(f"{file}: no result of `imagebert evaluate` ({error}); give its --out folder") from error


def print_table(rows: Sequence[TableRow]) -> None:
    """Prints the lines, a pair for each: the paper's and ours."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    console = Console(highlight=False, soft_wrap=True)
    shown = Table(box=box.SIMPLE)
    for name in ("setting", "protocol", "", "IR R@1/5/10", "TR R@1/5/10"):
        shown.add_column(name, justify="right" if name.startswith(("IR", "TR")) else "left")
    for row in rows:
        shown.add_row(row.setting, row.protocol, "paper" + "*" * row.unverified, _text(row.paper_ir),
                      _text(row.paper_tr))
        shown.add_row("", "", "ours", _text(row.ours_ir), _text(row.ours_tr))
    console.print(shown)
    console.print("* not checked against the paper itself")
    for row in rows:
        if row.not_run:
            console.print(f"not run: {row.setting} {row.protocol}: {row.not_run}", markup=False)


def _text(recalls: Recalls | None) -> str:
    return "not run" if recalls is None else "/".join(f"{value:.1f}" for value in recalls)
