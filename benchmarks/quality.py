"""Quality read by a person: of the kept pairs of the real sites, how many sentences describe their image?

    python -m benchmarks.quality --out DIR         DIR: python -m benchmarks.sites --shared ../shared --keep DIR

Reads no picture: it joins the pairs of a finished build with what a person said of them (benchmarks/labels/pairs.csv)
and of their image (natural.csv, pictures.csv).  A rejected pair should have stayed where its sentence describes its
image, the image is a photograph above 300 px, and no other sentence of the image was kept.
"""
from __future__ import annotations

import argparse
import csv
import pathlib
from collections import Counter, defaultdict
from typing import Any

from benchmarks.machine import RESULTS, write_result
from crawl.stages import current_manifest
from crawl.tables import read_table
from filter.held_out import wilson
from filter.labelled_pairs import read_labels, text_sha256
from filter.records import Pair

LABELS = pathlib.Path(__file__).parent / "labels"
READ, OF_A_REASON = 200, 30        # rejected pairs in all, and of one reason of one site


def read_pairs(out: str) -> list[dict[str, Any]]:
    """Returns the read pairs of a build, one a row; `described` is "" for a kept pair that nobody read."""
    said = read_labels(str(LABELS / "pairs.csv")).labels
    pictures = {}
    for name in ("pictures.csv", "natural.csv"):
        with open(LABELS / name, encoding="utf-8", newline="") as file:
            pictures |= {row["sha256"]: row["label"] for row in csv.DictReader(file)}
    pairs = sorted((pair for path in current_manifest(out, "filter").paths("pairs") for pair in read_table(path, Pair)
                    if pair.image_sha256), key=lambda pair: pair.pair_id)
    kept = {pair.image_sha256 for pair in pairs if pair.outcome == "kept"}
    rows = []
    for pair in pairs:
        named = (pair.image_sha256, text_sha256(pair.caption))
        if named not in said and pair.outcome != "kept":
            continue
        described, site = said.get(named, ("", "not read"))
        large = min(pair.width, pair.height) > 300
        lost = described == 1 and large and pair.image_sha256 not in kept and pair.outcome != "near_duplicate"
        picture = pictures.get(pair.image_sha256, "not labelled")
        rows.append({"image_sha256": named[0], "text_sha256": named[1], "site": site, "outcome": pair.outcome,
                     "text_from": pair.source, "score": pair.score, "picture": picture, "described": described,
                     "should_have_stayed": "" if pair.outcome == "kept" else int(lost and picture == "natural")})
    return rows


def sheet(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns every kept pair and READ rejected ones, spread over reasons and sites, by id."""
    rejected = [row for row in rows if row["outcome"] != "kept"]
    strata: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rejected:
        strata[row["outcome"], row["site"]].append(row)
    chosen: list[dict[str, Any]] = []
    for turn in range(OF_A_REASON):
        chosen += [members[turn] for _, members in sorted(strata.items()) if turn < len(members)]
    return [row for row in rows if row["outcome"] == "kept"] + chosen[:READ]


def share(rows: list[dict[str, Any]], column: str) -> dict[str, Any]:
    """Returns how many rows say 1 in a column, of how many, with Wilson's 95 % interval."""
    right = sum(row[column] == 1 for row in rows)
    return {"yes": right, "of": len(rows), "wilson_95": wilson(right, len(rows))}


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns the counts of a sheet: kept by site, rejected by reason."""
    kept = [row for row in rows if row["outcome"] == "kept"]
    rejected = [row for row in rows if row["outcome"] != "kept"]
    read = [row for row in kept if row["described"] != ""]
    return {"kept, the sentence describes the image": share(read, "described"),
            "kept, not read": len(kept) - len(read),
            "kept, by site": {site: share([row for row in kept if row["site"] == site], "described")
                              for site in sorted({row["site"] for row in read})},
            "kept, by what the picture is": dict(sorted(Counter(row["picture"] for row in kept).items())),
            "rejected, should have stayed": share(rejected, "should_have_stayed"),
            "rejected, by reason": {reason: share([row for row in rejected if row["outcome"] == reason],
                                                  "should_have_stayed")
                                    for reason in sorted({row["outcome"] for row in rejected})}}


def main() -> None:
    """Writes results/quality_sheet.csv and results/quality.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", required=True, help="a finished build of the eight real sites")
    args = options.parse_args()
    rows = sheet(read_pairs(args.out))
    with open(RESULTS / "quality_sheet.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    told = figures(rows)
    for name, value in told.items():
        print(name, value)
    print(write_result("quality", "make bench-quality", told))


if __name__ == "__main__":
    main()
