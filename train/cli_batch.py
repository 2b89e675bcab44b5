"""`imagebert batch`: one packed batch of a training run, as words, boxes and masks."""
from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from crawl.config import as_dict, override
from crawl.errors import UsageError
from train.cli import need_torch

if TYPE_CHECKING:
    from train.shown_batch import ShownSequence

_ALL_REGIONS = 1 << 15
_REGIONS_A_LINE = 3


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command to the `imagebert` command."""
    parser = subparsers.add_parser(
        "batch", help="show what the model sees at a step",
        description="Shows the packed batch of a step as the model gets it: the words with what is masked among them, "
                    "boxes and classes of the regions, which captions are negatives, and how full the pack is.  The "
                    "order is a pure function of config and shards, so this is what `imagebert pretrain` with the "
                    "same settings trains on at that step.")
    parser.add_argument("--shards", required=True, action="append", metavar="[NAME=]ROOT",
                        help="a dataset's root folder, its shards/ folder or a manifest.json; as for pretrain")
    parser.add_argument("--run", default="demo", choices=("demo", "lait_base", "lait_base_fast"),
                        help="the run (default: %(default)s)")
    parser.add_argument("--stage", default="pretrain", help="its stage (default: %(default)s)")
    parser.add_argument("--step", required=True, type=int, metavar="N", help="step of the stage, from 0")
    parser.add_argument("--lane", type=int, default=0, metavar="L",
                        help="which of the step's packs (default: %(default)s)")
    parser.add_argument("--sequences", type=int, default=6, metavar="N",
                        help="sequences shown (default: %(default)s; 0: all)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="assignments",
                        help="override a setting of the run, as for `imagebert pretrain`")
    parser.add_argument("--json", action="store_true", help="print all sequences as JSON")
    parser.set_defaults(command=batch_command)


def batch_command(args: argparse.Namespace) -> int:
    """Runs the sub-command; returns the exit status."""
    need_torch("batch")
    for name, least in (("step", 0), ("lane", 0), ("sequences", 0)):
        if getattr(args, name) < least:
            raise UsageError(f"--{name} {getattr(args, name)}: give {least} or more")
    from train.data import TrainingData
    from train.mixture import open_sets
    from train.plan import check_facts
    from train.runs import RUNS
    from train.shown_batch import capacities, sequences_of
    from train.stream import PackStream, StageStart

    sets = open_sets(args.shards)
    data = TrainingData(sets, regions=_ALL_REGIONS)
    data.close()
    config = override(RUNS[args.run](data.facts), args.assignments)
    stages = [name for name, _ in config.stages()]
    if args.stage not in stages:
        raise UsageError(f"--stage {args.stage}: run {config.name!r} has the stages {', '.join(stages)}; "
                         f"--set NAME.samples=N turns one on")
    if args.lane >= config.lanes:
        raise UsageError(f"--lane {args.lane}: a step has the lanes 0 to {config.lanes - 1}")
    data = TrainingData(sets, config.regions, captions=config.captions)
    try:
        check_facts(config, data.facts)
        config = data.resolved(config)
        # As the rank that runs this lane alone, so that no other pack is read.
        stream = PackStream(data, config, stages.index(args.stage), StageStart(), args.lane, config.lanes)
        step, (samples,) = stream.step(args.step)
    finally:
        data.close()
    pack = step.packs[0][1]
    shown = sequences_of(pack, samples, data.tokenizer.vocab)
    room = capacities(pack)
    if args.json:
        print(json.dumps({"run": config.name, "stage": args.stage, "step": step.number, "lane": args.lane,
                          "samples_before": step.samples_before, "samples": len(samples),
                          "stayed_positive": step.stayed_positive,
                          "capacities": {name: {"used": used, "of": of} for name, (used, of) in room.items()},
                          "sequences": [as_dict(one) for one in shown]}))
        return 0
    negatives = sum(one.matched is False for one in shown)
    print(f"step {step.number} of {args.stage}, lane {args.lane} of {config.lanes}: {len(samples)} samples in "
          f"{len(shown)} sequences, {negatives} of {sum(one.matched is not None for one in shown)} with another "
          f"image's caption, {step.stayed_positive} kept theirs for want of one")
    print(f"{'capacity':<16}{'used':>8}{'of':>8}")
    for name, (used, of) in room.items():
        print(f"{name:<16}{used:>8,}{of:>8,}   {f'{used / of:.0%}' if of else ''}")
    print("\nwords: shown<target> where a word is predicted; regions: class [box], - feature hidden and to predict, "
          "+ to predict, shown")
    for one in shown[:args.sequences or None]:
        print("\n" + "\n".join(_lines(one)))
    left = len(shown) - len(shown[:args.sequences or None])
    if left:
        print(f"\nand {left} more (--sequences 0 shows all)")
    return 0


def _lines(one: ShownSequence) -> list[str]:
    """Returns a sequence as lines of text."""
    from shards.visible import visible
    label = {True: "matched", False: "NEGATIVE", None: "no label"}[one.matched]
    if one.kind == "joint":
        whose = f"image {one.image[:12]}, " + ("its own caption" if one.image == one.caption
                                               else f"caption of {one.caption[:12] or 'another image'}")
    else:
        whose = f"{one.kind} of {(one.image or one.caption)[:12]}"
        label = f"contrasted with {one.contrasted_with}" if one.contrasted_with >= 0 else label
    lines = [f"#{one.number}  {label}: {whose}, {one.tokens} tokens"]
    words = [visible(word.piece) + (f"<{visible(word.target)}>" if word.target else "") for word in one.words]
    regions = [f"[{len(one.regions)} regions]"] if one.kind != "text" else []
    lines.append("  " + " ".join([words[0], *regions, *words[1:]]))
    cells = [f"{'-' if not region.visible else '+' if region.predicted else ' '}{region.cls:>4} "
             f"[{' '.join(f'{value:.2f}' for value in region.box)}]" for region in one.regions]
    lines += ["  " + "  ".join(cells[at:at + _REGIONS_A_LINE]) for at in range(0, len(cells), _REGIONS_A_LINE)]
    return lines
