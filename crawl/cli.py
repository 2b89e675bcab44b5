"""The commands `crawl` and `images`, and the network options that `dataset` and `demo` share with them."""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
import ssl
import tempfile
from typing import Any

from crawl import storage
from crawl.config import override
from crawl.errors import UsageError
from crawl.funnel import print_outcomes
from crawl.host_rates import read_host_rates
from crawl.images_run import ImagesConfig, fetch_images
from crawl.lock import run_lock
from crawl.plan_print import print_plans
from crawl.plan_run import plan_crawl, plan_images
from crawl.policy import FetchPolicy, Network
from crawl.recrawl import EVERYTHING, WHAT_IS_DUE
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest

MAX_WORKERS = 256


def register(subparsers: Any) -> None:
    """Adds `crawl` and `images` to the command."""
    crawl = subparsers.add_parser(
        "crawl", help="fetch pages from the seeds on, find image candidates",
        description="Fetches pages round by round, politely and under robots.txt, stores them as WARC, and writes the "
                    "tables pages, links and candidates. Killed or stopped, it goes on where it was. "
                    "`imagebert crawl robots URL` explains what robots.txt says of a URL.")
    add_seed_options(crawl)
    add_recrawl_option(crawl)
    add_output_options(crawl)
    add_network_options(crawl)
    add_build_options(crawl)
    add_dry_run_option(crawl)
    crawl.set_defaults(command=crawl_command)

    images = subparsers.add_parser(
        "images", help="download the images that `filter` judged worth it",
        description="Downloads every image URL of the current judge stage once, stores the original bytes in tar "
                    "parts, and writes a row for each URL. What an earlier run has is never downloaded again.")
    add_output_options(images)
    images.add_argument("--retry-failed", action="store_true",
                        help="open another round with what failed for a reason that may have passed: network faults, "
                             "5xx, 429, what was put off, what a site refused; nothing else is asked for again")
    _add_web(images)
    add_network_options(images)
    add_build_options(images)
    add_block_option(images)
    add_dry_run_option(images)
    images.set_defaults(command=images_command)


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """Adds where a stage is written, and how its result is printed."""
    parser.add_argument("--out", required=True, metavar="DIR", help="output root; stages lie in folders below it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def add_build_options(parser: argparse.ArgumentParser) -> None:
    """Adds what every command that runs Beam jobs has: named settings, single settings, workers."""
    parser.add_argument("--run", choices=("lait", "demo"), default="lait", dest="named_run",
                        help="named settings: lait for the open web, demo for `imagebert web` (default: %(default)s)")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="override one setting, by dotted name; repeatable")
    parser.add_argument("--workers", type=_workers, default=1, metavar="N",
                        help="processes of the local Beam runner (default: %(default)s)")
    parser.add_argument("--log-json", default="", metavar="FILE",
                        help="append what happens, one JSON object a line (jobs, progress, outcomes of each stage); "
                             "- is standard error, in place of the progress bar")


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes, 1 to {MAX_WORKERS}")
    return int(text)


def add_seed_options(parser: argparse.ArgumentParser) -> None:
    """Adds where a crawl starts; `seeds_file` reads it."""
    parser.add_argument("--seeds", metavar="FILE", help="URLs to start from, one a line, # for comments")
    _add_web(parser)


def _add_web(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--web", metavar="FILE",
                        help="the --ready file of a running `imagebert web`: how to reach it, and its seeds")


def add_dry_run_option(parser: argparse.ArgumentParser) -> None:
    """Adds --dry-run; `plan_run.py` makes the plan."""
    parser.add_argument("--dry-run", action="store_true",
                        help="ask nobody and write nothing below --out: print what would be fetched next, what would "
                             "not and why, the least time it takes and the hosts that set it")


def add_recrawl_option(parser: argparse.ArgumentParser) -> None:
    """Adds --recrawl: "" without it, else what it asks for."""
    parser.add_argument("--recrawl", nargs="?", const=WHAT_IS_DUE, default="", choices=(WHAT_IS_DUE, EVERYTHING),
                        metavar="due|all",
                        help="go on from the current crawl and ask again for what is due by its own schedule (the "
                             "default), or for all it knows; pages by what changed (ETag, Last-Modified). What stands "
                             "is not stored twice. Stopped, it goes on; each finished one is followed by another")


