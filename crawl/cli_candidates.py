"""The command `candidates`: tables of image URLs and captions, or archives of pages, instead of a crawl."""
from __future__ import annotations

import argparse
import re
from typing import Any

from crawl.archive_inputs import COMMON_CRAWL, Chosen, listed_files, these_files
from crawl.archive_run import ArchiveConfig, read_archives
from crawl.caption_tables import ALL, FORMATS, Layout
from crawl.cli import add_build_options, add_output_options, print_manifest
from crawl.columnar_index import Wanted
from crawl.config import override
from crawl.errors import UsageError
from crawl.index_run import batches, select
from crawl.lock import run_lock
from crawl.stages import Manifest
from crawl.table_columns import MAX_EXTRAS
from crawl.table_run import TableConfig, read_candidates

_ENGLISH = ("cc3m", "cc12m", "sbu")            # their makers kept English captions only
_MAX_DOMAINS = 100_000                         # they are part of the stage's config
_SUFFIXES = {".parquet": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def register(subparsers: Any) -> None:
    """Adds `candidates` to the command."""
    one = subparsers.add_parser(
        "candidates", help="begin with WARC or WAT files, or a table of image URLs and captions, instead of a crawl",
        description="Reads archives of pages (WARC files of your own, or Common Crawl's) or tables of image URLs and "
                    "captions into the candidates that `judge` takes next, in place of a crawl. No page is fetched, "
                    "and no image. Broken rows and records are counted and passed over. What nobody recorded, "
                    "robots.txt above all, is unknown, and so is the permission of a row without other signals: judge "
                    "lets that pass, or not with --set permission.unknown=deny; the images' own sites are "
                    "asked before a download.")
    source = one.add_mutually_exclusive_group(required=True)
    source.add_argument("--table", action="append", metavar="FILE",
                        help="a table, .gz too where it is text; repeatable, all of one format")
    source.add_argument("--warc", nargs="+", metavar="FILE",
                        help="WARC or ARC files, .gz or not, s3:// and gs:// too: their pages are parsed as a crawl's")
    source.add_argument("--wat", nargs="+", metavar="FILE",
                        help="WAT files of Common Crawl: much cheaper than WARC files, but img src, alt and title only")
    source.add_argument("--paths", metavar="LISTING",
                        help="a listing of files, such as Common Crawl's warc.paths.gz: a file or a URL")
    source.add_argument("--index", nargs="+", metavar="FILE",
                        help="files of Common Crawl's columnar index (*.parquet), or their one listing "
                             "(cc-index-table.paths.gz): what it finds is read record by record out of the WARC files "
                             "below --base")
    tables = one.add_argument_group("of tables")
    tables.add_argument("--format", choices=FORMATS,
                        help="how it is written: cc3m (caption TAB url), cc12m (url TAB caption), sbu (JSON with the "
                             "lists image_urls and captions), or parquet, csv, jsonl (default: by the file's suffix)")
    tables.add_argument("--url-column", default="url", metavar="NAME",
                        help="of parquet, csv, jsonl (default: %(default)s)")
    tables.add_argument("--caption-column", default="caption", metavar="NAME",
                        help="of parquet, csv, jsonl (default: %(default)s)")
    tables.add_argument("--extra-columns", metavar="NAMES",
                        help="columns that are passed through to `extras` of KEY.json, separated by commas; '' for "
                             f"none (default: all of text, numbers and times, {MAX_EXTRAS} bytes a row; of sbu none)")
    tables.add_argument("--sha256-column", default="", metavar="NAME",
                        help="holds the sha256 of the image's bytes: the filter drops pairs whose image has changed "
                             "since as `drifted` (filter --set drift.action=keep keeps and marks them)")
    tables.add_argument("--md5-column", default="", metavar="NAME", help="the same with md5")
    tables.add_argument("--perceptual-hash-column", default="", metavar="NAME",
                        help="holds `perceptual_hash` of KEY.json of an earlier set of ours, of no other tool: how far "
                             "an image is from what it was; without another hash, more than 8 bits away is drifted")
    tables.add_argument("--language", metavar="CODE",
                        help="what the table's maker says the captions are in, ISO 639-1; helps with captions too "
                             "short to tell (default: en for cc3m, cc12m and sbu, else not known)")
    index = one.add_argument_group("of the index")
    index.add_argument("--languages", default="", metavar="CODES",
                       help="main language of a page, ISO 639-3 by commas, such as eng (default: any)")
    index.add_argument("--mimes", default=",".join(Wanted().mimes), metavar="TYPES",
                       help="media types as detected, by commas (default: %(default)s)")
    index.add_argument("--statuses", default="200", metavar="CODES", help="by commas (default: %(default)s)")
    index.add_argument("--domains", metavar="FILE", help="registered domains, one a line (default: any)")
    listings = one.add_argument_group("of a listing, or the index")
    listings.add_argument("--kind", choices=("warc", "wat"), help="what it lists (default: as the listing is named)")
    listings.add_argument("--sample", type=int, metavar="N",
                          help="read N of its files, of the index N captures, drawn without replacement; a larger N "
                               "begins with the same ones; of files it reads only the rest")
    listings.add_argument("--seed", type=int, default=0, metavar="S", help="of the sample (default: %(default)s)")
    listings.add_argument("--base", default=COMMON_CRAWL, metavar="URL",
                          help="what its paths lie below: http(s)://, s3://, gs:// or a folder (default: %(default)s)")
    add_output_options(one)
    add_build_options(one)
    one.set_defaults(command=candidates_command)


def candidates_command(args: argparse.Namespace) -> int:
    """Runs the stage `crawl` over tables or archives."""
    if not args.paths and (args.kind or args.sample is not None and not args.index):
        raise UsageError("--sample and --kind are for --paths LISTING; name fewer files instead")
    if args.index:
        with run_lock(args.out):
            print_manifest(_read_index(args), args.json)
        return 0
    if args.table:
        with run_lock(args.out):
            print_manifest(read_candidates(args.out, args.table, _table_config(args), args.run), args.json)
        return 0
    kind = "warc" if args.warc else "wat" if args.wat else args.kind or _kind_of(args.paths)
    config = override(ArchiveConfig(kind), args.set)
    with run_lock(args.out):
        print_manifest(read_archives(args.out, _chosen(args, kind), config, args.run), args.json)
    return 0


def _read_index(args: argparse.Namespace) -> Manifest:
    wanted = _wanted(args)
    listing = args.index[0]
    if len(args.index) == 1 and re.search(r"\.paths(\.gz)?$", listing):
        chosen = listed_files(listing, args.base, "index", None, 0)
    else:
        chosen = these_files(args.index, "--index")
    config = override(ArchiveConfig("index"), args.set)
    selected = select(args.out, chosen, wanted, args.run)
    return read_archives(args.out, batches(selected, wanted, args.base), config, args.run)


def _wanted(args: argparse.Namespace) -> Wanted:
    def parts(text: str) -> tuple[str, ...]:
        return tuple(filter(None, (part.strip() for part in text.split(","))))
    if args.sample is not None and args.sample < 1:
        raise UsageError(f"--sample {args.sample}: take 1 or more")
    statuses = parts(args.statuses)
    if not all(re.fullmatch(r"[1-9]\d\d", status) for status in statuses):
        raise UsageError(f"--statuses {args.statuses}: statuses of HTTP are three digits, such as 200")
    domains: tuple[str, ...] = ()
    if args.domains:
        try:
            with open(args.domains, encoding="utf-8") as file:
                domains = tuple(sorted({line.strip().lower() for line in file if line.strip()}))
        except (OSError, UnicodeError) as error:
            raise UsageError(f"--domains {args.domains}: cannot read it ({error})") from error
        if not 0 < len(domains) <= _MAX_DOMAINS:
            raise UsageError(f"--domains {args.domains}: {len(domains)} domains in it; give 1 to {_MAX_DOMAINS}")
    return Wanted(parts(args.languages), parts(args.mimes), tuple(map(int, statuses)), domains, args.sample or 0,
                  args.seed)


def _chosen(args: argparse.Namespace, kind: str) -> Chosen:
    if args.paths:
        return listed_files(args.paths, args.base, kind, args.sample, args.seed)
    return these_files(args.warc or args.wat, f"--{kind}")


def _kind_of(listing: str) -> str:
    found = re.match(r"(?:.*[-_.])?(warc|arc|wat)\.paths\b", listing.rpartition("/")[2])
    if not found:
        raise UsageError(f"--paths {listing}: its name does not say what it lists; give --kind warc or --kind wat")
    return "wat" if found[1] == "wat" else "warc"


def _table_config(args: argparse.Namespace) -> TableConfig:
    name = args.format or _format_of(args.table[0])
    language = args.language if args.language is not None else "en" if name in _ENGLISH else ""
    if language and not re.fullmatch(r"[a-z]{2,3}", language):
        raise UsageError(f"--language {language!r} is no ISO 639-1 code, such as en")
    extras = (ALL,) if args.extra_columns is None else tuple(filter(None, args.extra_columns.split(",")))
    try:
        layout = Layout(name, args.url_column, args.caption_column, args.sha256_column, args.md5_column,
                        args.perceptual_hash_column, extras)
    except ValueError as error:
        raise UsageError(f"--format {name}: {error}") from error
    return override(TableConfig(layout, language=language), args.set)


def _format_of(path: str) -> str:
    stem = path.lower().removesuffix(".gz")
    for suffix, name in _SUFFIXES.items():
        if stem.endswith(suffix):
            return name
    raise UsageError(f"--table {path}: its name does not say how it is written; give --format, one of "
                     f"{', '.join(FORMATS)}")
