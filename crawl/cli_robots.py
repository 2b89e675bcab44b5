"""The command `crawl robots`: may this URL be fetched, by which line, and why?"""
from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import Any

from crawl import urls
from crawl.cli import add_reach_options, fetch_from, network_from
from crawl.errors import UsageError
from crawl.policy import FetchPolicy, require_contact
from crawl.robots_explain import Explanation, ask, explain_file
from crawl.robots_stored import Stored, stored_decisions
from crawl.seeds import way_out

NAME = "crawl robots"              # two words; imagebert.py joins them
MAX_FILE = 64 << 20


def register(subparsers: Any) -> None:
    """Adds `crawl robots` to the command."""
    one = subparsers.add_parser(
        NAME, help="may this URL be fetched, and which line of robots.txt says so",
        description="Explains what robots.txt (RFC 9309), the preferences in it, tdmrep.json and ai.txt decide about a "
                    "URL. Its own site is asked, as a crawl would ask it; the URL itself is not requested. For a FILE "
                    "nothing is requested. With --out nothing is requested either: what that root stored says what was "
                    "decided, by which line of which file, and whether the file says so. Exit status: 0 when it may be "
                    "fetched (all of them), 1 when not.")
    one.add_argument("target", metavar="URL|FILE", help="an http(s) URL, or a file with the text of a robots.txt")
    one.add_argument("--url", nargs="+", default=[], metavar="PATH", help="what to look up in FILE (default: /)")
    one.add_argument("--json", action="store_true", help="print a JSON list, an object a URL")
    one.add_argument("--out", default="", metavar="DIR",
                     help="explain the decisions that the crawls and image downloads of this output root took about "
                          "URL, from the robots.txt that they stored; --agent asks what it says to another")
    add_reach_options(one)
    one.set_defaults(command=robots_command)


def robots_command(args: argparse.Namespace) -> int:
    """Explains; returns 0 when all may be fetched, else 1."""
    if args.out:
        return _stored(args)
    policy = fetch_from(args, FetchPolicy())
    found = _of_site(args, policy) if "://" in args.target else _of_file(args, policy)
    if args.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1, ensure_ascii=False))
    else:
        for one in found:
            _print(one)
    return 0 if all(one.allowed for one in found) else 1


def _stored(args: argparse.Namespace) -> int:
    """Explains what a root decided; returns 0 when the last decision was that it may be fetched, else 1."""
    found = stored_decisions(args.out, _url(args), lambda policy: fetch_from(args, policy))
    if args.json:
        print(json.dumps([dataclasses.asdict(one) for one in found], indent=1, ensure_ascii=False))
    else:
        for one in found:
            _print_stored(one)
    return 0 if found[-1].explanation.allowed else 1


def _print_stored(one: Stored) -> None:
    _print(one.explanation)
    if one.stage:
        print(f"  row     {one.outcome} at {one.fetched_at}, in {one.stage}: the stored files "
              + ("say the same" if one.agrees else "DO NOT say the same"))
    else:
        print("  row     none: it was never in a fetch list of this root")
    if one.robots_fetched_at:
        print(f"  files   of {one.robots_fetched_at}"
              + (f", robots.txt sha256:{one.robots_sha256}" if one.robots_sha256 else ""))
    for capture in one.captures:
        print(f"  capture {capture.http_status} {capture.url} at {capture.offset} of {capture.part}")


def _url(args: argparse.Namespace) -> str:
    url = urls.normalize(args.target)
    if url is None:
        raise UsageError(f"{args.target[:200]!r} is not an http(s) URL, such as https://example.org/page")
    if args.url:
        raise UsageError("--url looks up paths in a FILE; for a site write the whole URL instead")
    return url


def _of_site(args: argparse.Namespace, policy: FetchPolicy) -> list[Explanation]:
    url = _url(args)
    network = network_from(args)
    require_contact(policy, network, [url])
    return [ask(url, policy, network)]


def _of_file(args: argparse.Namespace, policy: FetchPolicy) -> list[Explanation]:
    try:
        if os.path.getsize(args.target) > MAX_FILE:
            raise UsageError(f"{args.target}: {os.path.getsize(args.target)} bytes are no robots.txt")
        with open(args.target, "rb") as file:
            body = file.read()
    except OSError as error:
        raise UsageError(f"{args.target}: cannot read it ({error.strerror or error}); name a file with a robots.txt, "
                         f"or an http(s) URL") from error
    try:
        return explain_file(body, args.url or ["/"], policy)
    except ValueError as error:
        raise UsageError(f"--url: {error}") from error


def _print(one: Explanation) -> None:
    print(f"{'allowed' if one.allowed else 'denied '}  {one.url}")
    print(f"  agent   {one.agent}, governed by "
          + (f"group {one.group!r}" if one.group else "no group" if one.robots == "ok" else "no rules"))
    print(f"  why     {one.why}")
    if not one.allowed:
        refused = one.outcome == "robots_denied" or one.outcome.startswith("optout_")
        print(f"  outcome {one.outcome}" + ("" if refused else f": {way_out(one.url, one.outcome)}"))
    if one.crawl_delay_s:
        print(f"  delay   {one.crawl_delay_s:g} s between requests")
    for signal in one.signals:
        if signal.name != "robots":
            print(f"  signal  {signal.name} {signal.raw!r}: {signal.verdict} ({signal.evidence})")
    for sitemap in one.sitemaps[:5]:
        print(f"  sitemap {sitemap}")
