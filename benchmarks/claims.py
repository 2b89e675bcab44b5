"""What the paper's ablations say, in the small: does each claim hold on drawn scenes with a small model?

    python -m benchmarks.claims [--seeds 1 2 3 4 5] [--work DIR] [--workers 2] [--only ARM ...]

For every seed a world of its own (benchmarks/claims_world.py), and in it one run an arm: a contrastive `align` stage on
30,000 right pairs, the same for all arms (in the place of BERT's weights: without it ITM learns nothing at this size),
then 60,000 pairs of pre-training, batches of 48, a model of 2 layers and width 64.  Zero-shot and fine-tuned recall
of the matching head on five folds of 200 images it never saw, chance 0.5 %, 2.5 % and 5 %.  A claim is the difference
of two arms of equal seed; its interval is Student's over the seeds.  `--work` keeps every finished run: the same
command goes on where it was stopped, more seeds add to it, and results/claims.json is written after each run.

A run takes about a CPU-minute, all of
them about 85: some 45 minutes on two cores with nothing beside it.
"""
from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.claims_report import report
from benchmarks.claims_world import WorldConfig, make_world, set_path
from model import config as sizes
from model.losses import LossWeights
from shards.manifest import load_shards
from train.masking import MaskingConfig
from train.plan import StageConfig, TrainConfig
from train.schedule import OptimizerConfig

ALIGN, WEB, PUBLIC = 30_000, 40_000, 20_000       # pairs seen
_ALIGNED_ON = ("web_filtered=0.5", "public")       # noise would leave too little of it
_EPOCHS = 12           # of fine-tuning
_WORLD = "world"


@dataclasses.dataclass(frozen=True, slots=True)
class Arm:
    """One way to pre-train."""

    stages: tuple[tuple[str, int, tuple[str, ...]], ...] = (("web", WEB, ("web",)), ("public", PUBLIC, ("public",)))
    without: str = ""              # the loss that is left out
    gated: bool = True
    grid: int = 3                  # cells a side


# 1.5 passes over `public` for each over `web`: the pairs of each that the two stages see.
PRETRAINED = {
    "staged": Arm(),
    "mixed": Arm((("mixed", WEB + PUBLIC, ("web", "public=1.5")),)),
    "public_only": Arm((("public", WEB + PUBLIC, ("public",)),)),
    "web_only": Arm((("web", WEB + PUBLIC, ("web",)),)),
    "filtered": Arm((("web", WEB, ("web_filtered",)), ("public", PUBLIC, ("public",)))),
    "no_mlm": Arm(without="mlm"), "no_moc": Arm(without="moc"), "no_mrfr": Arm(without="mrfr"),
    "no_itm": Arm(without="itm"),
    "ungated": Arm(gated=False),
    "regions_25": Arm(grid=5),
}
# What is fine-tuned, from which arm ("" from random weights), with which loss.
TUNED = {
    "tuned": ("staged", "binary"), "tuned_from_nothing": ("", "binary"), "tuned_no_itm": ("no_itm", "binary"),
    "tuned_regions_25": ("regions_25", "binary"), "tuned_multiclass": ("staged", "multiclass"),
    "tuned_triplet": ("staged", "triplet"), "tuned_sum": ("staged", "sum"),
}
ARMS = (*PRETRAINED, *TUNED)


def pretrain_config(arm: Arm, web: str, seed: int) -> TrainConfig:
    """Returns the run of an arm; `web` is a set of its grid."""
    shards = load_shards(web)
    vocab = len(pathlib.Path(shards.path(shards.vocab)).read_text().splitlines())
    optimizer = OptimizerConfig(learning_rate=3e-3, beta2=0.98, warmup=0.05)
    weights = dataclasses.replace(LossWeights(), **({arm.without: 0.0} if arm.without else {}))
    model = dataclasses.replace(sizes.demo(vocab, shards.feature_dim, shards.num_classes), layers=2)
    align = StageConfig("align", samples=ALIGN, data=_ALIGNED_ON, pairs=48, optimizer=optimizer,
                        weights=LossWeights(0, 0, 0, 0, contrastive=1))
    stages = tuple(StageConfig(name, samples=samples, data=data, pairs=48, optimizer=optimizer, weights=weights,
                               masking=MaskingConfig(gated=arm.gated)) for name, samples, data in arm.stages)
    return TrainConfig("claims", model, (align, *stages), seed=seed, lanes=1, regions=25, log_samples=4800,
                       checkpoint_samples=10_000_000, compute_threads=1)


