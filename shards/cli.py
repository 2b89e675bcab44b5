"""`imagebert shards ...`: build shards, look into them, check every byte of them."""
from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import sys
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.cli import add_build_options
from crawl.errors import UsageError
from shards import cli_change, cli_outward, cli_remove, cli_reshard, cli_serve, terminal
from shards.cli_images import add_image_options, stored_as
from shards.cli_regions import add_inline_option
from shards.manifest import load_shards
from shards.sample import SPLITS
from shards.visible import visible

MAX_FAULTS_SHOWN = 50


def register(subparsers: Any) -> None:
    """Adds the sub-command `shards` with what one can do to shards."""
    parser = subparsers.add_parser(
        "shards", help="build, look into and check the WebDataset shards of a dataset",
        description="Shards are plain WebDataset tars: KEY.jpg, KEY.txt, KEY.json a sample (docs/shards.md).",
        epilog="PATH is a dataset's root (the --out of `imagebert dataset`), a shards folder, or its manifest.json; "
               "on a disk, or as s3://, gs://, or (to read) http:// and https://.")
    actions = parser.add_subparsers(title="what to do", dest="action", metavar="ACTION", required=True)
    _add_build(actions)
    one = _reader(actions, "stats", show_stats, "counts, bytes, caption lengths, regions, sites, splits",
                  "Counts of a set of shards, from the manifest and the indexes: quick on any size.")
    one.add_argument("--sites", type=_count, default=10, metavar="N", help="sites to list (default: %(default)s)")
    one = _reader(actions, "ls", list_samples, "list samples: key, shard, sizes, caption",
                  "One line a sample, in shard order.")
    one.add_argument("--split", choices=SPLITS, default="", help="only this split")
    one.add_argument("--contains", default="", metavar="TEXT", help="only captions with this text, in any case")
    one.add_argument("--limit", type=_count, default=50, metavar="N", help="lines, 0 for all (default: %(default)s)")
    one = _reader(actions, "show", show_sample, "one sample: caption, all texts with scores, provenance, picture",
                  "Everything known of one sample.")
    one.add_argument("key", metavar="KEY", help="its key, or the beginning of it")
    one.add_argument("--save", metavar="FILE", default="", help="write the image to FILE, as it lies in the shard")
    one.add_argument("--draw", action="store_true",
                     help="draw the region boxes; with --save the format follows the name of FILE")
    one = _reader(actions, "validate", check, "read every byte and list every fault; exit status 1 when there is one",
                  "Checks tars, members, headers, KEY.json, images, regions, indexes and sha256 against the manifest.")
    one.add_argument("--no-decode", action="store_true", help="do not decode the images, which takes most of the time")
    _reader(actions, "report", report, "write report.html again: funnel, contact sheets, rejects by reason",
            "Writes the HTML report of a dataset root into its shards folder and prints its path.")
    cli_change.register(actions, _count)
    cli_remove.register(actions)
    cli_reshard.register(actions, _count)
    cli_outward.register(actions, _count)
    cli_serve.register(actions, _count)


def _add_build(actions: Any) -> None:
    one = actions.add_parser("build", help="from kept pairs to shards: word pieces, regions, tars, indexes",
                             description="Runs the stages behind the filter: vocabulary, codebook, regions, shards. "
                                         "What is finished is skipped; a build that was stopped goes on.")
    one.add_argument("--out", required=True, metavar="DIR", help="dataset root with a finished filter")
    add_build_options(one)
    add_image_options(one)
    add_inline_option(one)
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(command=build)


def _reader(actions: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str,
            description: str) -> argparse.ArgumentParser:
    one: argparse.ArgumentParser = actions.add_parser(name, help=summary, description=description)
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    one.add_argument("--json", action="store_true", help="print JSON for a program")
    one.set_defaults(command=command)
    return one


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def build(args: argparse.Namespace) -> int:
    """Builds the shards of a dataset root and its report; `args.run` runs a Beam pipeline."""
    from crawl.config import override
    from crawl.lock import run_lock
    from shards.build import build_shards
    from shards.report import write_report
    config = override(stored_as(args, args.config.shards), args.set)
    with run_lock(args.out):
        manifest = build_shards(args.out, config, args.run)
        report_path = write_report(args.out)
    shards = load_shards(manifest.directory)
    answer = {"directory": shards.directory, "manifest": shards.digest, "shards": len(shards.shards),
              "samples": {split: shards.samples(split) for split in SPLITS}, "report": report_path,
              "notes": list(manifest.notes)}
    if args.json:
        return _print_json(answer)
    console = terminal.console()
    console.print(f"{len(shards.shards)} shards, {shards.samples('train'):,} training and {shards.samples('test'):,} "
                  f"test samples", highlight=False)
    terminal.lines(console, ("shards", answer["directory"]), ("report", answer["report"]),
           *(("note", note) for note in manifest.notes))
    return 0


