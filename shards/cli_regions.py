"""`imagebert regions`: boxes, features and classes of the kept images, by patches, a detector or files of others."""
from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from crawl.cli import add_build_options, print_manifest
from crawl.errors import UsageError
from shards.region_config import EXTRACTORS, RegionsConfig

_DESCRIPTION = """Extracts the regions of every kept image of a dataset root; `imagebert shards build` then writes them
as sibling tars (lait-jpg-000000.regions.tar), and leaves image tars as they are.

  patches       the picture's cells as pixels; no weights (--set patches.grid=4 and others)
  precomputed   files of others: --files and --format bottom-up-tsv, lxmert-tsv or uniter-npz
  bottom-up     Faster R-CNN R101-C4 of 1600 Visual Genome classes, as in the paper: --weights FILE
                (faster_rcnn_from_caffe*.pkl, or pytorch_model.bin of frcnn-vg-finetuned)
  fasterrcnn    torchvision's Faster R-CNN R50-FPN, v1 or v2, of COCO classes: --weights FILE
  clip          parts of the picture by an open_clip model: --weights FILE --set architecture=ViT-B-32;
                --class-names FILE makes the names nearest to a part its classes

Nothing is downloaded, and nothing runs on random weights. The root remembers the choice; without --extractor the
command and later builds keep to it. Settings of patches are given to `shards build` as well."""


def register(subparsers: Any) -> None:
    """Adds the sub-command `regions`."""
    one = subparsers.add_parser("regions", help="boxes and features of the kept images, by an extractor of your choice",
                                description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    one.add_argument("--out", required=True, metavar="DIR", help="dataset root with a finished filter")
    one.add_argument("--extractor", choices=EXTRACTORS, default="",
                     help="where regions come from (default: as this root remembers, else patches)")
    one.add_argument("--weights", metavar="FILE", help="the published checkpoint, at a place that workers can read")
    one.add_argument("--files", nargs="+", metavar="PATH", help="TSV files, or folders of npz files")
    one.add_argument("--format", help="of --files: bottom-up-tsv, lxmert-tsv, uniter-npz")
    one.add_argument("--fields", metavar="NAME,NAME,...",
                     help="columns of a TSV in another order than published; other names are skipped")
    one.add_argument("--match", metavar="WHAT",
                     help="what the files' ids are: key (or sha256), url, name (of the image file, without its "
                          "suffix), extras.COLUMN of a caption table (default: key)")
    one.add_argument("--class-names", metavar="FILE", help="a class a line, kept beside the shards and shown")
    one.add_argument("--max-regions", type=int, metavar="N", help="the most confident ones (default: 100)")
    one.add_argument("--quantise", choices=("u8", "f16"), help="how features are stored (default: u8)")
    add_build_options(one)
    one.add_argument("--json", action="store_true", help="print the funnel as JSON")
    one.set_defaults(command=regions_command)


def add_inline_option(parser: argparse.ArgumentParser) -> None:
    """Adds --inline-regions of the commands that write shards."""
    parser.add_argument("--inline-regions", action="store_true",
                        help="store regions in the samples' own tar, for programs that read one tar")


def regions_command(args: argparse.Namespace) -> int:
    """Runs the stage regions; `args.run` runs a Beam pipeline."""
    from crawl.config import override
    from crawl.lock import run_lock
    from shards.extraction import extract_regions, stored_source
    from shards.region_config import chosen, remember
    patches = [line.partition("patches.")[2] for line in args.set if line.startswith("patches.")]
    config = config_from(args, [line for line in args.set if not line.startswith("patches.")])
    cells = override(args.config.shards.patches, patches)
    with run_lock(args.out):
        config = chosen(args.out, config)
        manifest = extract_regions(args.out, config, cells, args.run, stored_source(args.out))
        remember(args.out, config)
        print_manifest(manifest, args.json)
    return 0


def config_from(args: argparse.Namespace, assignments: list[str]) -> RegionsConfig:
    """Returns what the options say; raises UsageError for options that no chosen extractor would read."""
    from crawl.config import override
    given: dict[str, Any] = {name: value for name in ("weights", "format", "match", "class_names", "max_regions",
                                                      "quantise") if (value := getattr(args, name)) is not None}
    if args.files is not None:
        given["files"] = tuple(args.files)
    if args.fields is not None:
        given["fields"] = tuple(args.fields.split(","))
    if (given or assignments) and not args.extractor:
        raise UsageError("options of an extractor need --extractor: without it the root's own choice is kept as it is")
    if "max_regions" in given:
        given["min_regions"] = min(given["max_regions"], args.config.shards.regions.min_regions)
    try:
        config = dataclasses.replace(args.config.shards.regions, extractor=args.extractor, **given)
    except ValueError as error:
        raise UsageError(f"imagebert regions: {error}") from error
    return override(config, assignments)
