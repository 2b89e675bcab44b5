"""`imagebert dataset --from MANIFEST`: does a build give the same bytes again."""
from __future__ import annotations

import argparse
import json

from crawl.errors import UsageError


def add_from_option(parser: argparse.ArgumentParser) -> None:
    """Adds the option that makes a build a repetition."""
    parser.add_argument("--from", metavar="MANIFEST", dest="manifest", default="",
                        help="repeat the build of this manifest.json of shards, in its root, from the stored pages and "
                             "images, into the new folder --out, and say whether all sha256 agree; exit status 1 where "
                             "one does not")


def repeat_build(args: argparse.Namespace) -> int:
    """Repeats a build; prints what agrees and what does not, and returns 1 where something does not."""
    from crawl.lock import run_lock
    from shards.repeat import repeat
    given = [name for name in ("seeds", "web", "set", "block_hashes", "dry_run") if getattr(args, name, None)]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} does not go with --from: a build is repeated as its "
                         f"manifests say, from the parts that are stored")
    with run_lock(args.out):
        repeated = repeat(args.manifest, args.out, args.run, args.decontaminate)
    same = [name for name, equal in repeated.files.items() if equal]
    other = [name for name, equal in repeated.files.items() if not equal]
    if args.json:
        print(json.dumps({"manifest": repeated.before.digest, "repeated": repeated.after.digest, "agrees": not other,
                          "directory": repeated.after.directory, "same": len(same), "other": other,
                          "stages": list(repeated.stages), "versions": [list(one) for one in repeated.versions]},
                         indent=1))
        return int(bool(other))
    for name, then, now in repeated.versions:
        print(f"{name} was {then}, is {now}")
    for name in repeated.stages:
        print(f"the rows of {name} are others")
    for name in other:
        print(f"{name}: another sha256, or in one set only")
    print(f"{len(same):,} of {len(repeated.files):,} files have the sha256 of {args.manifest}\n"
          f"repeated: {repeated.after.directory}")
    return int(bool(other))
