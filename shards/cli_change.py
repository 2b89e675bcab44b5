"""`imagebert shards diff`: what changed between two sets."""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Callable
from typing import Any

from shards import terminal
from shards.manifest import load_shards
from shards.visible import shortened, visible

_SHOWN = {"went": "went: in A, not in B; why as B has it", "came": "came: in B, not in A; why A did not have them",
          "caption": "caption changed; why B did not choose A's", "score": "score changed, caption the same"}


def register(actions: Any, count: Callable[[str], int]) -> None:
    """Adds `diff` to the actions of `imagebert shards`; `count` reads a whole number."""
    one = actions.add_parser(
        "diff", help="what differs between two sets: samples that went, came, changed, and why",
        description="Compares two sets of shards by key. Why a sample is not in the other set is looked up in the "
                    "stages that set was made from (pairs, image outcomes, images, judged rows), where it lies in "
                    "its dataset's root: the first stage that dropped it is named. Exit status 0, different or not.")
    one.add_argument("a", metavar="A", help="the earlier set: dataset root, shards folder or manifest.json")
    one.add_argument("b", metavar="B", help="the later set")
    one.add_argument("--examples", type=count, default=3, metavar="N",
                     help="samples to show for each reason (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="print counts, and every sample that differs, as JSON")
    one.set_defaults(command=show_diff)


def show_diff(args: argparse.Namespace) -> int:
    """Prints what differs between two sets."""
    from shards.diff import diff, summary
    a, b = load_shards(args.a), load_shards(args.b)
    changes = diff(a, b)
    counts = summary(changes)
    if args.json:
        print(json.dumps({"a": a.directory, "b": b.directory, "counts": counts,
                          "changes": [dataclasses.asdict(one) for one in changes]}, indent=1, ensure_ascii=False))
        return 0
    console = terminal.console()
    size_a, size_b = (sum(map(one.samples, ("train", "test"))) for one in (a, b))
    terminal.lines(console, ("A", f"{a.directory}, {size_a:,} samples"), ("B", f"{b.directory}, {size_b:,} samples"))
    if not changes:
        console.print("the same samples with the same captions and scores", highlight=False)
    for name, reasons in counts.items():
        if reasons:
            console.print(f"\n{sum(reasons.values()):,} {_SHOWN[name]}", highlight=False, style="bold")
        for why, number in reasons.items():
            print(f"  {number:>8,}  {visible(why)}")
            like = (one for one in changes if one.change == name and one.why == why)
            for one in itertools.islice(like, args.examples):
                print(f"            {one.key}  {_told(one)}  {visible(shortened(one.image_url, 60))}")
    return 0


def _told(one: Any) -> str:
    if one.change == "score":
        return f"{one.score_before:.4f} -> {one.score_after:.4f}"
    return " -> ".join(visible(text) for text in (one.before, one.after) if text)
