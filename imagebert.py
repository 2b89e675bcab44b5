"""ImageBERT, from pages to recall: the story in one file, and the one command.

    seeds -> pages -> candidates -> images           crawl/    what the web showed together
          -> pairs -> scored pairs -> best pairs     filter/   what is worth learning from
          -> samples -> shards                       shards/   how it is stored
          -> batches -> losses -> checkpoints        train/ + model/
          -> recall@1, 5, 10                         train/retrieval.py

    imagebert dataset  --seeds seeds.txt --out data/     the first three lines
    imagebert pretrain --shards data/ --out run/         the fourth
    imagebert evaluate --data data/ --checkpoint run/    the fifth
"""
from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

from crawl.images_run import ImagesConfig, fetch_images
from crawl.policy import Network
from crawl.rounds import CrawlConfig, crawl_pages
from filter.features_run import FeaturesConfig, features
from filter.filter_run import FilterConfig, filter_pairs
from filter.judge_run import JudgeConfig, judge
from shards.build import ShardsConfig, build_shards

from crawl.errors import UsageError
from crawl.stages import Manifest

Run = Callable[[str, Callable[[Any], None]], None]   # run(name, build): wires a Beam pipeline and runs it to its end


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Everything that decides the bytes of a dataset; each part lies beside its consumer."""

    crawl: CrawlConfig = dataclasses.field(default_factory=CrawlConfig)
    judge: JudgeConfig = dataclasses.field(default_factory=JudgeConfig)
    images: ImagesConfig = dataclasses.field(default_factory=ImagesConfig)
    features: FeaturesConfig = dataclasses.field(default_factory=FeaturesConfig)
    filter: FilterConfig = dataclasses.field(default_factory=FilterConfig)
    shards: ShardsConfig = dataclasses.field(default_factory=ShardsConfig)


def build_dataset(out: str, seeds: str, config: DatasetConfig, network: Network, run: Run) -> Manifest:
    """Returns the manifest of the shards built from the web that `seeds` (a file of URLs) leads to.

    Every call returns at once where its stage is finished; a killed build goes on from its committed parts.
    """
    crawl_pages(out, seeds, config.crawl, network, run)
    # pages, candidates: an image URL, its texts, where it stood on the page

    judge(out, config.judge, run)
    # judged candidates; image URLs that at least one surviving text wants

    fetch_images(out, config.images, network, run)
    # images: the outcome of every URL, the address of the original bytes

    features(out, config.features, run)
    # facts: size, hashes, natural or not, one row a distinct image

    filter_pairs(out, config.filter, run)
    # pairs: kept or the first failing reason; best: one caption an image

    return build_shards(out, config.shards, run)
    # train/lait-jpg-000000.tar, .regions.tar, index, Parquet; manifest.json


def beam_runner(workers: int, beam_arguments: list[str], progress: Callable[[str], Any]) -> Run:
    """Returns what runs a Beam pipeline: in this process by default, elsewhere by Beam's own options.

    Args:
        workers: processes of the local runner.
        beam_arguments: Beam's options, such as --runner=FlinkRunner.
        progress: called with a job's name; returns a context manager that shows it.
    """
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    # FnApiRunner by name: the default would first try to download another runner. `multi_threading` grows without bound.
    local = ["--direct_num_workers", str(workers),
             "--direct_running_mode", "multi_processing" if workers > 1 else "in_memory"]
    options = PipelineOptions(local + beam_arguments)
    chosen = options.view_as(StandardOptions).runner

    def run(name: str, build: Callable[[Any], None]) -> None:
        with progress(name), beam.Pipeline(runner=chosen or FnApiRunner(), options=options) as root:
            build(root)

    return run


def parser() -> argparse.ArgumentParser:
    """Returns the parser of the one command; each package registers its own sub-commands."""
    import crawl.cli
    import demo.cli
    import filter.cli
    import shards.cli
    import train.cli
    import train.cli_evaluate

    top = _OneLineParser(
        prog="imagebert", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="From web pages to a trained image-text model, one stage or all of it.\n\n"
                    "  first steps:  imagebert demo --out demo-out      everything, offline, on a synthetic web\n"
                    "  main job:     imagebert dataset --seeds seeds.txt --out data/",
        epilog="Beam's own options go after `--`, for example: imagebert dataset ... -- --runner=FlinkRunner")
    commands = top.add_subparsers(title="commands", dest="name", metavar="COMMAND", required=True,
                                  parser_class=_OneLineParser)

    one = commands.add_parser("dataset", help="the main job: seeds in, shards and a report out",
                              description="Crawls from the seeds, finds and filters image-text pairs, writes WebDataset "
                                          "shards with a manifest and an HTML report. Stop it and run it again: it "
                                          "goes on where it was.")
    one.add_argument("--seeds", metavar="FILE", help="URLs to start from, one a line, # for comments")
    one.add_argument("--web", metavar="FILE", help="instead of --seeds: the ready file of `imagebert web`")
    one.add_argument("--out", required=True, metavar="DIR", help="output root; stages lie in folders below it")
    one.add_argument("--run", choices=sorted(RUNS), default="lait", help="named settings (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    crawl.cli.add_network_options(one)
    one.set_defaults(command=dataset_command)

    whole = commands.add_parser("demo", help="the whole story offline: pages in, recall out",
                                description="Serves a synthetic web with known truth on loopback, builds the dataset, "
                                            "trains a small ImageBERT and measures retrieval. About 10 minutes, 2 cores.")
    whole.add_argument("--out", required=True, metavar="DIR", help="output root")
    whole.add_argument("--images", type=int, default=6000, help="size of the synthetic web (default: %(default)s)")
    whole.add_argument("--seed", type=int, default=1, help="seed of the synthetic web (default: %(default)s)")
    whole.set_defaults(command=demo_command)

    for package in (crawl.cli, filter.cli, shards.cli, train.cli, train.cli_evaluate, demo.cli):
        package.register(commands)
    for command in commands.choices.values():
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                             help="override one setting, by dotted name; repeatable")
        command.add_argument("--workers", type=int, default=1, metavar="N",
                             help="processes of the local Beam runner (default: %(default)s)")
    return top


class _OneLineParser(argparse.ArgumentParser):
    """Bad usage is one line and exit status 2."""

    def error(self, message: str) -> Any:
        self.exit(2, f"{self.prog}: {message}; see `{self.prog} --help`\n")


def lait() -> DatasetConfig:
    """Returns the default settings: the paper's recipe, for the open web."""
    return DatasetConfig()


RUNS: dict[str, Callable[[], DatasetConfig]] = {"lait": lait}


def dataset_command(args: argparse.Namespace) -> int:
    """Runs the main job."""
    raise NotImplementedError


def demo_command(args: argparse.Namespace) -> int:
    raise NotImplementedError


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns its exit status (2 for bad usage, after one clear line)."""
    words = list(sys.argv[1:] if argv is None else argv)
    cut = words.index("--") if "--" in words else len(words)
    try:
        args = parser().parse_args(words[:cut])
        args.beam = words[cut + 1:]
        return int(args.command(args) or 0)
    except UsageError as error:
        print(f"imagebert: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("imagebert: interrupted; run the same command again to go on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
