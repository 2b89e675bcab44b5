"""`imagebert shards remove`: samples out of a set, at once, and out of every later build."""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from crawl.suppress import KINDS, SUPPRESS, Rule, parse_rule, parse_rules
from shards import terminal
from shards.manifest import ShardSet, load_shards

_HELP = {"key": ("KEY", "the sample with this key"), "url": ("URL", "samples of this image URL or page URL"),
         "domain": ("DOMAIN", "samples whose image or page lies on this host, or on a host below it"),
         "sha256": ("HEX", "the sample of the image with these bytes"),
         "phash": ("HEX[:RADIUS]", "samples whose perceptual hash differs in at most RADIUS bits (default 0)")}


def register(actions: Any) -> None:
    """Adds `remove` to the actions of `imagebert shards`."""
    one = actions.add_parser(
        "remove", help="take samples out by key, URL, domain, image hash; --rewrite drops the bytes too",
        description=f"Takes samples out of a set. They are listed beside the manifest, and all our readers skip them "
                    f"from then on; ROOT/{SUPPRESS} keeps what was removed and when, and later shards of the root are "
                    f"built without it. Options can be given several times.",
        epilog="Other programs that read the tars see the samples until --rewrite has written those tars again.")
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    for kind in KINDS:
        value, said = _HELP[kind]
        one.add_argument(f"--{kind}", metavar=value, action="append", default=[], help=said)
    one.add_argument("--from", metavar="FILE", dest="file", action="append", default=[],
                     help=f"rules from a file, `KIND VALUE` a line, KIND one of {', '.join(KINDS)}")
    one.add_argument("--rewrite", action="store_true",
                     help="write the shards that hold something removed again without it, into a new folder that "
                          "becomes the current one; the old folder is deleted")
    one.add_argument("--purge", action="store_true",
                     help="drop the bytes of everything on the list from all stages of the root, old folders too: "
                          "tables, WARC, image and region parts, shards, report; a line of purged.jsonl says what was "
                          "done. Without another option it purges what was removed before, or goes on where a purge "
                          "was stopped")
    one.add_argument("--dry-run", action="store_true", help="say what would be removed, change nothing")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(command=remove_samples)


def remove_samples(args: argparse.Namespace) -> int:
    """Removes samples; prints what was found, what it takes, and what was done."""
    from crawl.lock import run_lock
    from shards.removal import plan, remove, rewrite_bytes, touched
    from shards.rewrite import rewrite
    from shards.upstream import root_of
    rules = _rules(args)
    if not rules and not args.rewrite and not args.purge:
        raise UsageError("nothing to remove; give --key, --url, --domain, --sha256, --phash or --from FILE")
    shards = load_shards(args.path)
    root = root_of(shards.directory)
    with contextlib.nullcontext() if args.dry_run or not root else run_lock(root):
        planned = plan(shards, rules)
        chosen = touched(shards, planned)
        reads, writes = rewrite_bytes(shards, planned)
        answer: dict[str, Any] = {
            "directory": shards.directory, "samples": planned.num_new, "shards": len(chosen),
            "of_shards": len(shards.shards), "rewrite_reads": reads, "rewrite_writes": writes,
            "rules": [{"rule": str(rule), "keys": list(keys)} for rule, keys in planned.by_rule.items()]}
        # Before it starts: a domain that is spread over all shards makes a rewrite as dear as a build.
        print(f"{planned.num_new:,} samples to remove; with those removed before they lie in {len(chosen):,} of "
              f"{len(shards.shards):,} shards; to rewrite these reads {reads:,} bytes and writes about {writes:,}"
              + ("; that is most of the set: they are spread over it" if 2 * len(chosen) > len(shards.shards) > 2
                 else ""), file=sys.stderr)
        if not args.dry_run:
            remove(shards, root, planned)
            if args.purge:
                answer["purged"] = _purge(root or shards.directory)
            elif args.rewrite:
                done = rewrite(load_shards(shards.directory), root)
                answer |= {"rewritten": done.manifest.directory, "read": done.read, "written": done.written} \
                    if done else {"rewritten": ""}
    if args.json:
        print(json.dumps(answer, indent=1))
        return 0
    _print(args, shards, root, answer)
    return 0


def _print(args: argparse.Namespace, shards: ShardSet, root: str, answer: dict[str, Any]) -> None:
    console = terminal.console()
    terminal.rows(console, ("rule", "samples"), [(one["rule"], f"{len(one['keys']):,}") for one in answer["rules"]])
    if args.dry_run:
        print("nothing was changed (--dry-run)")
        return
    terminal.lines(console, ("removed", f"{answer['samples']:,} samples of {shards.directory}"),
                   ("suppress list", f"{root}/{SUPPRESS}" if root else "none: this folder lies outside a dataset's "
                                                                       "root, so a later build knows nothing of it"))
    if args.purge:
        done = answer["purged"]
        terminal.lines(console, ("purged", f"{done['images']:,} images and {done['rows']:,} rows of "
                                           f"{len(done['folders']):,} folders; {done['overwritten']:,} bytes of parts "
                                           f"overwritten"),
                       ("read, written", f"{done['read']:,} and {done['written']:,} bytes"),
                       ("left", f"{done['left']:,} rows"), ("record", f"{root}/purged.jsonl"),
                       *((("not touched", ", ".join(done["outside"])),) if done["outside"] else ()))
        if done["report"]:
            terminal.lines(console, ("report", done["report"]))
    elif answer.get("rewritten"):
        terminal.lines(console, ("shards", answer["rewritten"]),
                       ("read, written", f"{answer['read']:,} and {answer['written']:,} bytes"),
                       ("report", f"its galleries are not carried over; `imagebert shards report {root}` makes them "
                                  f"from the filter's tables, which may still show what was removed"))
    elif args.rewrite:
        print("nothing to rewrite: no tar holds a removed sample")


def _purge(root: str) -> dict[str, Any]:
    from shards.purge import predicted, purge, targets_of
    from shards.report import REPORT, write_report
    if not storage.exists(storage.join(root, "dataset.json")):
        raise UsageError(f"{root}: no dataset's root; --purge works on all its stages, give the root")
    targets = targets_of(root)
    searched, parts = predicted(root, targets)
    print(f"to purge {len(targets.sha256s):,} images, {len(targets.url_keys):,} URLs and the stored answers of "
          f"{len(targets.shown_on):,} pages that showed them reads {searched:,} bytes of tables and writes those again "
          f"that hold them; and it writes {parts:,} bytes of parts again", file=sys.stderr)
    had_report = storage.exists(storage.join(load_shards(root).directory, REPORT))
    done = purge(root, targets, lambda folder: print(f"  {folder}", file=sys.stderr))
    return dataclasses.asdict(done) | {"report": write_report(root) if had_report else ""}


def _rules(args: argparse.Namespace) -> list[Rule]:
    rules = [parse_rule(kind, value) for kind in KINDS for value in getattr(args, kind)]
    for name in args.file:
        try:
            with open(name, encoding="utf-8") as file:
                rules += parse_rules(file.read(), name)
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--from {name}: cannot be read ({error}); give a text file of `KIND VALUE` lines") \
                from error
    return rules
