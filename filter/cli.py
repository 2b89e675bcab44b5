"""`imagebert judge`, `features`, `filter`, `explain` and `scorer`."""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.cli import add_build_options
from crawl.config import as_dict, override
from crawl.errors import UsageError
from crawl.lock import run_lock
from crawl.stages import Manifest, current
from filter.filter_config import FilterConfig
from filter.judging import JudgeConfig

# The option --decontaminate of `filter` and `dataset`.
DECONTAMINATE: dict[str, Any] = {
    "default": "", "metavar": "LIST|FOLDER",
    "help": "keep these evaluation images and their near-duplicates out: a folder of images, or a file with sha256:HEX "
            "or phash:HEX[:RADIUS] a line. Part of the settings: give it to every run"}


def register(subparsers: Any) -> None:
    """Adds the sub-commands of filter/."""
    _add_stage(subparsers, "judge", judge_command, "decide which images are worth a download",
               "Page language, permission, dominance and caption rules on the candidates of a finished crawl. "
               "Nothing is downloaded.", presets=True)
    _add_stage(subparsers, "features", features_command, "decode every image that arrived, once",
               "Sizes, hashes, colours, flatness and P(photograph) of every distinct image.")
    _add_stage(subparsers, "filter", filter_command, "from judged texts and images to one best caption an image",
               "Image rules, scoring, captions shared by too many images, near-duplicates, best text.", presets=True
               ).add_argument("--decontaminate", **DECONTAMINATE)
    one = subparsers.add_parser("presets", help="the named rules of others, and what they are here",
                                description="Prints docs/presets.md: for each rule of a source our setting, and what "
                                            "of it cannot be reproduced.")
    one.set_defaults(command=presets_command)
    one = subparsers.add_parser("explain", help="what became of a URL, an image, a caption",
                                description="Prints every row of the finished stages that speaks of it.")
    one.add_argument("what", metavar="WHAT", help="image URL, page URL, sample key, sha256, or a whole caption")
    one.add_argument("--out", required=True, metavar="DIR", help="dataset root")
    one.add_argument("--json", action="store_true", help="print one JSON object a row")
    one.set_defaults(command=explain_command)
    _add_scorer(subparsers)


def _add_stage(subparsers: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str,
               description: str, presets: bool = False) -> argparse.ArgumentParser:
    one = subparsers.add_parser(name, help=summary, description=description)
    one.add_argument("--out", required=True, metavar="DIR", help="dataset root with the stages before this one")
    one.add_argument("--json", action="store_true", help="print the funnel as JSON")
    add_build_options(one)
    if presets:
        add_preset_options(one)
    one.set_defaults(command=command)
    return one


def add_preset_options(parser: argparse.ArgumentParser) -> None:
    """Adds --preset and --show-config; `preset_of` and `show_config` read them."""
    parser.add_argument("--preset", default="", metavar="NAME",
                        help="whose rules: lait (the default), cc3m, cc12m, coyo, laion, datacomp-basic; `imagebert "
                             "presets` says what each is. --set changes settings of it")
    parser.add_argument("--show-config", action="store_true", help="print the settings as JSON and do nothing")


def preset_of(args: argparse.Namespace) -> tuple[JudgeConfig, FilterConfig]:
    """Returns the settings of judge and filter before --set: of --preset, else of --run."""
    if not args.preset:
        return args.config.judge, args.config.filter
    from filter.presets import PRESETS
    if args.preset not in PRESETS:
        raise UsageError(f"--preset {args.preset!r} is not known; there are {', '.join(PRESETS)}")
    return PRESETS[args.preset].judge, PRESETS[args.preset].filter


def print_config(config: Any) -> int:
    """Prints settings as JSON; returns the exit status."""
    print(json.dumps(as_dict(config), indent=1, sort_keys=True, ensure_ascii=False))
    return 0


def presets_command(args: argparse.Namespace) -> int:
    """Prints what each preset is."""
    from filter.presets import preset_page
    print(preset_page(), end="")
    return 0


def _add_scorer(subparsers: Any) -> None:
    parser = subparsers.add_parser("scorer", help="train the models that score pairs and images",
                                   description="Small models from labelled rows; equal rows give an equal model.")
    actions = parser.add_subparsers(title="what to do", dest="action", metavar="ACTION", required=True)
    one = actions.add_parser("train", help="the pair scorer `weak`, from labelled pairs of datasets",
                             description="LABELS is a CSV with the columns image_url and caption, or image_sha256 and "
                                         "text_sha256; label (1 where the caption describes the image, else 0); and "
                                         "source, where pairs of one site are alike. Use the model with --set "
                                         "scorer=weak --set scorer_path=MODEL.")
    one.add_argument("--out", required=True, metavar="DIR", action="append",
                     help="dataset root with judge, images and features; repeatable, with --labels each")
    one.add_argument("--labels", required=True, metavar="LABELS", action="append", help="labelled pairs of it, CSV")
    one.add_argument("--model", required=True, metavar="MODEL", help="file to write")
    one.set_defaults(command=train_command)
    two = actions.add_parser("train-natural", help="the natural-image classifier, from labelled images",
                             description="LABELS is a CSV with the columns label (natural, nonnatural, nonlearnable), "
                                         "path or sha256, and source where images of one maker are alike.")
    two.add_argument("--labels", required=True, metavar="LABELS", help="labelled images, CSV")
    two.add_argument("--root", required=True, metavar="DIR", action="append",
                     help="what the paths are relative to, or where images are looked for by sha256 (repeatable)")
    two.add_argument("--model", required=True, metavar="MODEL", help="file to write")
    two.set_defaults(command=train_natural_command)


