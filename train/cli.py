"""`imagebert pretrain`: shards in, checkpoints out."""
from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from crawl.config import as_dict, override
from crawl.errors import UsageError

if TYPE_CHECKING:
    from train.plan import TrainConfig


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command to the `imagebert` command."""
    parser = subparsers.add_parser(
        "pretrain", help="train ImageBERT on shards",
        description="Trains ImageBERT on the training split of a dataset: first the stage `align` where the run has "
                    "one, then `pretrain` with the paper's four tasks.  OUT gets config.json, metrics.jsonl (a line "
                    "per log_samples) and checkpoints/; checkpoint.json names the current one.  SIGTERM or Ctrl-C "
                    "saves and stops; --resume goes on exactly where it was, also after a kill.")
    parser.add_argument("--shards", required=True, action="append", metavar="[NAME=]ROOT",
                        help="a dataset's root folder, its shards/ folder or a manifest.json; several with a name each "
                             "for a run whose stages differ in data, e.g. lait=ROOT public=ROOT2 (repeat --shards)")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the run")
    parser.add_argument("--run", default="demo", choices=("demo", "lait_base", "lait_base_fast"),
                        help="demo: a small model for minutes on 2 cores; lait_base: the paper's (12 layers, the sets "
                             "`lait` and `public` in two stages, 17 epochs each); lait_base_fast: the same for "
                             "throughput (default: demo)")
    parser.add_argument("--ranks", type=int, default=1, metavar="N",
                        help="processes that share the work, on this machine (default: 1)")
    parser.add_argument("--threads", type=int, default=0, metavar="N",
                        help="threads a rank that read ahead (default: half the cores); changes no result")
    parser.add_argument("--resume", action="store_true", help="go on from OUT's checkpoint if there is one")
    parser.add_argument("--accept-removal", action="store_true",
                        help="resume though samples were removed from the shards since: they leave empty places")
    parser.add_argument("--sync", default="", metavar="URL",
                        help="copy every checkpoint to this folder on an object store (s3://, gs://), the last two "
                             "stay; with --resume, go on from there where it is further on than OUT")
    parser.add_argument("--tensorboard", action="store_true",
                        help="write OUT/tensorboard, too (pip install 'imagebert-lait[tensorboard]')")
    parser.add_argument("--wandb", default="", metavar="PROJECT",
                        help="log to Weights & Biases, too (pip install 'imagebert-lait[wandb]')")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments",
                        help="override a setting, e.g. --set pretrain.samples=50000 --set model.hidden=128")
    parser.add_argument("--dry-run", action="store_true",
                        help="print the plan (stages, sets, samples, steps, tokens), memory and time reckoned from a "
                             "few steps here, and each setting that differs from the paper's run; write nothing")
    parser.add_argument("--show-config", action="store_true", help="print the resolved config as JSON and stop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=pretrain)


def pretrain(args: argparse.Namespace) -> int:
    """Runs the sub-command; returns the exit status: 0 finished, 3 stopped by a signal and resumable."""
    need_torch("pretrain")
    if args.threads < 0:
        raise UsageError(f"--threads {args.threads}: give 0 (half the cores) or more")
    from train.checkpoint import read_state
    from train.data import TrainingData
    from train.loop import train
    from train.metrics import first_and_last, read_metrics
    from train.mixture import open_sets
    from train.runs import RUNS

    data = TrainingData(open_sets(args.shards), regions=_ALL_REGIONS)
    data.close()
    config = RUNS[args.run](data.facts)
    config = override(config, args.assignments)
    if args.show_config:
        print(json.dumps(as_dict(config), indent=1))
        return 0
    if args.dry_run:
        return _dry_run(args, config)
    folder = train(config, args.shards, args.out, args.ranks, args.threads, args.resume, shown=not args.json,
                   accept_removal=args.accept_removal, sync=args.sync,
                   boards=["tensorboard"] * args.tensorboard + [f"wandb={args.wandb}"] * bool(args.wandb))
    state = read_state(folder)
    rows = read_metrics(args.out)
    losses = {name: first_and_last(rows, name) for name, _ in config.stages()}
    if args.json:
        print(json.dumps({"checkpoint": folder, "finished": state.finished, "stage": state.stage_name,
                          "step": state.step, "losses": losses}))
        return 0 if state.finished else 3
    for stage, named in losses.items():
        for name, (first, last) in named.items():
            print(f"{stage:>10} {name:<12} {first:8.3f} -> {last:8.3f}")
    print(f"checkpoint: {folder}")
    if not state.finished:
        print(f"stopped in stage {state.stage_name} at step {state.step}; the same command with --resume goes on",
              file=sys.stderr)
        return 3
    return 0


def _dry_run(args: argparse.Namespace, config: TrainConfig) -> int:
    from train.data import TrainingData
    from train.dry_run import differences, measure, plan_of, print_dry_run
    from train.mixture import open_sets
    from train.plan import check_facts
    from train.runs import RUNS
    data = TrainingData(open_sets(args.shards), config.regions, config.cache_mib, captions=config.captions)
    try:
        check_facts(config, data.facts)
        other = "" if args.run == "demo" else "lait_base"
        changed = differences(config, RUNS[other](data.facts)) if other else ()
        resolved = data.resolved(config)
        plan = plan_of(resolved, data)
        cost = measure(resolved, data, plan)
    finally:
        data.close()
    if args.json:
        print(json.dumps({"plan": [as_dict(stage) for stage in plan], "cost": as_dict(cost),
                          "differences": [{"setting": name, "value": ours, other: theirs}
                                          for name, ours, theirs in changed]}))
    else:
        print_dry_run(plan, cost, changed, other)
    return 0


def need_torch(command: str) -> None:
    """Raises UsageError where torch is not installed."""
    try:
        import torch  # noqa: F401 (only to say clearly that it is missing)
    except ImportError as error:
        raise UsageError(f"{command} needs torch, which is not installed; run "
                         f"pip install 'imagebert-lait[train]'") from error


_ALL_REGIONS = 1 << 15
