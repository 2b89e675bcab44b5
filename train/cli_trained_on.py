"""`imagebert trained-on KEY|URL CHECKPOINT`: was this sample trained on, how often, in which stage?"""
from __future__ import annotations

import argparse
import json
import os

from crawl.config import digest, parsed
from crawl.errors import UsageError
from train.cli import need_torch


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command to the `imagebert` command."""
    parser = subparsers.add_parser(
        "trained-on", help="say whether a checkpoint was trained on a sample",
        description="Says for a sample's key, or for the address of an image or a page, how often each stage of a "
                    "run has shown it to the model, or left it out and why.  Computed from the order and from where "
                    "the checkpoint stands; exit status 0 when it was shown, 1 when it never was.")
    parser.add_argument("asked", metavar="KEY|URL", help="32 hex digits, or an address")
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="a run folder of pretrain, or a checkpoint")
    parser.add_argument("--shards", required=True, action="append", metavar="[NAME=]ROOT",
                        help="the shards of the run, as they were given to pretrain")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(command=trained_on)


def trained_on(args: argparse.Namespace) -> int:
    """Runs the sub-command; returns the exit status."""
    need_torch("trained-on")
    from train.checkpoint import find_checkpoint, read_state
    from train.data import TrainingData
    from train.ledger import answer
    from train.mixture import open_sets
    from train.plan import TrainConfig
    folder = find_checkpoint(args.checkpoint) if os.path.isdir(args.checkpoint) else None
    if folder is None:
        raise UsageError(f"{args.checkpoint}: no checkpoint here; give a run folder or a checkpoint")
    state = read_state(folder)
    path = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(folder))), "config.json")
    if state.stage_name in ("finetune", "scratch") or not os.path.isfile(path):
        raise UsageError(f"{folder}: stage {state.stage_name!r} did not stream shards; ask the pre-training run it "
                         f"began with (imagebert lineage {args.checkpoint})")
    with open(path) as file:
        config = parsed(TrainConfig, json.load(file), path)
    data = TrainingData(open_sets(args.shards), config.regions, captions=config.captions)
    try:
        built = digest({name: shards.built_digest for name, shards in data.sets.items()})
        if digest(config) != state.sources.config or built != state.sources.built:
            what = "config.json" if digest(config) != state.sources.config else "--shards"
            raise UsageError(f"{folder}: {what} is not what this checkpoint was trained with; give the run's own")
        rows = answer(data, config, state, args.asked)
    finally:
        data.close()
    shown = any(stage["shown"] for row in rows for stage in row["stages"])
    if args.json:
        print(json.dumps({"asked": args.asked, "trained_on": shown, "samples": rows}))
        return 0 if shown else 1
    for row in rows:
        print(f"{row['key']} of {row['set']}{', since removed from the set' if row['removed_now'] else ''}")
        for stage in row["stages"]:
            left_out = f", left out {stage['skipped']} times: {stage['why']}" if stage["skipped"] else ""
            print(f"  {stage['stage']:<12} shown {stage['shown']} times{left_out}")
    if not rows:
        print(f"{args.asked}: not in the training split of these shards; never trained on")
    return 0 if shown else 1
