"""ImageBERT, from pages to recall: the story in one file, and the one command.

    seeds -> pages -> candidates -> images           crawl/    what the web showed together
          -> pairs -> scored pairs -> best pairs     filter/   what is worth learning from
          -> samples -> shards                       shards/   how it is stored
          -> batches -> losses -> checkpoints        train/ + model/
          -> recall@1, 5, 10                         train/retrieval.py

    imagebert dataset  --seeds seeds.txt --out data/                   the first three lines
    imagebert pretrain --shards data/ --out run/                       the fourth
    imagebert evaluate --data data/ --checkpoint run/ --out run/eval   the fifth
"""
from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from crawl import run_log, storage
from crawl.config import as_dict, override
from crawl.dataflow import dataflow_options
from crawl.errors import UsageError
from crawl.images_run import ImagesConfig, fetch_images
from crawl.lock import run_lock
from crawl.policy import Network
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.runner import Run, beam_runner
from crawl.stages import Manifest, current_manifest
from crawl.traps import TrapRules
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.judging import JudgeConfig
from shards.build import ShardsConfig, build_shards
from shards.report import write_report

PACKAGES = ("crawl", "filter", "shards", "train", "model", "demo")
STAGES = ("crawl", "judge", "images", "features", "filter", "shards")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Everything that decides the bytes of a dataset; each part is defined beside its consumer."""

    crawl: CrawlConfig = dataclasses.field(default_factory=CrawlConfig)
    judge: JudgeConfig = dataclasses.field(default_factory=JudgeConfig)
    images: ImagesConfig = dataclasses.field(default_factory=ImagesConfig)
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    filter: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    shards: ShardsConfig = dataclasses.field(default_factory=ShardsConfig)


def lait() -> DatasetConfig:
    """Returns the default settings: the paper's recipe, for the open web."""
    return DatasetConfig()


def demo() -> DatasetConfig:
    """Returns the settings for the synthetic web on loopback: short deadlines, a quarter of the captions held out."""
    base = lait()
    fetch = dataclasses.replace(base.crawl.fetch, page_timeout_s=4.0, image_timeout_s=4.0, robots_timeout_s=4.0,
                                connect_timeout_s=2.0, slow_after_s=3, retries=1)
    # The web is small and its faults are known: one round of tries, and not many pages of its endless calendar.
    frontier = dataclasses.replace(base.crawl.frontier, retries=0, traps=TrapRules(max_calendar_pages=6))
    return dataclasses.replace(
        base, crawl=dataclasses.replace(base.crawl, fetch=fetch, frontier=frontier),
        images=dataclasses.replace(base.images, fetch=fetch),
        # Its scenes are drawn and stand for photographs; its charts, screenshots and logos score 0.00.
        filter=dataclasses.replace(base.filter, images=dataclasses.replace(base.filter.images, min_natural=0.02),
                                   aggregate=dataclasses.replace(base.filter.aggregate, test_share=0.245)))


RUNS: dict[str, Callable[[], DatasetConfig]] = {"lait": lait, "demo": demo}


