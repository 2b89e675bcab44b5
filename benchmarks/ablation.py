"""What each rule is worth, against the synthetic web's truth: every stage of the filter off in turn, and every reason.

    python -m benchmarks.ablation [--images 500] [--webs first:2 second:2 ...]

By default seeds 2-6 of the first profile and 2-4 of the second, in turn; rules were tuned on seed 1 of each.  A web is
crawled once; a variant judges and filters its candidates again, and fetches the images that the default spares.
Precision and recall are of distinct drawn scenes (demo/yardstick.py).  The result is written after every web.
"""
from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import tempfile
from collections import defaultdict
from typing import Any

import imagebert
from benchmarks.ablation_truth import Counts, count_rules
from benchmarks.machine import write_result
from benchmarks.webserver import synthetic_web
from crawl.config import override
from crawl.funnel import image_requests
from crawl.images_run import fetch_images
from crawl.policy import Network
from crawl.rounds import crawl_pages
from demo.web import SyntheticWeb, WebConfig
from filter.captions import CAPTION_REASONS
from filter.dominance import REASONS
from filter.features_run import features
from filter.filter_run import filter_pairs
from filter.judge_run import judge

WEBS = ["first:2", "second:2", "first:3", "second:3", "first:4", "second:4", "first:5", "first:6"]
_PAGE = [reason for reason in REASONS if reason != "page_language"]
_LANGUAGE = ['dominance.let_pass=["page_language"]', 'captions.let_pass=["other_language"]']
_TEXT = [reason for reason in CAPTION_REASONS if reason != "other_language"]
_IMAGE = ["too_small", "too_narrow", "flat", "too_few_colours", "not_natural"]
# What is off -> (settings of judge, settings of filter)
VARIANTS: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], []),
    "page and caption language": (_LANGUAGE, []),
    "place on the page": ([f"dominance.let_pass={json.dumps(_PAGE)}", "max_images_of_a_text=1000000"], []),
    "caption rules": ([f"captions.let_pass={json.dumps(_TEXT)}"], []),
    "image rules": ([], [f"images.let_pass={json.dumps(_IMAGE)}"]),
    "score": ([], ["min_score=0"]),
    "near-duplicates": ([], ["near.radius=0", "near.far_radius=0", "near.second_radius=0", "near.far_second_radius=0"]),
    "shared captions": ([], ["aggregate.max_images_per_caption=1000000"]),
    "placeholders": ([], ["aggregate.placeholder_texts=1000000"]),
}


def measure(profile: str, seed: int, images: int, folder: pathlib.Path) -> tuple[dict[str, Any], Counts]:
    """Returns precision and recall of every variant on one web, and what the rules of the default did."""
    config, run, out = imagebert.demo(), imagebert.beam_runner(1, []), str(folder / "out")
    web = SyntheticWeb(WebConfig(seed=seed, num_images=images, profile=profile))
    found: dict[str, Any] = {}
    counts = Counts()
    with synthetic_web(folder, images, seed, profile) as ready:
        told = json.loads(ready.read_text())
        network = Network(connect_to=tuple(told["connect_to"]), ca_file=told["ca_file"], allow_hosts=("*.test",),
                          min_delay_s=0.02)
        seeds = folder / "seeds.txt"
        seeds.write_text("".join(f"{url}\n" for url in told["seeds"]))
        crawl_pages(out, str(seeds), config.crawl, network, run)
        for name, (of_judge, of_filter) in VARIANTS.items():
            judged = judge(out, override(config.judge, of_judge), run)
            fetch_images(out, config.images, network, run)
            features(out, config.features, run)
            kept = filter_pairs(out, override(config.filter, of_filter), run)
            result = imagebert.measure_yardstick(out, images, seed, profile)
            requests = image_requests([*judged.funnel, *kept.funnel])
            found[name] = {"precision": result.precision, "recall": result.recall, "asked": requests["asked"]}
            if name == "nothing":
                counts = count_rules(judged, kept, web)
                found[name] |= {"saved_per_kept_pair": requests["saved_per_kept_pair"]}
    print(profile, seed, json.dumps(found), flush=True)
    return found, counts


def main() -> None:
    """Runs all webs and writes results/ablation.json."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=500)
    options.add_argument("--webs", nargs="+", default=WEBS, metavar="PROFILE:SEED")
    args = options.parse_args()
    rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
    counts: dict[str, Counts] = defaultdict(Counts)
    for done, web in enumerate(args.webs, 1):
        profile, _, seed = web.partition(":")
        with tempfile.TemporaryDirectory() as folder:
            found, counted = measure(profile, int(seed), args.images, pathlib.Path(folder))
        rows[profile].append(found)
        counts[profile].add(counted)
        webs = args.webs[:done]
        write_result("ablation", f"python -m benchmarks.ablation --images {args.images} --webs {' '.join(webs)}", {
            "images": args.images, "webs": webs,
            "profiles": {profile: _told(found, counts[profile]) for profile, found in rows.items()}})


def _told(found: list[dict[str, Any]], counts: Counts) -> dict[str, Any]:
    return {"off": {name: {figure: _range([one[name][figure] for one in found]) for figure in found[0][name]}
                    for name in VARIANTS},
            "rules of the default": counts.told()}


def _range(values: list[float]) -> dict[str, float]:
    return {"mean": round(statistics.mean(values), 4), "min": round(min(values), 4), "max": round(max(values), 4)}


if __name__ == "__main__":
    main()