def add_block_option(parser: argparse.ArgumentParser) -> None:
    """Adds --block-hashes; `block_list.py` reads the file."""
    parser.add_argument("--block-hashes", default="", metavar="FILE",
                        help="never store these images, only their outcome row: sha256:HEX or phash:HEX[:RADIUS] a "
                             "line (RADIUS: bits that may differ). Part of the settings: give it to every run")


def seeds_file(args: argparse.Namespace, folder: str = "") -> str:
    """Returns the seeds file: --seeds, or seeds.txt with the seeds of the synthetic web that --web names.

    That file is written below the output root, or into `folder`.
    """
    if bool(args.seeds) == bool(args.web):
        raise UsageError("give either --seeds FILE or --web FILE")
    if args.seeds:
        return str(args.seeds)
    path = storage.join(folder or args.out, "seeds.txt")
    storage.replace_bytes(path, "".join(f"{url}\n" for url in _web(args.web)["seeds"]).encode())
    return path


def _web(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            value: dict[str, Any] = json.load(file)
        seeds, connect_to, ca_file = value["seeds"], value["connect_to"], value["ca_file"]
        if not (isinstance(seeds, list) and isinstance(connect_to, list) and isinstance(ca_file, str)):
            raise ValueError("seeds and connect_to are lists, ca_file is a path")
        return {"seeds": seeds, "connect_to": connect_to, "ca_file": ca_file}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--web {path}: no ready file of `imagebert web` ({type(error).__name__}: {error}); "
                         f"start one with `imagebert web --ready {path}`") from error


def add_network_options(parser: argparse.ArgumentParser) -> None:
    """Adds how to reach the web and how to behave on it; `network_from`, `crawl_from` and `fetch_from` read them."""
    add_reach_options(parser)
    parser.add_argument("--keep-denied", action="store_true",
                        help="keep a body that a header or meta element refuses in STAGE/quarantine, which no stage "
                             "reads; without it the row and its headers are kept and the body nowhere")
    far = parser.add_argument_group("how far the crawl goes")
    far.add_argument("--max-rounds", type=int, metavar="N", help="rounds of following links (default: 20)")
    far.add_argument("--max-pages-per-site", type=int, metavar="N", help="pages of one site (default: 20000)")
    far.add_argument("--scope", choices=("seeds", "any"),
                     help="crawl pages only of the seeds' sites, or of any (default: seeds); images may lie anywhere")


def add_reach_options(parser: argparse.ArgumentParser) -> None:
    """Adds who we say we are and how to reach hosts; `network_from` and `fetch_from` read them."""
    who = parser.add_argument_group("who we say we are")
    who.add_argument("--contact", metavar="URL_OR_MAIL",
                     help="whom a site can write to; part of the User-Agent, and required on the open web")
    who.add_argument("--agent", metavar="NAME",
                     help="User-Agent and the name robots.txt knows us by (default: imagebert-lait)")
    how = parser.add_argument_group("how we reach hosts")
    how.add_argument("--allow-host", action="append", default=[], metavar="HOST[:PORT]",
                     help="open a private or loopback address, or an unusual port; repeatable. "
                          "Without it only public addresses are dialled")
    how.add_argument("--resolve", action="append", default=[], metavar="NAME:PORT:ADDR",
                     help="use ADDR for NAME:PORT, as curl does; repeatable")
    how.add_argument("--connect-to", action="append", default=[], metavar="HOST:PORT:HOST2:PORT2",
                     help="connect to HOST2:PORT2 for HOST:PORT, as curl does; empty parts match any; repeatable")
    how.add_argument("--ca-file", default="", metavar="FILE", help="trust these authorities (PEM) instead of the web's")
    how.add_argument("--min-delay", type=float, metavar="SECONDS",
                     help="seconds between requests to one site, for allowed hosts only (default there and elsewhere: "
                          "2 for pages; 0.2 for images)")
    how.add_argument("--host-rate", metavar="FILE",
                     help="lines HOST RATE: requests a second that a site's operator allowed, for a registrable "
                          "domain; robots.txt and Retry-After still win")
    how.add_argument("--address-rate", type=float, metavar="N",
                     help="requests a second to one IP address in one shard, whatever its names (default: 10; none for "
                          "private addresses)")
    how.add_argument("--max-in-flight", type=int, default=32, metavar="N",
                     help="requests under way at once in one shard (default: %(default)s)")