def judge_command(args: argparse.Namespace) -> int:
    """Runs the stage judge."""
    from filter.judge_run import judge
    config = override(preset_of(args)[0], args.set)
    if args.show_config:
        return print_config(config)
    with run_lock(args.out):
        return _show(judge(args.out, config, args.run), args.json)


def features_command(args: argparse.Namespace) -> int:
    """Runs the stage features."""
    from filter.features_run import features
    with run_lock(args.out):
        return _show(features(args.out, override(args.config.features, args.set), args.run), args.json)


def filter_command(args: argparse.Namespace) -> int:
    """Runs the stage filter."""
    from filter.filter_run import filter_pairs
    config = override(preset_of(args)[1], args.set)
    if args.show_config:
        return print_config(config)
    with run_lock(args.out):
        return _show(filter_pairs(args.out, config, args.run, args.decontaminate), args.json)


def explain_command(args: argparse.Namespace) -> int:
    """Prints all rows about one thing; exit status 1 when there is none."""
    from filter.explain import explain, one_line
    if not current(args.out):
        raise UsageError(f"{args.out}: no finished stage here; give --out the root of a dataset")
    found = 0
    for where, row in explain(args.out, args.what):
        found += 1
        print(json.dumps({"table": where, **row}, ensure_ascii=False) if args.json else one_line(where, row))
    if not found:
        print(f"nothing in {args.out} speaks of {args.what!r}", file=sys.stderr)
    return 0 if found else 1


def train_command(args: argparse.Namespace) -> int:
    """Trains the scorer weak and writes its model."""
    from filter.labelled_pairs import joined, labelled_pairs, read_labels
    from filter.scorer_training import train
    if len(args.out) != len(args.labels):
        raise UsageError(f"{len(args.out)} --out and {len(args.labels)} --labels; give --labels for each --out")
    for path in args.labels:
        _refuse_missing(path)
    labels = [read_labels(path) for path in args.labels]
    pairs = joined([labelled_pairs(out, one) for out, one in zip(args.out, labels, strict=True)])
    trained = train(pairs)
    _write_model(args.model, trained.model)
    print(f"{args.model}: {trained.rows} pairs, {trained.positive} of them right, {pairs.unknown} labels whose pair no "
          f"dataset holds; each of {len(set(pairs.sources))} sources left out in turn: area under the curve "
          f"{trained.area:.3f}, log loss {trained.log_loss:.3f}; {len(trained.features)} features")
    return 0


def train_natural_command(args: argparse.Namespace) -> int:
    """Trains the natural-image classifier and writes its model."""
    from filter.labelled_images import labelled_files, read_labels
    from filter.natural_training import natural_text, read_examples, train_natural
    _refuse_missing(args.labels)
    labels = read_labels(args.labels)
    examples = read_examples(labelled_files(labels, args.root))
    value = train_natural(examples)
    _write_model(args.model, natural_text(value))
    seen = value["seen"]["large_left_out"]
    low, high = seen["interval_95"]
    print(f"{args.model}: {len(examples.targets)} of {len(labels)} labelled images found, {examples.broken} do not "
          f"decode; with each of {len(set(examples.sources))} sources left out in turn, images above 300 px: "
          f"balanced accuracy {seen['balanced_accuracy']:.1%} ({low:.1%} - {high:.1%})")
    return 0


def _refuse_missing(path: str) -> None:
    if not pathlib.Path(path).is_file():
        raise UsageError(f"--labels {path!r} is not a file; name a CSV (--help says which columns)")


def _write_model(path: str, text: str) -> None:
    try:
        storage.replace_bytes(os.path.abspath(path), text.encode())
    except OSError as error:
        raise UsageError(f"--model {path}: cannot write it ({error.strerror}); name another file") from error


def _show(manifest: Manifest, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"directory": manifest.directory, "digest": manifest.digest,
                          "funnel": [dataclasses.asdict(line) for line in manifest.funnel],
                          "notes": manifest.notes}))
        return 0
    for line in manifest.funnel:
        print(f"{line.stage}: {line.rows_in:,} rows, unit {line.unit}")
        for name, count in sorted(line.outcomes, key=lambda pair: (-pair[1], pair[0])):
            print(f"  {count:>9,}  {name}")
    for note in manifest.notes:
        print(f"! {note}")
    print(manifest.directory)
    return 0
