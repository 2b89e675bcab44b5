"""`imagebert shards serve`: look at the samples and the report in a browser."""
from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

from crawl.errors import UsageError
from shards.manifest import load_shards


def register(actions: Any, count: Callable[[str], int]) -> None:
    """Adds `serve` to the actions of `imagebert shards`; `count` reads a whole number."""
    one = actions.add_parser(
        "serve", help="the report and a browser of samples, over HTTP on this machine alone",
        description="Serves pages of samples with filters, each sample with its picture, boxes and provenance, and the "
                    "report. Listens on 127.0.0.1 only; Ctrl-C ends it.")
    one.add_argument("path", metavar="PATH", help="dataset root, shards folder or manifest.json")
    one.add_argument("--port", type=count, default=8765, metavar="N",
                     help="0 takes any free one (default: %(default)s)")
    one.add_argument("--json", action="store_true", help="print the address as JSON, once it answers")
    one.set_defaults(command=serve)


def serve(args: argparse.Namespace) -> int:
    """Serves until it is interrupted."""
    from shards.serve import server
    if args.port > 65535:
        raise UsageError(f"--port {args.port}: a port is 0 to 65535")
    listening = server(load_shards(args.path), args.port)
    address = f"http://127.0.0.1:{listening.server_address[1]}/"
    print(json.dumps({"url": address}) if args.json else f"{address}  (Ctrl-C ends it)", flush=True)
    with listening:
        try:
            listening.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0
