"""`imagebert finetune` and `imagebert evaluate`: a checkpoint and data in, recall out."""
from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from crawl.config import override
from crawl.errors import UsageError
from train.cli import need_torch

_DATA = ("a dataset's root, its shards/ folder, or a folder of photographs with captions.json (a list of {file, "
         "captions, split}), Karpathy's dataset_*.json or COCO's annotations/captions_*.json, the photographs in "
         "images/")


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds both sub-commands to the `imagebert` command."""
    tune = subparsers.add_parser(
        "finetune", help="tune a checkpoint for retrieval",
        description="Tunes a pre-trained ImageBERT so that its matching head ranks captions and images (paper, section "
                    "5), on the training split; recall on the split `val` (or on a tenth of the training images) picks "
                    "the best epoch, whose weights go to OUT.")
    tune.add_argument("--data", required=True, metavar="FOLDER", help=_DATA)
    tune.add_argument("--checkpoint", default="", metavar="DIR", help="a run of `imagebert pretrain`, or a checkpoint")
    tune.add_argument("--out", required=True, metavar="DIR", help="folder of the tuned model")
    tune.add_argument("--loss", choices=("binary", "multiclass", "triplet", "sum"),
                      help="default: binary, the paper's best")
    tune.add_argument("--preset", default="", choices=("uniter",),
                      help="uniter: hard negatives, 399 drawn for each right pair of which the 31 that score highest "
                           "are kept, with the triplet loss (default: two of the batch, the binary loss)")
    tune.add_argument("--epochs", type=int, metavar="N", help="passes over the images (default: by the model's width)")
    tune.add_argument("--from-scratch", action="store_true",
                      help="begin with random weights; without --checkpoint a vocabulary, a codebook and a small model "
                           "are made from the photographs")
    tune.add_argument("--resume", action="store_true",
                      help="go on after the last whole epoch of the run in OUT, exactly, also after a kill")
    tune.add_argument("--threads", type=int, default=1, metavar="N", help="of torch on the CPU (default: 1)")
    tune.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments",
                      help="override a setting, e.g. --set batch=48 --set optimizer.learning_rate=0.001")
    tune.add_argument("--json", action="store_true", help="print the result as JSON")
    tune.set_defaults(command=finetune_command)

    measure = subparsers.add_parser(
        "evaluate", help="measure retrieval recall of a checkpoint",
        description="Ranks every caption for every image and every image for every caption with the matching head, in "
                    "disjoint folds of held-out images, and prints recall at 1, 5 and 10 beside chance, with a 95 % "
                    "interval; then the held-out losses beside what a model would lose that cannot see.  Finished "
                    "blocks of scores are kept in OUT: the same command goes on after an interruption.")
    measure.add_argument("--data", default="", metavar="FOLDER", help=_DATA)
    measure.add_argument("--checkpoint", default="", metavar="DIR", help="a run folder, or one checkpoint")
    measure.add_argument("--out", default="", metavar="DIR", help="folder for result.json and blocks of scores")
    measure.add_argument("--protocol", default="", choices=("flickr30k-1k", "coco-5k", "coco-1k"),
                         help="rank a test set as the paper does: 1,000 images at once, 5,000 at once, or five folds "
                              "of 1,000 in the file's order, with the first 5 captions of each")
    measure.add_argument("--table", nargs="*", metavar="RESULT",
                         help="measure nothing: print the paper's rows beside these results (result.json, or the --out "
                              "folder it is in), and why a row was not run")
    measure.add_argument("--folds", type=int, metavar="N", help="disjoint folds at most (default: 5)")
    measure.add_argument("--fold-size", type=int, metavar="N", help="images in a fold (default: 200; 0: all in one)")
    measure.add_argument("--rerank", type=int, metavar="K",
                         help="re-rank the contrastive best K with the ITM head, as a row of its own (default: 20, "
                              "0: off)")
    measure.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments",
                         help="override a setting, e.g. --set split=val --set retrieval.control=false")
    measure.add_argument("--json", action="store_true", help="print the result as JSON")
    measure.set_defaults(command=evaluate_command)


def finetune_command(args: argparse.Namespace) -> int:
    """Runs `imagebert finetune`; returns the exit status."""
    need_torch("finetune")
    from train.finetune_run import finetune
    given = [(name, getattr(args, name)) for name in ("loss", "epochs") if getattr(args, name) is not None]
    if args.threads < 1:
        raise UsageError(f"--threads {args.threads}: give at least 1")
    tuned = finetune(args.checkpoint, args.data, args.out, [f"{name}={value}" for name, value in given]
                     + args.assignments, from_scratch=args.from_scratch, threads=args.threads, shown=not args.json,
                     preset=args.preset, resume=args.resume)
    if args.json:
        from crawl.config import as_dict
        print(json.dumps(as_dict(tuned)))
        return 0
    for epoch in tuned.epochs:
        if epoch.number in (1, tuned.best_epoch, len(tuned.epochs)):
            recall = f"  validation recall sum {epoch.recall_sum:.3f} of 6" if epoch.recall_sum >= 0 else ""
            print(f"epoch {epoch.number:>4}  loss {epoch.loss:.4f}{recall}")
    print(f"tuned on {tuned.images} images with {tuned.captions} captions; the best epoch is {tuned.best_epoch}")
    for note in tuned.notes:
        print(f"note: {note}")
    print(f"checkpoint: {tuned.checkpoint}")
    print(f"next: imagebert evaluate --data {args.data} --checkpoint {args.out} --out {args.out}/evaluation")
    return 0


def evaluate_command(args: argparse.Namespace) -> int:
    """Runs `imagebert evaluate`; returns the exit status."""
    if args.table is not None:
        from train.protocols import print_table, table
        rows = table(args.table)
        if args.json:
            print(json.dumps([dataclasses.asdict(row) for row in rows]))
        else:
            print_table(rows)
        return 0
    for name in ("data", "checkpoint", "out"):
        if not getattr(args, name):
            raise UsageError(f"evaluate needs --{name}, or --table to print what was measured")
    need_torch("evaluate")
    from train.evaluate_run import EvaluateConfig, evaluate, print_result
    named = {"protocol": args.protocol or None,
             "retrieval.folds": args.folds, "retrieval.fold_size": args.fold_size, "retrieval.rerank": args.rerank}
    config = override(EvaluateConfig(), [f"{name}={value}" for name, value in named.items() if value is not None]
                      + args.assignments)
    result = evaluate(args.checkpoint, args.data, args.out, config, shown=not args.json)
    if args.json:
        json.dump(result.as_json(), sys.stdout)
        print()
    else:
        print_result(result)
    return 0