def run_arm(name: str, seed: int, work: pathlib.Path) -> dict[str, Any]:
    """Returns recalls and CPU-seconds of one run; its checkpoint stays in `work`."""
    from train.checkpoint import read_state
    from train.evaluate_run import EvaluateConfig, evaluate
    from train.finetune_run import finetune
    from train.loop import train
    from train.retrieval import RetrievalConfig
    begun, out = time.process_time(), str(work / f"{name}-{seed}")
    start, loss = TUNED.get(name, (name, ""))
    arm = PRETRAINED[start or "staged"]
    world = work / f"{_WORLD}-{seed}"
    target = set_path(world, "target", arm.grid)
    if loss:
        rate = 1e-3 if start else 3e-3
        finetune(str(work / f"{start or 'staged'}-{seed}"), target, out, [
            f"loss={loss}", f"epochs={_EPOCHS}", f"seed={seed}", f"optimizer.learning_rate={rate}",
            "validate_epochs=4"], from_scratch=not start, resume=True)
    else:
        config = pretrain_config(arm, set_path(world, "web", arm.grid), seed)
        names = sorted({part.partition("=")[0] for _, stage in config.stages() for part in stage.data})
        written = train(config, [f"{one}={set_path(world, one, arm.grid)}" for one in names], out, threads=1,
                        resume=True)
        if not read_state(written).finished:
            raise SystemExit(3)        # a signal stopped it; the next time it goes on
    ranked = evaluate(out, target, "", EvaluateConfig(blind=False, retrieval=RetrievalConfig(
        control=False, rerank=0, workers=1)))
    row = ranked.row("itm")
    if row is None:
        raise RuntimeError(f"{out}: the matching head was not ranked")
    return {"arm": name, "seed": seed, "cpu_seconds": round(time.process_time() - begun, 1),
            "recalls": {recall.name: recall.value for recall in row.recalls}}


def _at_once(jobs: list[tuple[str, int]], work: pathlib.Path, workers: int) -> None:
    """Runs what is not finished yet, each in a process of its own; raises CalledProcessError where one fails."""
    def one(job: tuple[str, int]) -> None:
        name, seed = job
        if not (work / f"{name}-{seed}.json").exists():
            subprocess.run([sys.executable, "-m", "benchmarks.claims", "--work", str(work), "--one", name,
                            "--seeds", str(seed)], check=True)
            report(work, ARMS)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, jobs))


def main() -> None:
    """Runs all arms of all seeds, and writes results/claims.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    options.add_argument("--work", type=pathlib.Path, default=pathlib.Path("build/claims"))
    options.add_argument("--workers", type=int, default=2, help="runs at once")
    options.add_argument("--only", nargs="+", default=ARMS, choices=ARMS, metavar="ARM", help=f"of {', '.join(ARMS)}")
    options.add_argument("--one", default="", help=argparse.SUPPRESS)
    args = options.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.one:
        seed = args.seeds[0]
        if args.one == _WORLD:
            make_world(args.work / f"{_WORLD}-{seed}", WorldConfig(seed=seed))
            found: dict[str, Any] = {}
        else:
            found = run_arm(args.one, seed, args.work)
        partial = args.work / f"{args.one}-{seed}.json.part"
        partial.write_text(json.dumps(found))
        partial.rename(args.work / f"{args.one}-{seed}.json")
        return
    for seed in args.seeds:
        for names in ((_WORLD,), PRETRAINED, TUNED):
            _at_once([(name, seed) for name in names if name == _WORLD or name in args.only], args.work, args.workers)
    print(report(args.work, ARMS))


if __name__ == "__main__":
    main()
