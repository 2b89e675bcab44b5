"""The weak scorer on sources it never saw, by groups of features, against the hand-set prior and a constant.

    python -m benchmarks.scorer --shared ../shared

Rows: the eight real sites with the labels of benchmarks/labels/pairs.csv; the synthetic web, seed 1, with its truth;
300 photographs of flickr8k, each with two of its own captions and two of another's.  Judged on the sites alone, each
left out in turn.  Builds the three datasets first, on loopback.
"""
from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
from collections.abc import Iterator

from benchmarks.machine import write_result
from benchmarks.sites import served_sites
from benchmarks.webserver import IMAGEBERT, synthetic_web
from crawl.stages import current_manifest
from crawl.tables import read_table
from demo.web import SyntheticWeb, WebConfig
from demo.yardstick import folded
from filter.judging import FETCH
from filter.labelled_pairs import joined, labelled_pairs, read_labels
from filter.records import Judged
from filter.scorer_training import report_scorer

LABELS = pathlib.Path(__file__).parent / "labels" / "pairs.csv"
IMAGES, PHOTOGRAPHS = 500, 300


def run(*words: str) -> None:
    """Runs one command of imagebert."""
    subprocess.run([*IMAGEBERT, *words], check=True, stdout=subprocess.DEVNULL)


def sites(shared: pathlib.Path, folder: pathlib.Path) -> tuple[str, str]:
    """Returns dataset and labels of the real sites."""
    out = str(folder / "sites")
    with served_sites(shared, folder) as (seeds, network):
        run("crawl", "--seeds", str(seeds), "--out", out, *network)
        run("judge", "--out", out)
        run("images", "--out", out, *network)
    run("features", "--out", out)
    return out, str(LABELS)


def synthetic(folder: pathlib.Path) -> tuple[str, str]:
    """Returns dataset and labels of the synthetic web: a text is right where it is among a scene's true captions."""
    out, web = str(folder / "synthetic"), SyntheticWeb(WebConfig(seed=1, num_images=IMAGES))
    with synthetic_web(folder, IMAGES) as ready:
        for words in (("crawl", "--web", str(ready)), ("judge",), ("images", "--web", str(ready)), ("features",)):
            run(*words, "--run", "demo", "--out", out)
    rows = set()
    for path in current_manifest(out, "judge").paths("judged"):
        for row in read_table(path, Judged):
            truth = web.truth(row.image_url)
            for caption in row.captions if row.outcome == FETCH and truth.true_captions else ():
                if not caption.reason:
                    right = folded(caption.text) in map(folded, truth.true_captions)
                    rows.add((row.image_url, caption.text, int(right)))
    return out, write_labels(folder / "synthetic.csv", sorted(rows))


def photographs(shared: pathlib.Path, folder: pathlib.Path) -> tuple[str, str]:
    """Returns dataset and labels of flickr8k's training photographs, served on loopback."""
    root = shared / "data" / "captions" / "flickr8k"
    listed = [row for row in json.loads((root / "captions.json").read_text()) if row["split"] == "train"][:PHOTOGRAPHS]
    out = str(folder / "flickr8k")
    with served(root / "images") as server:
        rows = [(f"http://{server}/{one['file']}", other["captions"][number], int(one is other))
                for one, next_one in zip(listed, listed[1:] + listed[:1], strict=True)
                for other, number in ((one, 0), (one, 3), (next_one, 0), (next_one, 2))]
        labels = write_labels(folder / "flickr8k.csv", rows)
        run("candidates", "--table", labels, "--format", "csv", "--url-column", "image_url", "--caption-column",
            "caption", "--out", out)
        run("judge", "--out", out)
        run("images", "--out", out, "--allow-host", server, "--min-delay", "0.01", "--address-rate", "400")
    run("features", "--out", out)
    return out, labels


def write_labels(path: pathlib.Path, rows: list[tuple[str, str, int]]) -> str:
    """Writes labels as `imagebert scorer train` reads them; returns the path."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("image_url", "caption", "label"), *rows])
    return str(path)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: pathlib.Path) -> Iterator[str]:
    """Yields host:port of a server of a folder."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def main() -> None:
    """Builds, trains, writes results/scorer.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--shared", type=pathlib.Path, default=pathlib.Path("../shared"), help="holds data and tools")
    args = options.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        made = [sites(args.shared, folder), synthetic(folder), photographs(args.shared, folder)]
        parts = [labelled_pairs(out, read_labels(labels)) for out, labels in made]
    judged = sorted(set(parts[0].sources))
    report = {"trained on the sites alone": report_scorer(joined(parts[:1]), judged),
              "with synthetic web and flickr8k": report_scorer(joined(parts), judged)}
    for name, told in report.items():
        print(name, json.dumps(told["figures"], indent=1))
    print(write_result("scorer", "make bench-scorer", report))


if __name__ == "__main__":
    main()