def build_dataset(out: str, seeds: str, config: DatasetConfig, network: Network, run: Run, *,
                  block_hashes: str = "", decontaminate: str = "", recrawl: str = "") -> Manifest:
    """Returns the manifest of the shards built from the web that `seeds` (a file of URLs) leads to.

    A stage that is finished returns at once; a killed build goes on from its committed parts.  With `recrawl` (`due` or
    `all`) the web is asked for what has changed since the current crawl, and what follows is made of that.
    """
    crawl_pages(out, seeds, config.crawl, network, run, recrawl=recrawl)
    # pages; candidates: an image URL, its texts, where it stood on the page

    judge(out, config.judge, run)
    # judged candidates; the image URLs that at least one surviving text wants

    fetch_images(out, config.images, network, run, block_hashes=block_hashes)
    # images: the outcome of every URL, the address of the original bytes

    features(out, config.features, run)
    # facts: size, hashes, photograph or not, one row a distinct image

    filter_pairs(out, config.filter, run, decontaminate)
    # pairs: kept or the first failing reason; best: one caption an image

    shards = build_shards(out, config.shards, run)
    # train/lait-jpg-000000.tar, .regions.tar, index, Parquet; manifest.json

    write_report(out)
    # report.html beside the manifest: the funnel and contact sheets
    return shards


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the one command; each package registers its own sub-commands."""
    import crawl.cli
    import crawl.cli_candidates
    import crawl.cli_cdxj
    import crawl.cli_quarantine
    import crawl.cli_robots
    import demo.cli
    import filter.cli
    import filter.cli_quality
    import shards.cli
    import shards.cli_regions
    import train.cli
    import train.cli_batch
    import train.cli_evaluate
    import train.cli_lineage
    import train.cli_search
    import train.cli_trained_on
    from shards.cli_images import add_image_options
    from shards.cli_regions import add_inline_option
    from shards.cli_repeat import add_from_option

    top = _OneLineParser(
        prog="imagebert", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="From web pages to a trained image-text model, one stage or all of it.\n\n"
                    "  first step:  imagebert demo --out demo-out       everything, offline, on a synthetic web\n"
                    "  main job:    imagebert dataset --seeds seeds.txt --out data/",
        epilog="Beam's own options go after `--`, for example: imagebert dataset ... -- --runner=FlinkRunner")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=_OneLineParser)

    whole = commands.add_parser(
        "demo", help="the whole story offline: pages in, recall out",
        description="Serves a synthetic web with known truth on loopback, builds the dataset, trains a small ImageBERT "
                    "and measures retrieval. About 10 minutes on 2 cores.")
    whole.add_argument("--out", required=True, metavar="DIR", help="output root")
    whole.add_argument("--images", type=int, default=6600, help="size of the synthetic web (default: %(default)s)")
    whole.add_argument("--seed", type=int, default=1, help="seed of the synthetic web (default: %(default)s)")
    whole.set_defaults(command=_demo_command, named_run="demo", workers=1)

    one = commands.add_parser(
        "dataset", help="the main job: seeds in, shards and a report out",
        description="Crawls from the seeds, finds and filters image-text pairs, writes WebDataset shards with a "
                    "manifest and an HTML report. Stop it and run it again: it goes on where it was.")
    one.add_argument("--out", required=True, metavar="DIR", help="output root; stages lie in folders below it")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    crawl.cli.add_seed_options(one)
    crawl.cli.add_recrawl_option(one)
    crawl.cli.add_network_options(one)
    crawl.cli.add_build_options(one)
    crawl.cli.add_block_option(one)
    one.add_argument("--decontaminate", **filter.cli.DECONTAMINATE)
    filter.cli.add_preset_options(one)
    add_image_options(one)
    add_inline_option(one)
    add_from_option(one)
    crawl.cli.add_dry_run_option(one)
    one.set_defaults(command=_dataset_command)

    for package in (crawl.cli, crawl.cli_robots, crawl.cli_quarantine, crawl.cli_cdxj, crawl.cli_candidates,
                    filter.cli, filter.cli_quality, shards.cli_regions, shards.cli, train.cli, train.cli_evaluate,
                    train.cli_search, train.cli_batch, train.cli_lineage, train.cli_trained_on, demo.cli):
        package.register(commands)
    return top


class _OneLineParser(argparse.ArgumentParser):
    """Bad usage is one line and exit status 2."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def _dataset_command(args: argparse.Namespace) -> int:
    """Runs the main job."""
    from crawl.block_list import block_file
    from crawl.cli import crawl_from, images_from, network_from, seeds_file
    from crawl.funnel import print_funnel
    from crawl.plan_print import print_plans
    from crawl.plan_run import plan_dataset
    from filter.cli import preset_of, print_config
    from filter.clip_run import clip_weights
    from filter.decontamination import evaluation_source
    from filter.language import load_model
    from filter.quality import model_digest
    from filter.scoring import scorer_digest
    from shards.cli_images import stored_as
    from shards.cli_repeat import repeat_build
    if args.manifest:
        return repeat_build(args)
    judge_config, filter_config = preset_of(args)
    config = dataclasses.replace(args.config, judge=judge_config, filter=filter_config,
                                 crawl=crawl_from(args, args.config.crawl),
                                 images=images_from(args, args.config.images),
                                 shards=stored_as(args, args.config.shards))
    config = override(config, args.set)
    if args.show_config:
        return print_config(config)
    network = network_from(args)
    # What the later stages would refuse is refused before the first page is fetched.
    if config.judge.lid_path:
        load_model(config.judge.lid_path)
    if config.judge.quality_path:
        model_digest(config.judge.quality_path)
    config.shards.reencode.check()
    scorer_digest(config.filter.scorer, config.filter.scorer_path)
    clip_weights(config.filter.clip, config.filter.scorer)
    block_file(args.block_hashes)
    evaluation_source(args.decontaminate)
    if args.dry_run:
        with tempfile.TemporaryDirectory(prefix="imagebert-dry-run-") as folder:
            print_plans(plan_dataset(args.out, seeds_file(args, folder), config.crawl, config.images, config.judge,
                                     network, args.run, args.block_hashes, args.recrawl), args.json)
        return 0
    with run_lock(args.out):
        seeds = seeds_file(args)
        _write_config(args.out, config, network)
        manifest = build_dataset(args.out, seeds, config, network, args.run, block_hashes=args.block_hashes,
                                 decontaminate=args.decontaminate, recrawl=args.recrawl)
    notes = notes_of(args.out)
    if args.json:
        print(json.dumps({
            "shards": {"folder": manifest.directory, "samples": manifest.rows("samples"),
                       "files": len(manifest.tables["shards"])},
            "report": storage.join(manifest.directory, "report.html"), "notes": notes,
            "image_requests": manifest.extra["image_requests"],
            "funnel": [dataclasses.asdict(line) | {"outcomes": dict(line.outcomes)} for line in manifest.funnel]},
            indent=1))
        return 0
    print_funnel(manifest.funnel, notes)
    print(f"shards: {manifest.directory}\nreport: {storage.join(manifest.directory, 'report.html')}\n"
          f"next:   imagebert shards stats {args.out}")
    return 0


