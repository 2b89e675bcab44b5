"""The command `candidates`: tables of image URLs and captions instead of a crawl."""
from __future__ import annotations

import argparse
import re
from typing import Any

from crawl.caption_tables import FORMATS, Layout
from crawl.cli import add_build_options, add_output_options, print_manifest
from crawl.config import override
from crawl.errors import UsageError
from crawl.lock import run_lock
from crawl.table_run import TableConfig, read_candidates

_ENGLISH = ("cc3m", "cc12m", "sbu")            # their makers kept English captions only
_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def register(subparsers: Any) -> None:
    """Adds `candidates` to the command."""
    one = subparsers.add_parser(
        "candidates", help="begin with a table of image URLs and captions instead of a crawl",
        description="Reads tables of image URLs and captions into the candidates that `judge` takes next, in place of "
                    "a crawl. Nothing is downloaded. Broken rows are counted and passed over. No page was asked, so "
                    "the permission of every row is unknown: judge lets that pass, or not with "
                    "--set 'dominance.permissions=[\"allow\"]'; the images' own sites are asked before a download.")
    one.add_argument("--table", required=True, action="append", metavar="FILE",
                     help="a table, .gz too where it is text; repeatable, all of one format")
    one.add_argument("--format", choices=FORMATS,
                     help="how it is written: cc3m (caption TAB url), cc12m (url TAB caption), sbu (JSON with the "
                          "lists image_urls and captions), or parquet, csv, jsonl (default: by the file's suffix)")
    one.add_argument("--url-column", default="url", metavar="NAME",
                     help="of parquet, csv, jsonl (default: %(default)s)")
    one.add_argument("--caption-column", default="caption", metavar="NAME",
                     help="of parquet, csv, jsonl (default: %(default)s)")
    one.add_argument("--language", metavar="CODE",
                     help="what the table's maker says the captions are in, ISO 639-1; helps with captions too short "
                          "to tell (default: en for cc3m, cc12m and sbu, else not known)")
    add_output_options(one)
    add_build_options(one)
    one.set_defaults(command=candidates_command)


def candidates_command(args: argparse.Namespace) -> int:
    """Runs the stage `crawl` over tables."""
    name = args.format or _format_of(args.table[0])
    language = args.language if args.language is not None else "en" if name in _ENGLISH else ""
    if language and not re.fullmatch(r"[a-z]{2,3}", language):
        raise UsageError(f"--language {language!r} is no ISO 639-1 code, such as en")
    config = override(TableConfig(Layout(name, args.url_column, args.caption_column), language=language), args.set)
    with run_lock(args.out):
        print_manifest(read_candidates(args.out, args.table, config, args.run), args.json)
    return 0


def _format_of(path: str) -> str:
    stem = path.lower().removesuffix(".gz")
    for suffix, name in _SUFFIXES.items():
        if stem.endswith(suffix):
            return name
    raise UsageError(f"--table {path}: its name does not say how it is written; give --format, one of "
                     f"{', '.join(FORMATS)}")
