"""`imagebert web`: serves the synthetic web, or draws it once to files."""
from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crawl.errors import UsageError
from demo.plan import WebConfig
from demo.web import SyntheticWeb


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the sub-command `web`."""
    parser = subparsers.add_parser(
        "web", help="serve the synthetic web with known truth on loopback",
        description="Serves a web of drawn scenes with true captions, and of all that real webs put around them, from "
                    "names like h017.test on loopback over HTTP and TLS. It runs until Ctrl-C.")
    parser.add_argument("--images", type=int, default=6000, metavar="N", help="planned images, 50 to 1000000 "
                        "(default %(default)s; about two thirds are scenes to keep)")
    parser.add_argument("--hosts", type=int, default=48, metavar="N", help="sites, 40 to 1000 (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another web (default %(default)s)")
    parser.add_argument("--profile", choices=("first", "second"), default="first",
                        help="sentence templates, page layouts and distractors (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDR",
                        help="address to listen on (default %(default)s: this machine only)")
    parser.add_argument("--advertise", default="", metavar="NAME",
                        help="name or address under which clients reach this machine (default: that of --host)")
    parser.add_argument("--port", type=_port, default=0, help="HTTP port (default: any free one)")
    parser.add_argument("--tls-port", type=_port, default=0, help="HTTPS port (default: any free one)")
    parser.add_argument("--draw-processes", type=int, default=2, metavar="N",
                        help="processes that draw pictures, 0: none besides the server (default %(default)s)")
    parser.add_argument("--access-log", type=Path, metavar="FILE", help="append a JSON line for each request")
    parser.add_argument("--ready", type=Path, metavar="FILE",
                        help="write ports, CA file, --connect-to lines and seeds as JSON here once listening; the CA "
                             "certificate goes beside it, as FILE.ca.pem")
    parser.add_argument("--render", type=Path, metavar="DIR",
                        help="do not serve: write pages and images to DIR/HOST/ and the truth to DIR/truth.jsonl")
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Returns 0 after serving until interrupted, or after drawing everything."""
    web = SyntheticWeb(WebConfig(args.seed, args.images, args.hosts, args.profile))
    if args.draw_processes < 0:
        raise UsageError(f"--draw-processes {args.draw_processes}: give 0 (none besides the server) or more")
    if args.render is not None:
        from demo.render import render_web
        try:
            pages, images = render_web(web, args.render)
        except OSError as error:
            raise UsageError(f"--render {args.render}: cannot write there ({error.strerror}); "
                             f"name another folder") from error
        print(f"{pages} pages and {images} images are in {args.render}; the truth is in {args.render / 'truth.jsonl'}")
        return 0
    return _serve(web, args)


def serve_function() -> Callable[..., Any]:
    """Returns demo.server.serve; raises UsageError where the web's TLS is not installed."""
    try:
        from demo.server import serve
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed, and the web's TLS needs it; "
                         "pip install 'imagebert-lait[web]'") from error
    return serve


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 1 to 65535, or 0 for any free one")
    return int(text)


def _serve(web: SyntheticWeb, args: argparse.Namespace) -> int:
    serve = serve_function()
    if args.ready is not None and (args.ready.is_dir() or not args.ready.absolute().parent.is_dir()):
        raise UsageError(f"--ready {args.ready}: a folder, or a file in a folder that is not there; "
                         f"name a file in a folder that is")
    try:
        server = serve(web, args.port, args.tls_port, args.draw_processes, args.access_log, listen=args.host,
                       advertised=args.advertise)
    except OSError as error:
        log = f", log to {args.access_log}" if args.access_log else ""
        raise UsageError(f"cannot serve on {args.host}, ports {args.port} and {args.tls_port} (0: any free one)"
                         f"{log}: {error.strerror}; choose others or leave them out") from error
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with server:
        ready = server.ready()
        if args.ready is not None:
            # The server's own copy lies in a folder that no other container sees.
            ready["ca_file"] = str(args.ready.absolute()) + ".ca.pem"
            shutil.copyfile(server.ca_file, ready["ca_file"])
            beside = args.ready.with_name(args.ready.name + ".tmp")
            beside.write_text(json.dumps(ready, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, args.ready)
        print(f"serving {len(web.hosts)} sites with {web.config.num_images} planned images: "
              f"http on {args.host}:{server.http_port}, https on {args.host}:{server.https_port}, CA {server.ca_file}")
        print(f"try: curl --connect-to {server.connect_to[0]} {server.seeds[0]}", flush=True)
        stop.wait()
    return 0
