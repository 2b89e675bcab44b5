"""`imagebert search`: a sentence in, the best images of shards or of a folder out."""
from __future__ import annotations

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING

from crawl import storage
from crawl.config import as_dict
from crawl.errors import UsageError
from train.cli import need_torch

if TYPE_CHECKING:
    from train.gallery import Gallery
    from train.opening import Checkpoint
    from train.search import Search

_PICTURE = 188                     # px, the longer side of a thumbnail on the page


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command to the `imagebert` command."""
    parser = subparsers.add_parser(
        "search", help="find images for a sentence",
        description="Ranks images for a sentence.  A checkpoint with a contrastive head compares the sentence with a "
                    "stored index of image vectors first and puts the best through the matching head: both scores are "
                    "printed.  One without puts every image through the matching head, and says first how long that "
                    "takes.",
        epilog="example: imagebert search \"a red circle left of a square\" --data demo-out --checkpoint demo-out/run "
               "--html found.html")
    parser.add_argument("sentence", help="what to look for")
    parser.add_argument("--data", required=True, metavar="SHARDS|FOLDER",
                        help="a dataset's root, its shards/ folder, or a folder of images (cut into regions by the "
                             "checkpoint's own extractor)")
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="a run folder, or one checkpoint")
    parser.add_argument("--top", type=int, default=10, metavar="K", help="results (default: %(default)s)")
    parser.add_argument("--rerank", type=int, default=100, metavar="K",
                        help="best by cosine that the matching head orders anew, at least --top (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="put every image through the matching head")
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="search in the first N images only")
    parser.add_argument("--split", default="", help="search in one split only (default: all)")
    parser.add_argument("--out", default="", metavar="DIR",
                        help="folder of the index of image vectors (default: search/ in the checkpoint's run folder)")
    parser.add_argument("--html", default="", metavar="FILE", help="write a page of the results, pictures included")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=search_command)


def search_command(args: argparse.Namespace) -> int:
    """Runs the sub-command; returns the exit status."""
    need_torch("search")
    if args.top < 1 or args.rerank < 1:
        raise UsageError(f"--top {args.top}, --rerank {args.rerank}: give at least 1")
    if args.limit < 0:
        raise UsageError(f"--limit {args.limit}: give 1 or more images, or leave it out")
    if args.html and not os.path.isdir(os.path.dirname(args.html) or "."):
        raise UsageError(f"--html {args.html}: no such folder {os.path.dirname(args.html)}; make it first")
    if args.html and os.path.isdir(args.html):
        raise UsageError(f"--html {args.html}: a folder; give the name of a file, such as found.html")
    from train.gallery import open_gallery
    from train.opening import open_checkpoint
    from train.search import SearchConfig, index_folder, search
    checkpoint = open_checkpoint(args.checkpoint)
    gallery = open_gallery(args.data, checkpoint, args.split, args.limit)
    try:
        found = search(args.sentence, checkpoint, gallery, SearchConfig(args.top, args.rerank, args.full),
                       index_folder(checkpoint, args.out), None if args.json else _say)
        if args.html:
            _write(args.html, _page(found, args, checkpoint, gallery))
    finally:
        gallery.close()
    if args.json:
        print(json.dumps(as_dict(found) | {"checkpoint": checkpoint.folder, "weights": checkpoint.weights_digest,
                                           "data": args.data, "html": args.html}))
        return 0
    _print(found)
    if args.html:
        print(f"page: {args.html}")
    return 0


def _write(path: str, page: str) -> None:
    try:
        storage.replace_bytes(os.path.abspath(path), page.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"--html {path}: cannot be written ({error.strerror}); give another file") from error


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(found: Search) -> None:
    """Prints a line a result and what is known of the image below it."""
    from shards.visible import shortened, visible
    for hit in found.hits:
        cosine = "" if hit.cosine is None else f"  cosine {hit.cosine:6.3f}"
        print(f"{hit.rank:>3}  match {hit.match:.3f}{cosine}  {hit.key}  {visible(shortened(hit.place, 80))}")
        if hit.caption:
            print(f"     {visible(shortened(hit.caption, 110))}")
    for note in found.notes:
        print(f"note: {note}")
    print(_how(found))


def _how(found: Search) -> str:
    if found.index:
        return (f"{found.images:,} images compared by cosine, the best {found.matched:,} ordered by the matching head; "
                f"{found.seconds:.1f} s")
    return f"{found.images:,} images, all ordered by the matching head; {found.seconds:.1f} s"


def _page(found: Search, args: argparse.Namespace, checkpoint: Checkpoint, gallery: Gallery) -> str:
    from shards.page import search_page
    from shards.picture import small_picture
    how = _how(found).rpartition(";")[0] + "."      # no clock on a page: equal searches give equal bytes
    return search_page(query=found.query, how=how, data=args.data, checkpoint=checkpoint.folder,
                       weights=checkpoint.weights_digest, notes=found.notes,
                       hits=[(hit, small_picture(gallery.picture(hit.number), _PICTURE)) for hit in found.hits])
