"""`imagebert shards sample|index|card`: a sheet to look at, tars of others made readable, a page to publish with."""
from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from shards import terminal
from shards.manifest import load_shards
from shards.sample import SPLITS


def register(actions: Any, count: Callable[[str], int]) -> None:
    """Adds `sample`, `index` and `card` to the actions of `imagebert shards`; `count` reads a whole number."""
    one = actions.add_parser("sample", help="a random contact sheet, as PNG or HTML",
                             description="Draws samples at random (equal seeds, equal samples) and writes one picture "
                                         "or one self-contained page with their captions.")
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    one.add_argument("--out", metavar="FILE", required=True, help="what to write; its name ends in .png or .html")
    one.add_argument("--n", type=count, default=36, metavar="N", help="samples (default: %(default)s)")
    one.add_argument("--seed", type=count, default=1, metavar="S", help="another seed, another draw (default: 1)")
    one.add_argument("--split", choices=SPLITS, default="", help="only this split")
    one.add_argument("--json", action="store_true", help="print the file and the drawn keys as JSON")
    one.set_defaults(command=write_sheet)
    one = actions.add_parser("index", help="index WebDataset tars of others, so that stats, ls, show read them",
                             description="Reads each tar once and writes an index of it and a manifest into a folder; "
                                         "give that folder to the other commands. The tars are not changed or copied.")
    one.add_argument("tars", metavar="TAR", nargs="+", help="WebDataset tars: KEY.jpg|png|webp, KEY.txt, KEY.json")
    one.add_argument("--out", metavar="DIR", required=True, help="folder for the indexes and the manifest")
    one.add_argument("--split", choices=SPLITS, default="train", help="what the tars count as (default: %(default)s)")
    one.add_argument("--vocab", metavar="FILE", default="",
                     help="word pieces (BERT's vocab.txt): captions are counted and KEY.npz members (UNITER's arrays) "
                          "or KEY.npy ones (an embedding, or a grid of features) become tars of regions in DIR, so "
                          "that the set can be trained on")
    one.add_argument("--feature-dim", type=count, default=2048, metavar="D", help="of the features (default: 2048)")
    one.add_argument("--num-classes", type=count, default=1600, metavar="N", help="of the regions (default: 1600)")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(command=index)
    one = actions.add_parser("card", help="dataset card (Markdown) and Croissant (JSON-LD) from the manifest",
                             description="Prints the dataset card; with --out writes README.md and croissant.json, "
                                         "whose file names are relative to the shards folder.")
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    one.add_argument("--out", metavar="DIR", default="", help="write README.md and croissant.json there")
    one.add_argument("--name", default="lait", help="the dataset's name (default: %(default)s)")
    one.add_argument("--license", metavar="URL", default="", help="licence of the collection, where it has one")
    one.add_argument("--url", default="", help="where the dataset is published")
    one.add_argument("--json", action="store_true", help="print the Croissant JSON-LD")
    one.set_defaults(command=write_card)


def write_sheet(args: argparse.Namespace) -> int:
    """Writes a contact sheet."""
    from shards.contact_sheet import MAX_SAMPLES, drawn, sheet_html, sheet_png
    kind = os.path.splitext(args.out)[1].lower()
    if kind not in (".png", ".html"):
        raise UsageError(f"--out {args.out}: its name decides the format; end it in .png or .html")
    if not 1 <= args.n <= MAX_SAMPLES:
        raise UsageError(f"--n {args.n}: a sheet has 1 to {MAX_SAMPLES} samples")
    shards = load_shards(args.path)
    samples = list(drawn(shards, args.n, args.seed, args.split))
    if not samples:
        raise UsageError(f"{shards.directory}: no sample to draw; `imagebert shards stats` counts them")
    title = f"{len(samples)} random samples of {os.path.basename(shards.directory)}, seed {args.seed}"
    data = sheet_png(samples) if kind == ".png" else sheet_html(samples, title).encode()
    try:
        with open(args.out, "wb") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(f"--out {args.out}: {error.strerror}; name a file that can be written") from error
    print(json.dumps({"file": args.out, "keys": [sample.key for sample in samples]}, indent=1) if args.json
          else f"{args.out}: {title}")
    return 0


def index(args: argparse.Namespace) -> int:
    """Indexes tars of others."""
    from shards.foreign import index_tars
    from shards.region_config import PRECOMPUTED, RegionsConfig
    missing = next((path for path in args.tars if os.path.isdir(path) or not storage.exists(path)), None)
    if missing is not None:
        raise UsageError(f"{missing}: no such tar")
    with terminal.progress("index", sum(map(storage.size, args.tars))) as read:
        try:
            config = RegionsConfig(extractor=PRECOMPUTED, feature_dim=args.feature_dim, num_classes=args.num_classes)
        except ValueError as error:
            raise UsageError(str(error)) from error
        samples = index_tars(args.tars, args.out, args.split, read, args.vocab, config)
    print(json.dumps({"directory": args.out, "shards": len(args.tars), "samples": samples}, indent=1) if args.json
          else f"{len(args.tars):,} tars, {samples:,} samples; next: imagebert shards stats {args.out}")
    return 0


def write_card(args: argparse.Namespace) -> int:
    """Prints or writes the dataset card and its Croissant description."""
    from shards.card import card, croissant
    shards = load_shards(args.path)
    if shards.foreign:
        raise UsageError(f"{shards.directory}: tars of others; a card tells how imagebert made a set")
    page = card(shards, args.name, args.license)
    described = json.dumps(croissant(shards, args.name, args.license, args.url), indent=1, ensure_ascii=False) + "\n"
    if args.out:
        try:
            os.makedirs(args.out, exist_ok=True)
            for name, text in (("README.md", page), ("croissant.json", described)):
                storage.replace_bytes(os.path.join(args.out, name), text.encode())
        except OSError as error:
            raise UsageError(f"--out {args.out}: {error.strerror or error}; name a folder that can be "
                             f"written") from error
    if args.json:
        print(described, end="")
    elif args.out:
        print(f"{os.path.join(args.out, 'README.md')}\n{os.path.join(args.out, 'croissant.json')}")
    else:
        print(page, end="")
    return 0
