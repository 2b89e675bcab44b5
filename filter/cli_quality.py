"""`imagebert quality`: the caption-quality classifier of one's own data."""
from __future__ import annotations

import argparse
import os
from typing import Any

from crawl import storage
from crawl.errors import UsageError


def register(subparsers: Any) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("quality", help="train the classifier of captions against page furniture",
                                   description="A fastText model that `judge` asks where --set quality_path names it.")
    actions = parser.add_subparsers(title="what to do", dest="action", metavar="ACTION", required=True)
    one = actions.add_parser("train", help="from captions and from boilerplate of your own data",
                             description="Equal texts give an equal model. Use it with `imagebert judge --set "
                                         "quality_path=MODEL --set min_quality=0.3`.")
    one.add_argument("--positive", action="append", default=[], metavar="FILE", help="captions, one a line; repeatable")
    one.add_argument("--negative", action="append", default=[], metavar="FILE",
                     help="texts that are none: menus, credits, offers; one a line; repeatable")
    one.add_argument("--out", action="append", default=[], metavar="DIR",
                     help="a dataset: the captions it kept, and the texts its judge called boilerplate, menus, "
                          "credits, spam, names of files; repeatable")
    one.add_argument("--model", required=True, metavar="MODEL", help="file to write")
    one.set_defaults(command=train_command)


def train_command(args: argparse.Namespace) -> int:
    """Trains the classifier and writes its model."""
    from filter.quality_training import distinct, lines_of, texts_of_dataset, train_quality
    captions = [line for path in args.positive for line in lines_of(path)]
    noise = [line for path in args.negative for line in lines_of(path)]
    for out in args.out:
        kept, furniture = texts_of_dataset(out)
        captions += kept
        noise += furniture
    texts = distinct(captions, noise)
    trained = train_quality(texts)
    try:
        storage.replace_bytes(os.path.abspath(args.model), trained.model)
    except OSError as error:
        raise UsageError(f"--model {args.model}: cannot write it ({error.strerror}); name another file") from error
    print(f"{args.model}: {len(texts.captions)} captions and {len(texts.noise)} texts of noise, different ones; "
          f"{trained.held_out} of them left out: area under the curve {trained.area:.3f}")
    return 0