def notes_of(out: str) -> list[str]:
    """Returns the loud lines of every stage of the current dataset, in the order of the data."""
    return [f"{name}: {note}" for name in STAGES for note in current_manifest(out, name).notes]


# What the demo may take on 2 cores, in seconds, after installation.
_DEMO_BUDGET = {"web to images": 180, "filter to shards": 90, "training": 240, "evaluation": 60}


def _demo_command(args: argparse.Namespace) -> int:
    """Runs the whole story and prints what each part took beside what it may take."""
    from crawl.funnel import print_funnel
    from demo.cli import serve_function
    from demo.web import SyntheticWeb, WebConfig
    from train.cli import need_torch

    # All that could be missing later is asked for now.
    need_torch("demo")
    serve_function()
    SyntheticWeb(WebConfig(seed=args.seed, num_images=args.images))
    from train.evaluate_run import EvaluateConfig, evaluate, print_result

    out, run_folder = args.out, storage.join(args.out, "run")
    config, run = args.config, args.run
    took: dict[str, float] = {}
    with run_lock(out):
        with _part("web to images", took), _synthetic_web(args) as web:
            network = Network(connect_to=tuple(web["connect_to"]), ca_file=web["ca_file"], allow_hosts=("*.test",),
                              min_delay_s=0.02)
            seeds = storage.join(out, "seeds.txt")
            storage.replace_bytes(seeds, "".join(f"{url}\n" for url in web["seeds"]).encode())
            _write_config(out, config, network)
            crawl_pages(out, seeds, config.crawl, network, run)
            judge(out, config.judge, run)
            fetch_images(out, config.images, network, run)
        with _part("filter to shards", took):
            features(out, config.features, run)
            filter_pairs(out, config.filter, run)
            shards = build_shards(out, config.shards, run)
            report = write_report(out)
        with _part("training", took):
            losses = _pretrain_demo(out, run_folder)
        with _part("evaluation", took):
            result = evaluate(run_folder, out, storage.join(out, "evaluation"), EvaluateConfig(), shown=True)

    print_funnel(shards.funnel, notes_of(out))
    for stage, named in losses.items():
        for name, (first, last) in named.items():
            print(f"{stage:>10} {name:<12} {first:8.3f} -> {last:8.3f}")
    print_result(result)
    yardstick = measure_yardstick(out, args.images, args.seed)
    print(f"against the truth of the synthetic web: precision {yardstick.precision:.3f} "
          f"({yardstick.right} of {yardstick.kept} kept are right), recall {yardstick.recall:.3f} "
          f"(of {yardstick.to_keep} to keep)")
    for name, seconds in took.items():
        print(f"{name:<17} {seconds:6.0f} s   planned {_DEMO_BUDGET[name]:>4} s")
    print(f"{'all':<17} {sum(took.values()):6.0f} s   planned {sum(_DEMO_BUDGET.values()):>4} s")
    print(f"shards:     {shards.directory}\nreport:     {report}\ncheckpoint: {result.checkpoint}")
    return 0


