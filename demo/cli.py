"""`imagebert web`: serves the synthetic web, or draws it once to files."""
from __future__ import annotations

import argparse
import json
import os
import signal
import threading
from pathlib import Path

from crawl.errors import UsageError
from demo.plan import WebConfig
from demo.web import SyntheticWeb


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command `web`."""
    parser = subparsers.add_parser(
        "web", help="serve the synthetic web with known truth on loopback",
        description="Serves a web of drawn scenes with true captions, and of all that real webs put around them, from "
                    "names like h017.test on 127.0.0.1 over HTTP and TLS. It runs until Ctrl-C.")
    parser.add_argument("--images", type=int, default=6000, metavar="N", help="planned images, 50 to 1000000 "
                        "(default %(default)s; about two thirds are scenes to keep)")
    parser.add_argument("--hosts", type=int, default=48, metavar="N", help="sites, 40 to 1000 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another web (default %(default)s)")
    parser.add_argument("--profile", choices=("first", "second"), default="first",
                        help="sentence templates, page layouts and distractors (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="HTTP port (default: any free one)")
    parser.add_argument("--tls-port", type=int, default=0, help="HTTPS port (default: any free one)")
    parser.add_argument("--draw-processes", type=int, default=2, metavar="N",
                        help="processes that draw pictures, 0: none besides the server (default %(default)s)")
    parser.add_argument("--access-log", type=Path, metavar="FILE", help="append a JSON line for each request")
    parser.add_argument("--ready", type=Path, metavar="FILE",
                        help="write ports, CA file, --connect-to lines and seeds as JSON here once listening")
    parser.add_argument("--render", type=Path, metavar="DIR",
                        help="do not serve: write pages and images to DIR/HOST/ and the truth to DIR/truth.jsonl")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Returns 0 after serving until interrupted, or after drawing everything."""
    web = SyntheticWeb(WebConfig(args.seed, args.images, args.hosts, args.profile))
    if args.render is not None:
        from demo.render import render_web
        pages, images = render_web(web, args.render)
        print(f"{pages} pages and {images} images are in {args.render}; the truth is in {args.render / 'truth.jsonl'}")
        return 0
    return _serve(web, args)


def _serve(web: SyntheticWeb, args: argparse.Namespace) -> int:
    try:
        from demo.server import serve
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed, and the web's TLS needs it; "
                         "pip install 'imagebert-lait[web]'") from error
    try:
        server = serve(web, args.port, args.tls_port, args.draw_processes, args.access_log)
    except OSError as error:
        raise UsageError(f"cannot serve on ports {args.port} and {args.tls_port}, log to {args.access_log}: "
                         f"{error.strerror}; choose others or leave them out") from error
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server:
        ready = server.ready()
        if args.ready is not None:
            beside = args.ready.with_name(args.ready.name + ".tmp")
            beside.write_text(json.dumps(ready, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, args.ready)
        print(f"serving {len(web.hosts)} sites with {web.config.num_images} planned images: "
              f"http on 127.0.0.1:{server.http_port}, https on 127.0.0.1:{server.https_port}, CA {server.ca_file}")
        print(f"try: curl --connect-to {server.connect_to[0]} {server.seeds[0]}", flush=True)
        stop.wait()
    return 0
