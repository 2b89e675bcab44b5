"""How well the natural-image classifier does where it was not fitted: sources left out, stratified, each source.

    python -m benchmarks.natural --root ../shared/data --root DIR       DIR: python -m benchmarks.label_sources --to DIR
"""
from __future__ import annotations

import argparse
import pathlib

from benchmarks.machine import write_result
from filter.labelled_images import labelled_files, read_labels
from filter.natural_training import read_examples, report_natural

LABELS = pathlib.Path(__file__).parent / "labels" / "natural.csv"


def main() -> None:
    """Writes results/natural.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--root", action="append", required=True, help="folders that hold the labelled images")
    args = options.parse_args()
    labels = read_labels(str(LABELS))
    examples = read_examples(labelled_files(labels, args.root))
    report = report_natural(examples)
    for name in ("sources_left_out", "stratified"):
        print(name, report[name])
    print(write_result("natural", "make bench-natural", {"labelled": len(labels)} | report))


if __name__ == "__main__":
    main()
