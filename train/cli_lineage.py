"""`imagebert lineage`: from a recall or a dataset back to the fetched parts, every digest verified."""
from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from crawl.config import as_dict
from crawl.errors import UsageError
from crawl.storage import is_remote
from train.cli import need_torch

if TYPE_CHECKING:
    from shards.lineage import Link


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command to the `imagebert` command."""
    parser = subparsers.add_parser(
        "lineage", help="where a recall, a checkpoint or a dataset comes from, verified",
        description="Prints recall -> checkpoint -> stages of training -> shards -> the stages of the build with their "
                    "configs -> the fetched parts, and compares every digest on the way with what is there.  Exit "
                    "status 1 where one does not match or something is missing.  `recorded` means that nothing is at "
                    "hand to compare a digest with.")
    parser.add_argument("path", metavar="CHECKPOINT|RESULT|DATASET",
                        help="a run folder, a checkpoint, the result.json of `imagebert evaluate`, or a dataset: its "
                             "root, shards folder or manifest.json, on s3:// and gs:// too")
    parser.add_argument("--data", default="", metavar="ROOT",
                        help="root of the dataset (default: as the result says, or around the run)")
    parser.add_argument("--quick", action="store_true", help="compare the sizes of files instead of reading them")
    parser.add_argument("--json", action="store_true", help="print the links as JSON")
    parser.set_defaults(command=lineage_command)


def lineage_command(args: argparse.Namespace) -> int:
    """Runs the sub-command; returns the exit status: 1 where a digest does not match."""
    from shards.lineage import MISMATCH, MISSING, OK, RECORDED, is_set
    from train.progress_bar import Bar
    if args.data and not is_remote(args.data) and not os.path.exists(args.data):
        raise UsageError(f"--data {args.data}: no such folder; give the root of the dataset")
    with Bar("reading", 0, not args.json) as bar:
        links = _of_set(args, bar.advance) if is_set(args.path) else _of_training(args, bar.advance)
    holds = all(link.holds for link in links)
    if args.json:
        print(json.dumps({"holds": holds, "links": [as_dict(link) | {"holds": link.holds} for link in links]}))
        return 0 if holds else 1
    for link in links:
        print(f"{link.kind:<11} {link.path or '-'}" + (f"\n{'':<11} {link.facts}" if link.facts else ""))
        for check in link.checks:
            print(f"  {check.status:<9} {check.what}: {check.detail}")
    counts = {status: sum(check.status == status for link in links for check in link.checks)
              for status in (OK, MISMATCH, MISSING, RECORDED)}
    print(f"{counts[OK]} hold, {counts[MISMATCH]} do not match, {counts[MISSING]} are missing, {counts[RECORDED]} "
          f"only recorded")
    if not holds:
        print("imagebert: the lineage does not hold; see the lines above", file=sys.stderr)
    return 0 if holds else 1


def _of_set(args: argparse.Namespace, on_bytes: Callable[[int], None]) -> list[Link]:
    """Returns the links behind a dataset: no network is opened, and torch need not be installed."""
    from shards.lineage import stages_behind
    from shards.manifest import load_shards
    if args.data:
        raise UsageError(f"--data {args.data}: {args.path} is a dataset itself; leave --data out")
    shards = load_shards(args.path, check_sizes=False)
    return stages_behind(shards.directory, shards.built_digest, args.quick, on_bytes)


def _of_training(args: argparse.Namespace, on_bytes: Callable[[int], None]) -> list[Link]:
    need_torch("lineage")
    from train.lineage import lineage_of
    return lineage_of(args.path, args.data, args.quick, on_bytes)
