"""scale.md out of results/scale.json: what stages cost, whether that grows linearly, and the arithmetic for more.

Every input of the arithmetic has a name and a source; nothing in it was measured at the sizes it speaks of.
"""
from __future__ import annotations

from typing import Any

# Stage -> the line of the funnel whose rows it is counted by, and what a row of it is.
UNITS = {"crawl": ("crawl: page", "page"), "judge": ("judge: candidate row", "candidate row"),
         "images": ("images: image URL", "image URL"), "features": ("features: image", "image"),
         "filter": ("filter: pair", "pair"), "vocab": ("shards: sample", "sample"),
         "codebook": ("shards: sample", "sample"), "regions": ("shards: sample", "sample"),
         "shards": ("shards: sample", "sample")}
PAGE_DELAY_S, IMAGE_DELAY_S = 2.0, 0.2     # crawl.fetch.page_delay_s, images.fetch: the defaults for the open web
CORES, DAYS, BUSY = 16, 7, 0.7             # of a machine; in which to be done; share of its time it computes
VCPU_HOUR = 0.68 / 16                      # USD: c6i.4xlarge, as img2dataset's page reckons
DATAFLOW = {"vCPU hour": 0.056, "GB hour": 0.003557, "GB a vCPU": 4, "GB shuffled": 0.011}     # USD, assumed
SITES = 100_000                            # that pages and images come from, evenly


def marginal(small: dict[str, Any], large: dict[str, Any], stage: str, value: str) -> float:
    """Returns what one more row costs, between two builds: what a stage costs once is left out."""
    rows = [build["units"][UNITS[stage][0]] for build in (small, large)]
    costs = [build["stages"][stage][value] for build in (small, large)]
    return (costs[1] - costs[0]) / max(1, rows[1] - rows[0])


def shares(sites: dict[str, Any]) -> dict[str, float]:
    """Returns how many rows of each unit the eight real sites had for a pair that was kept (results/sites.json)."""
    rows = {f"{line['stage']}: {line['unit']}": line["rows_in"] for line in sites["funnel"]}
    return {name: rows[name] / rows["shards: sample"] for name, _ in UNITS.values()}


def bound_h(pairs: float, a_pair: dict[str, float]) -> float:
    """Returns the hours that politeness takes however many machines there are: a site is asked one by one."""
    return pairs * (a_pair["crawl: page"] * PAGE_DELAY_S + a_pair["images: image URL"] * IMAGE_DELAY_S) / SITES / 3600