def network_from(args: argparse.Namespace) -> Network:
    """Returns how this machine reaches hosts; raises UsageError for an option that makes no sense."""
    _check_authorities(args.ca_file)
    connect_to, allow_hosts, ca_file, min_delay_s = args.connect_to, args.allow_host, args.ca_file, args.min_delay
    if getattr(args, "web", None):
        web = _web(args.web)
        connect_to, allow_hosts = connect_to + web["connect_to"], [*allow_hosts, "*.test"]
        ca_file, min_delay_s = ca_file or web["ca_file"], 0.02 if min_delay_s is None else min_delay_s
    try:
        return Network(connect_to=tuple(connect_to), resolve=tuple(args.resolve), allow_hosts=tuple(allow_hosts),
                       ca_file=ca_file, min_delay_s=min_delay_s, max_in_flight=args.max_in_flight,
                       address_rate_per_s=args.address_rate,
                       host_rates=read_host_rates(args.host_rate) if args.host_rate else ())
    except ValueError as error:
        raise UsageError(f"network options: {error}") from error


def _check_authorities(path: str) -> None:
    if not path:
        return
    if not os.path.isfile(path):
        raise UsageError(f"--ca-file {path}: there is no such file; name a PEM file of authorities")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except OSError as error:
        raise UsageError(f"--ca-file {path}: no authority in it ({error.strerror or error}); "
                         f"name a PEM file of authorities") from error


def fetch_from(args: argparse.Namespace, policy: FetchPolicy) -> FetchPolicy:
    """Returns the policy with --agent and --contact; raises UsageError for a name that robots.txt could not know."""
    changes: dict[str, str | bool] = {}
    if args.agent is not None:
        changes |= {"product_token": args.agent.partition("/")[0], "user_agent": args.agent}
    if args.contact is not None:
        changes["contact"] = args.contact
    if getattr(args, "keep_denied", False):
        changes["keep_denied"] = True
    try:
        return dataclasses.replace(policy, **changes)      # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(f"--agent or --contact: {error}") from error


def crawl_from(args: argparse.Namespace, config: CrawlConfig) -> CrawlConfig:
    """Returns the config of the crawl with what the options say."""
    frontier = {"scope": args.scope, "max_pages_per_site": args.max_pages_per_site}
    try:
        chosen = dataclasses.replace(
            config, fetch=fetch_from(args, config.fetch),
            frontier=dataclasses.replace(config.frontier,
                                         **{name: value for name, value in frontier.items() if value is not None}))
        return chosen if args.max_rounds is None else dataclasses.replace(chosen, max_rounds=args.max_rounds)
    except ValueError as error:
        raise UsageError(f"crawl options: {error}") from error


def images_from(args: argparse.Namespace, config: ImagesConfig) -> ImagesConfig:
    """Returns the config of the image downloads with what the options say."""
    return dataclasses.replace(config, fetch=fetch_from(args, config.fetch))


def crawl_command(args: argparse.Namespace) -> int:
    """Runs the stage `crawl`."""
    config = override(crawl_from(args, args.config.crawl), args.set)
    network = network_from(args)
    if args.dry_run:
        with tempfile.TemporaryDirectory(prefix="imagebert-dry-run-") as folder:
            plan, _ = plan_crawl(args.out, seeds_file(args, folder), config, network, args.run, recrawl=args.recrawl)
        print_plans([plan], args.json)
        return 0
    with run_lock(args.out):
        print_manifest(crawl_pages(args.out, seeds_file(args), config, network, args.run, recrawl=args.recrawl),
                       args.json)
    return 0


def images_command(args: argparse.Namespace) -> int:
    """Runs the stage `images`."""
    config = override(images_from(args, args.config.images), args.set)
    network = network_from(args)
    if args.dry_run:
        print_plans([plan_images(args.out, config, network, args.run, retry_failed=args.retry_failed,
                                 block_hashes=args.block_hashes)], args.json)
        return 0
    with run_lock(args.out):
        print_manifest(fetch_images(args.out, config, network, args.run, retry_failed=args.retry_failed,
                                    block_hashes=args.block_hashes), args.json)
    return 0


def print_manifest(manifest: Manifest, as_json: bool) -> None:
    """Prints the folder, the funnel and the notes of a finished stage."""
    if as_json:
        print(json.dumps(manifest.counters() | {"folder": manifest.directory}, sort_keys=True, indent=1))
        return
    print(manifest.directory)
    print_outcomes(manifest.funnel, manifest.notes)
