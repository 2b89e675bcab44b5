"""The command `crawl quarantine`: what crashed a sandbox, and what `--keep-denied` stored; why, and where it lies."""
from __future__ import annotations

import argparse
import collections
import dataclasses
import json
from typing import Any

from crawl.blamed import KeptApart, kept_apart
from crawl.errors import UsageError
from crawl.progress import shown_text
from crawl.stages import current

NAME = "crawl quarantine"          # two words; imagebert.py joins them
_SHOWN = 512                       # characters of a text of the web


def register(subparsers: Any) -> None:
    """Adds `crawl quarantine` to the command."""
    one = subparsers.add_parser(
        NAME, help="what crashed a parser or decoder, and refused bodies that were kept",
        description="Lists bodies that no stage reads: what killed, hung or swelled a sandbox (parse_crashed, "
                    "sitemap_timeout, decode_out_of_memory, ...) and what --keep-denied stored although a header or "
                    "meta element refuses it. A line each: stage, reason, URL, and the file with offset and length "
                    "below --out. Nothing is opened, and text of the web is escaped.")
    one.add_argument("--out", required=True, metavar="DIR", help="output root of a crawl")
    one.add_argument("--reason", default="", metavar="NAME", help="only this one, such as parse_crashed")
    one.add_argument("--json", action="store_true", help="print one JSON object a line")
    one.set_defaults(command=quarantine_command)


def quarantine_command(args: argparse.Namespace) -> int:
    """Lists; raises UsageError where nothing was crawled."""
    if not {"crawl", "images"} & current(args.out).keys():
        raise UsageError(f"{args.out}: no finished stage 'crawl' or 'images' here; run `imagebert crawl --out "
                         f"{args.out}` first, or name the --out folder of a crawl")
    counts: collections.Counter[str] = collections.Counter()
    for row in kept_apart(args.out):
        if args.reason in ("", row.reason):
            counts[row.reason] += 1
            print(json.dumps(dataclasses.asdict(row), sort_keys=True) if args.json else line_of(row))
    if not args.json:
        print(", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())) or "nothing was kept apart")
    return 0


def line_of(row: KeptApart) -> str:
    """Returns a row as a line for a terminal, hostile text escaped and cut (S14)."""
    place = f"{row.file}:{row.offset}+{row.length}" if row.length else row.file or "stored nowhere"
    why = f"  ({shown_text(row.evidence[:_SHOWN])})" if row.evidence else ""
    return f"{row.stage:8}  {row.reason:20}  {shown_text(row.url[:_SHOWN])}{why}  {shown_text(place)}"