def projected(result: dict[str, Any], sites: dict[str, Any], pairs: float) -> dict[str, float]:
    """Returns core-hours, machines, hours and dollars for so many kept pairs."""
    small, large = result["builds"][0], result["builds"][-1]
    a_pair = shares(sites)
    rows = {stage: pairs * a_pair[name] for stage, (name, _) in UNITS.items()}
    core_h = sum(rows[stage] * max(0.0, marginal(small, large, stage, "cpu_s")) for stage in UNITS) / 3600
    shuffled = sum(rows[stage] * max(0.0, marginal(small, large, stage, "shuffled")) for stage in UNITS) / 1e9
    hours = max(24.0 * DAYS, bound_h(pairs, a_pair))
    dataflow = core_h / BUSY * (DATAFLOW["vCPU hour"] + DATAFLOW["GB a vCPU"] * DATAFLOW["GB hour"]) \
        + shuffled * DATAFLOW["GB shuffled"]
    return {"core_hours": core_h, "shuffled_gb": shuffled, "polite_hours": bound_h(pairs, a_pair),
            "machines": -(-core_h // (CORES * BUSY * hours)), "hours": hours, "flink_usd": core_h / BUSY * VCPU_HOUR,
            "dataflow_usd": dataflow}


def written(result: dict[str, Any], sites: dict[str, Any]) -> str:
    """Returns the page."""
    small, large = result["builds"][0], result["builds"][-1]
    lines = ["# What it costs at scale", "",
             f"Written by `{result['command']}` on {result['machine']['processor']}, {result['machine']['cores']} "
             f"cores ({result['machine']['note']}). One process, Beam's in-process runner, synthetic webs; times are "
             "CPU-seconds. Read: what the process read, files and pipes to its sandboxes. "
             "Written: bytes that stay on the disk. Shuffled: bytes that reached a grouping.", "",
             "## A thousand rows of each stage", "",
             "| stage | row | " + " | ".join(f"CPU-s, {build['images']:,} images" for build in result["builds"])
             + " | one more row | MB read | MB written | MB shuffled |",
             "|---" * (6 + len(result["builds"])) + "|"]
    for stage, (name, row) in UNITS.items():
        a_thousand = [f"{build['stages'][stage]['cpu_s'] * 1e3 / build['units'][name]:.2f}"
                      for build in result["builds"]]
        last = [f"{large['stages'][stage][value] / 1e3 / large['units'][name]:.2f}"
                for value in ("read", "written", "shuffled")]
        more = f"{marginal(small, large, stage, 'cpu_s') * 1e3:.2f}"
        lines.append(f"| {stage} | {row} | " + " | ".join([*a_thousand, more, *last]) + " |")
    lines += ["", "`one more row` is the difference of the largest and the smallest build, a thousand rows: where it "
              "is below the columns before it, a stage has a start that is paid once; where it is above, the stage grows "
              "faster than its rows.", "", "## The largest shuffle and the largest key", "",
              f"At {large['images']:,} images; a key is counted in rows.", "",
              "| stage | largest shuffle | MB | rows of the largest key | in |", "|---|---|---|---|---|"]
    for stage in UNITS:
        cost = large["stages"][stage]
        if cost["groupings"]:
            name, size = max(cost["groupings"].items(), key=lambda pair: (pair[1], pair[0]))
            lines.append(f"| {stage} | {name} | {size / 1e6:.2f} | {cost['largest_key_rows']:,} | "
                         f"{cost['largest_key_of']} |")
    lines += ["", "A bucket of a table is one key by design; its rows go to one file. Keys out of data are bounded by "
              "the combiners of docs/design.md, \"Aggregation\"; `make bench-aggregation` makes them hot.", "",
              "## Larger pictures are not shuffled", "",
              "| least bytes a picture | MB of pictures stored | MB shuffled in all | in images, features, filter |",
              "|---|---|---|---|"]
    for build in result["padded"]:
        stages = build["stages"]
        lines.append(f"| {build['least_bytes_an_image']:,} | {build['image_bytes'] / 1e6:.1f} | "
                     f"{sum(one['shuffled'] for one in stages.values()) / 1e6:.2f} | "
                     f"{sum(stages[name]['shuffled'] for name in ('images', 'features', 'filter')) / 1e6:.2f} |")
    lines += ["", "## Rows alone", "", "The stage filter on made rows, no pictures.", "",
              "| rows | CPU-s | CPU-s a thousand | MB shuffled a thousand |", "|---|---|---|---|"]
    for run in result["rows"]:
        rows, cost = run["units"]["filter: pair"], run["stages"]["filter"]
        lines.append(f"| {rows:,} | {cost['cpu_s']:.1f} | {cost['cpu_s'] * 1e3 / rows:.2f} | "
                     f"{cost['shuffled'] / 1e3 / rows:.2f} |")
    return "\n".join([*lines, "", *_paper(result, sites)]) + "\n"


def _paper(result: dict[str, Any], sites: dict[str, Any]) -> list[str]:
    a_pair = shares(sites)
    lines = ["## On paper: LAIT and a billion", "", "Not measured: arithmetic over the table above.", "",
             "    core-hours = sum over stages of (pairs x rows of it a kept pair x CPU-s of one more row) / 3600",
             "    polite hours = pairs x (pages a pair x page delay + image URLs a pair x image delay) / sites / 3600",
             "    hours = the larger of polite hours and the time that is wished",
             "    machines = core-hours / (cores x busy share x hours), rounded up", "",
             "Inputs: rows a kept pair as the eight real sites had them (results/sites.json): "
             + ", ".join(f"{a_pair[name]:.1f} of {name}" for name in dict.fromkeys(name for name, _ in UNITS.values()))
             + f"; delays {PAGE_DELAY_S} s a page and {IMAGE_DELAY_S} s an image of a site (the defaults); {SITES:,} "
             f"sites, evenly used: a site that has k times its share takes k times the polite hours; {DAYS} days; machines of "
             f"{CORES} cores, busy {BUSY:.0%}; {VCPU_HOUR:.4f} USD a core-hour (c6i.4xlarge at 0.68 USD an hour, as "
             f"img2dataset reckons); Dataflow {DATAFLOW['vCPU hour']} USD a vCPU-hour, {DATAFLOW['GB hour']} a GB-hour "
             f"with {DATAFLOW['GB a vCPU']} GB a vCPU, {DATAFLOW['GB shuffled']} a GB shuffled (assumed list prices, not "
             "looked up). No storage, no network, and no detector of regions is in it: regions are `patches`.", "",
             "| | core-hours | GB shuffled | polite hours | hours | machines | USD on Flink | USD on Dataflow |",
             "|---|---|---|---|---|---|---|---|"]
    for name, pairs in (("LAIT, 10 million pairs", 1e7),
                        ("1 billion images fetched", 1e9 / a_pair["images: image URL"])):
        one = projected(result, sites, pairs)
        lines.append(f"| {name} | {one['core_hours']:,.0f} | {one['shuffled_gb']:,.0f} | {one['polite_hours']:,.0f} | "
                     f"{one['hours']:,.0f} | {one['machines']:,.0f} | {one['flink_usd']:,.0f} | "
                     f"{one['dataflow_usd']:,.0f} |")
    images = marginal(result["builds"][0], result["builds"][-1], "images", "cpu_s")
    return [*lines, "", "## Beside others", "",
            f"- Images alone: {1e6 * images / 3600:.1f} core-hours a million URLs here, with robots.txt, permission and "
            "original bytes, on a synthetic web whose server shares the machine. img2dataset publishes about 1,000 images "
            "a second on a machine of 16 vCPU, 4.4 core-hours and 0.19 USD a million, resizing included, no robots.txt; "
            "5.8 billion in 7 days on ten of them. It waits for no site. `make bench-fetch` has both on one core.",
            "- Pages: cc2dataset reads Common Crawl's WAT files, 70,000 core-hours and 2,800 USD for 5 million of them, "
            "and asks no site. `imagebert candidates --wat` is that way here (`make bench-wat` has both); then only images wait."]
