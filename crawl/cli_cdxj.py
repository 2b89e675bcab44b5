"""The command `crawl cdxj`: an index by which other tools open the WARC parts of a root."""
from __future__ import annotations

import argparse
import json
from typing import Any

from crawl import storage
from crawl.cdxj import INDEX, crawls_of, write_index
from crawl.lock import run_lock

NAME = "crawl cdxj"                # two words; imagebert.py joins them


def register(subparsers: Any) -> None:
    """Adds `crawl cdxj` to the command."""
    one = subparsers.add_parser(
        NAME, help="write an index (CDXJ) of the WARC parts, for pywb and other tools",
        description="Writes OUT/index.cdxj: a line for each stored page answer and revisit of every finished crawl of "
                    "the root, by SURT and time, with file, offset and length. File names are relative to OUT: give "
                    "pywb this index and OUT/ as the archive path. Write it again after a crawl, a recrawl or a purge.")
    one.add_argument("--out", required=True, metavar="DIR", help="output root of a crawl")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(command=cdxj_command)


def cdxj_command(args: argparse.Namespace) -> int:
    """Writes the index; raises UsageError where there is nothing to index."""
    next(crawls_of(args.out))          # before the lock makes a folder of a mistyped name
    with run_lock(args.out):
        captures, crawls = write_index(args.out)
    path = storage.join(args.out, INDEX)
    if args.json:
        print(json.dumps({"index": path, "captures": captures, "crawls": crawls}, sort_keys=True))
    else:
        print(f"{path}: {captures} captures of {crawls} crawls")
    return 0