def show_stats(args: argparse.Namespace) -> int:
    """Prints counts of a set."""
    from shards.inspect import stats
    found = stats(load_shards(args.path))
    if args.json:
        return _print_json(found)
    console, splits = terminal.console(), found["splits"]
    table = terminal.table("", *(("all", *splits) if len(splits) > 1 else splits))
    columns = [found["all"], *splits.values()] if len(splits) > 1 else list(splits.values())
    for name, value in found["all"].items():
        if not isinstance(value, dict):
            table.add_row(name.replace("_", " "), *(f"{column[name]:,}" for column in columns))
    for name in ("word_pieces", "caption_bytes", "regions_an_image", "bytes_an_image"):
        table.add_row(name.replace("_", " "), *(_spread(column[name]) for column in columns))
    console.print(table)
    if found["removed"]:
        console.print(f"without {found['removed']:,} samples that were removed and are still in the tars",
                      highlight=False)
    regions, known = found["regions"], found["tokenizer"]
    terminal.lines(
        console, ("a range is", "median (5 % to 95 %)"),
        ("regions", f"{regions['extractor']}, {regions['feature_dim']} values, {regions['num_classes']} classes, "
                    f"{regions['quantisation']}"),
        ("word pieces", f"{known['vocab'] or 'none'} {known['digest'][:12]}"), ("shards", found["directory"]))
    sites = terminal.table("site", "samples")
    for site, count in itertools.islice(found["sites"].items(), args.sites):
        sites.add_row(terminal.text(site), f"{count:,}")
    more = len(found["sites"]) - args.sites
    if found["sites"] and args.sites > 0:
        console.print(sites)
        if more > 0:
            console.print(f"  and {more:,} more sites", highlight=False)
    return 0


def list_samples(args: argparse.Namespace) -> int:
    """Prints a line a sample; as JSON an object a line."""
    from shards.inspect import listed
    samples = listed(load_shards(args.path), args.split, args.contains)
    with terminal.may_be_cut():
        for sample in itertools.islice(samples, args.limit or None):
            if args.json:
                print(json.dumps(dataclasses.asdict(sample), ensure_ascii=False))
            else:
                print(f"{sample.key}  {sample.shard}  {sample.image_bytes:>9,} B  {sample.num_regions:>3} regions  "
                      f"{sample.num_tokens:>2} pieces  {visible(sample.caption)}")
    if args.json:
        return 0
    if args.limit and next(samples, None) is not None:
        print(f"there are more; --limit 0 lists all, --limit N the first N (now {args.limit})", file=sys.stderr)
    return 0


def show_sample(args: argparse.Namespace) -> int:
    """Prints one sample; with --save writes its image."""
    from shards.inspect import described, find, half_blocks, upright, with_boxes
    found = find(load_shards(args.path), args.key)
    boxed = args.draw and found.regions is not None
    if args.draw and found.regions is None:
        raise UsageError(f"{found.shard.name} has no regions to draw; leave --draw out")
    if args.save:
        _save(args.save, with_boxes(found.image, found.regions, found.class_names) if boxed and found.regions
              else found.image)
    if args.json:
        return _print_json(described(found))
    console, values = terminal.console(), found.json
    if sys.stdout.isatty():
        console.print(half_blocks(with_boxes(found.image, found.regions, found.class_names) if boxed and found.regions
                                  else upright(found.image), min(console.width, 96)))
    console.print(terminal.text(found.caption), style="bold")
    terminal.lines(console, ("key", found.key), ("shard", f"{found.shard.name}, sample {found.row}"),
           *((name, values[name] if isinstance(values[name], str) else json.dumps(values[name], ensure_ascii=False))
             for name in values if name not in ("key", "caption", "texts", "signals")))
    terminal.rows(console, ("text that competed", "source", "score"),
          [(one["text"], one["source"], f"{one['score']:.4f}") for one in values.get("texts", [])])
    terminal.rows(console, ("signal", "as sent", "verdict", "evidence"),
          [(one["name"], one["raw"], one["verdict"], one["evidence"]) for one in values.get("signals", [])])
    terminal.rows(console, ("region: class", "confidence", "box x0 y0 x1 y1"),
          [(one["class"], f"{one['conf']:.3f}", "  ".join(f"{edge:.3f}" for edge in one["box"]))
           for one in described(found)["regions"]])
    return 0


def check(args: argparse.Namespace) -> int:
    """Prints every fault; returns 1 when there is one, else 0."""
    from shards.validate import total_bytes, validate
    shards = load_shards(args.path, check_sizes=False)
    with terminal.progress("validate", total_bytes(shards)) as read:
        faults = list(validate(shards, read, not args.no_decode))
    samples, removed = sum(shard.samples for shard in shards.shards), len(shards.removed_keys)
    if args.json:
        _print_json({"directory": shards.directory, "manifest": shards.digest, "shards": len(shards.shards),
                     "samples": samples, "removed": removed, "faults": [dataclasses.asdict(fault) for fault in faults]})
        return int(bool(faults))
    for fault in faults[:MAX_FAULTS_SHOWN]:
        print(visible(str(fault)))
    if len(faults) > MAX_FAULTS_SHOWN:
        print(f"and {len(faults) - MAX_FAULTS_SHOWN:,} more; --json lists all")
    verdict = f"{len(faults):,} faults" if faults else "no fault"
    print(f"{verdict} in {len(shards.shards):,} shards, {samples:,} samples, {total_bytes(shards):,} bytes")
    if removed:
        print(f"{removed:,} of the samples were removed and are skipped by our readers; `imagebert shards remove "
              f"--rewrite` drops their bytes")
    return int(bool(faults))


def report(args: argparse.Namespace) -> int:
    """Writes the HTML report of a dataset root; prints its path."""
    from shards.report import write_report
    if not storage.exists(storage.join(args.path, "dataset.json")):
        raise UsageError(f"{args.path}: no dataset.json here; the report needs a dataset's root, with all its stages")
    path = write_report(args.path)
    return _print_json({"report": path}) if args.json else print(path) or 0


def _save(path: str, image: Any) -> None:
    try:
        if isinstance(image, bytes):
            with open(path, "wb") as file:
                file.write(image)
        else:
            image.save(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--save {path}: {error}; give the name of a file that can be written, such as out.png") \
            from error


def _print_json(value: Any) -> int:
    print(json.dumps(value, indent=1, ensure_ascii=False))
    return 0


def _spread(values: dict[str, Any]) -> str:
    return f"{values['median']:,} ({values['5 %']:,} to {values['95 %']:,})" if values else "–"