def _pretrain_demo(out: str, run_folder: str) -> dict[str, dict[str, tuple[float, float]]]:
    """Trains the demo's model; returns the first and the last of each loss by stage."""
    from train.data import TrainingData
    from train.loop import train
    from train.metrics import first_and_last, read_metrics
    from train.mixture import open_sets
    from train.runs import RUNS as TRAINING_RUNS

    data = TrainingData(open_sets([out]), regions=1 << 15)
    data.close()
    config = TRAINING_RUNS["demo"](data.facts)
    train(config, out, run_folder, ranks=2, threads=1, resume=True, shown=True)
    rows = read_metrics(run_folder)
    return {name: first_and_last(rows, name) for name, _ in config.stages()}


@contextlib.contextmanager
def _part(name: str, took: dict[str, float]) -> Iterator[None]:
    """Measures one part of the demo and says that it begins and what it may take."""
    import time
    print(f"{name}, about {_DEMO_BUDGET[name]} s at most", file=sys.stderr, flush=True)
    started = time.monotonic()
    yield
    took[name] = time.monotonic() - started


@contextlib.contextmanager
def _synthetic_web(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Serves the synthetic web in a process of its own; yields its ready file."""
    import signal
    import subprocess
    import time
    with tempfile.TemporaryDirectory() as folder:
        ready = os.path.join(folder, "web.json")
        process = subprocess.Popen([sys.executable, "-m", "imagebert", "web", "--images", str(args.images), "--seed",
                                    str(args.seed), "--ready", ready], stdout=subprocess.DEVNULL)
        try:
            while not os.path.exists(ready):
                if process.poll() is not None:
                    raise UsageError(f"the synthetic web did not start (exit status {process.returncode}); "
                                     "run `imagebert web` to see why")
                time.sleep(0.05)
            with open(ready, encoding="utf-8") as file:
                yield json.load(file)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def measure_yardstick(out: str, images: int, seed: int, profile: str = "first") -> Any:
    """Returns precision and recall of a finished build against the synthetic web's truth (demo/yardstick.py)."""
    from crawl.tables import read_table
    from demo.web import SyntheticWeb, WebConfig
    from demo.yardstick import measure
    from filter.records import Best

    kept = ((best.image_url, best.image_urls[1:], best.caption)
            for path in current_manifest(out, "filter").paths("best") for best in read_table(path, Best))
    return measure(kept, SyntheticWeb(WebConfig(seed=seed, num_images=images, profile=profile)))


def _write_config(out: str, config: DatasetConfig, network: Network) -> None:
    """Writes the resolved settings beside the output."""
    text = json.dumps({"dataset": as_dict(config), "network": as_dict(network)}, indent=1, sort_keys=True)
    storage.replace_bytes(storage.join(out, "config.json"), text.encode() + b"\n")


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit status (2 for bad usage, after one clear line)."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    try:
        # `crawl` takes options and no words, so a word behind it is a command of its own.
        joined = words[:1] == ["crawl"] and words[1:2] in (["robots"], ["quarantine"], ["cdxj"])
        args = parser().parse_args([" ".join(words[:2]), *words[2:cut]] if joined else words[:cut])
        if hasattr(args, "named_run"):
            args.config = RUNS[args.named_run]()
            given = words[cut + 1:]
            args.run = beam_runner(args.workers, given + dataflow_options(given, getattr(args, "out", "")))
        elif words[cut + 1:]:
            raise UsageError(f"options after `--` go to Beam, and this command runs no Beam job: {words[cut + 1]!r}")
        with run_log.writing(getattr(args, "log_json", ""), " ".join(words)):
            return int(args.command(args) or 0)
    except UsageError as error:
        print(f"imagebert: {' '.join(str(error).splitlines())}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in PACKAGES:
            raise
        print(f"imagebert: {error.name} is not installed; run `make install`, or "
              f"pip install 'imagebert-lait[train,web]'", file=sys.stderr)
        return 2
    except BrokenPipeError:                                   # `imagebert shards ls ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("imagebert: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
