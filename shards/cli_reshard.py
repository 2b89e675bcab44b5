"""`imagebert shards reshard`: the same samples in shards of other sizes."""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from crawl.errors import UsageError
from shards import terminal
from shards.manifest import load_shards


def register(actions: Any, count: Callable[[str], int]) -> None:
    """Adds `reshard` to the actions of `imagebert shards`; `count` reads a whole number."""
    one = actions.add_parser(
        "reshard", help="the same samples in shards of another size or number, in a new folder",
        description="Cuts a set anew: the same samples in the same order, members copied byte for byte, in a new "
                    "folder of the root that becomes the current one; the old folder stays as it is and may be "
                    "removed. The tars are those that a build with these sizes would have made. A killed run goes on "
                    "where it was.")
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    one.add_argument("--max-samples", type=count, default=1000, metavar="N", help="a shard (default: %(default)s)")
    one.add_argument("--max-bytes", type=count, default=1 << 29, metavar="N",
                     help="a shard's tar, nearly (default: %(default)s)")
    one.add_argument("--shards", type=count, default=0, metavar="N",
                     help="this many of each split and image extension, whatever their size")
    one.add_argument("--name", default="", metavar="NAME", help="what the new shards are called (default: as the old)")
    one.add_argument("--out", default="", metavar="DIR",
                     help="root to write to, for a set that was taken out of its own (default: the root of PATH)")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(command=reshard_set)


def reshard_set(args: argparse.Namespace) -> int:
    """Cuts a set anew; prints where it is."""
    from crawl.lock import run_lock
    from shards.reshard import Cut, reshard
    from shards.upstream import root_of
    shards = load_shards(args.path)
    out = args.out or root_of(shards.directory)
    if not out:
        raise UsageError(f"{shards.directory}: not in a dataset's root; name a root to write to with --out")
    try:
        cut = Cut(args.name, args.max_samples, args.max_bytes, args.shards)
        with run_lock(out), terminal.progress("reshard", sum(shard.bytes for shard in shards.shards)) as read:
            manifest = reshard(shards, out, cut, read)
    except ValueError as error:                              # a name that no shard can have
        raise UsageError(f"--name {args.name}: {error}") from error
    new = load_shards(manifest.directory)
    answer = {"directory": new.directory, "manifest": new.digest, "from": shards.directory, "shards": len(new.shards),
              "of_shards": len(shards.shards), "samples": sum(map(new.samples, ("train", "test")))}
    if args.json:
        print(json.dumps(answer, indent=1))
        return 0
    terminal.lines(terminal.console(), ("shards", f"{new.directory}, {len(new.shards):,} instead of "
                                                  f"{len(shards.shards):,}, {answer['samples']:,} samples"),
                   ("old set", f"{shards.directory}, as it was; remove it when nothing needs it"))
    return 0
