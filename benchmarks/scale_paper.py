"""Machines, hours and money for builds that nobody ran here: arithmetic over what benchmarks/scale.py measured.

Every input has a name and a source, and stands on the page beside the result.
"""
from __future__ import annotations

from typing import Any

# Stage -> the line of the funnel whose rows it is counted by, and what a row of it is.
UNITS = {"crawl": ("crawl: page", "page"), "judge": ("judge: candidate row", "candidate row"),
         "images": ("images: image URL", "image URL"), "features": ("features: image", "image"),
         "filter": ("filter: pair", "pair"), "vocab": ("shards: sample", "sample"),
         "codebook": ("shards: sample", "sample"), "regions": ("shards: sample", "sample"),
         "shards": ("shards: sample", "sample")}
PAGE_DELAY_S, IMAGE_DELAY_S = 2.0, 0.2     # crawl.fetch.page_delay_s, 1 / images.fetch.image_rate_per_s: the defaults
CORES, DAYS, BUSY = 16, 7, 0.7             # of a machine; in which to be done; share of its time it computes
VCPU_HOUR = 0.68 / 16                      # USD: c6i.4xlarge, as img2dataset's page reckons
DATAFLOW = {"vCPU hour": 0.056, "GB hour": 0.003557, "GB a vCPU": 4, "GB shuffled": 0.011}     # USD, assumed
SITES = 100_000                            # that pages and images come from
LARGEST, SITE_PAGES = 0.01, 20_000         # share of the largest site; crawl.frontier.max_pages_per_site, the default

_PAPER = """## On paper: LAIT and a billion

Not measured: arithmetic over the tables above.

    core-hours   = sum over stages of (pairs x rows of it a kept pair x CPU-s of one more row) / 3600
    polite hours = pairs x (pages a pair x page delay + image URLs a pair x image delay) / sites / 3600
    largest site = its pages x (page delay + image URLs a page x image delay) / 3600
    hours        = the largest of these two and of the time that is wished
    machines     = core-hours / (cores x busy share x hours), rounded up

| input | value | from |
|---|---|---|
| rows a kept pair | {rows} | the eight real sites, results/sites.json |
| delay of a site | {page} s a page, {image} s an image | the defaults |
| sites | {sites:,}; polite hours are those of one with its even share | assumed |
| largest site | {largest:.0%} of all pages, at most {cap:,} of them | assumed; `crawl.frontier.max_pages_per_site` |
| wished | {days} days | assumed |
| a machine | {cores} cores, busy {busy:.0%} | assumed |
| a core-hour | {vcpu:.4f} USD (c6i.4xlarge, 0.68 USD an hour) | as img2dataset's page reckons |
| Dataflow | {d[vCPU hour]} USD a vCPU-hour, {d[GB hour]} a GB-hour ({d[GB a vCPU]} GB a vCPU), {d[GB shuffled]} a GB \
shuffled | list prices, assumed |

Not in it: storage, network, a detector of regions (they are `patches`), an engine's own work for each element, and what
pages and pictures cost more that are larger than the synthetic ones.

| | core-hours | GB shuffled | polite hours | largest site, hours | hours | machines | USD on Flink | USD on Dataflow |
|---|---|---|---|---|---|---|---|---|"""
_OTHERS = """
## Beside others

- Images: {mine:.1f} core-hours a million URLs by the table above, with robots.txt and permission, original bytes
  stored, HTTP and HTTPS of loopback, {kb:.0f} KB a picture. img2dataset publishes about 1,000 images a second on 16
  vCPU, that is {theirs:.1f} core-hours and 0.19 USD a million, resizing included, robots.txt and delays not; 5.8
  billion in 7 days on ten such machines. It waits for no site: {images:.1f} polite hours of the billion above are what
  it takes to ask {sites:,} sites for an image every {image} s. `make bench-fetch` has both on one core.
- Pages: cc2dataset publishes 50 s a WAT file and core, 70,000 core-hours and 2,800 USD for 5 million of them, and asks
  no site. `imagebert candidates --wat` is that way here (`make bench-wat` has both), and then only images wait."""


def ends_of(result: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the smallest and the largest build of pictures as they are drawn."""
    drawn = [build for build in result["builds"] if not build["least_bytes_an_image"]]
    return drawn[0], drawn[-1]


def marginal(small: dict[str, Any], large: dict[str, Any], stage: str, value: str) -> float:
    """Returns what one more row costs, between two builds: what a stage costs once is left out."""
    rows = [build["units"][UNITS[stage][0]] for build in (small, large)]
    costs = [build["stages"][stage][value] for build in (small, large)]
    return float(costs[1] - costs[0]) / max(1, rows[1] - rows[0])


def shares(sites: dict[str, Any]) -> dict[str, float]:
    """Returns how many rows of each unit the eight real sites had for a pair that was kept (results/sites.json)."""
    rows = {f"{line['stage']}: {line['unit']}": line["rows_in"] for line in sites["funnel"]}
    return {name: rows[name] / rows["shards: sample"] for name, _ in UNITS.values()}


def bound_h(pairs: float, a_pair: dict[str, float]) -> float:
    """Returns the hours that politeness takes however many machines there are: a site is asked one by one."""
    return pairs * (a_pair["crawl: page"] * PAGE_DELAY_S + a_pair["images: image URL"] * IMAGE_DELAY_S) / SITES / 3600


def largest_h(pairs: float, a_pair: dict[str, float]) -> float:
    """Returns the hours that the largest site takes by itself, asked as slowly as every other."""
    pages = min(SITE_PAGES, LARGEST * pairs * a_pair["crawl: page"])
    images = pages * a_pair["images: image URL"] / a_pair["crawl: page"]
    return (pages * PAGE_DELAY_S + images * IMAGE_DELAY_S) / 3600


def projected(result: dict[str, Any], sites: dict[str, Any], pairs: float) -> dict[str, float]:
    """Returns core-hours, machines, hours and dollars for so many kept pairs."""
    small, large = ends_of(result)
    a_pair = shares(sites)
    rows = {stage: pairs * a_pair[name] for stage, (name, _) in UNITS.items()}
    core_h = sum(rows[stage] * max(0.0, marginal(small, large, stage, "cpu_s")) for stage in UNITS) / 3600
    shuffled = sum(rows[stage] * max(0.0, marginal(small, large, stage, "shuffled")) for stage in UNITS) / 1e9
    polite, largest = bound_h(pairs, a_pair), largest_h(pairs, a_pair)
    hours = max(24.0 * DAYS, polite, largest)
    dataflow = core_h / BUSY * (DATAFLOW["vCPU hour"] + DATAFLOW["GB a vCPU"] * DATAFLOW["GB hour"]) \
        + shuffled * DATAFLOW["GB shuffled"]
    return {"core_hours": core_h, "shuffled_gb": shuffled, "polite_hours": polite, "largest_site_hours": largest,
            "machines": -(-core_h // (CORES * BUSY * hours)), "hours": hours, "flink_usd": core_h / BUSY * VCPU_HOUR,
            "dataflow_usd": dataflow}


def on_paper(result: dict[str, Any], sites: dict[str, Any]) -> list[str]:
    """Returns the page's lines on builds of 10 million pairs and of 1 billion images."""
    a_pair = shares(sites)
    names = dict.fromkeys(name for name, _ in UNITS.values())
    billion = 1e9 / a_pair["images: image URL"]
    lines = [_PAPER.format(rows=", ".join(f"{a_pair[name]:.1f} of {name}" for name in names), page=PAGE_DELAY_S,
                           image=IMAGE_DELAY_S, sites=SITES, largest=LARGEST, cap=SITE_PAGES, days=DAYS, cores=CORES,
                           busy=BUSY, vcpu=VCPU_HOUR, d=DATAFLOW)]
    for name, pairs in (("LAIT, 10 million pairs", 1e7), ("1 billion image URLs asked for", billion)):
        one = projected(result, sites, pairs)
        cells = [f"{one['core_hours']:,.0f}", f"{one['shuffled_gb']:,.0f}", f"{one['polite_hours']:,.1f}",
                 f"{one['largest_site_hours']:,.1f}", f"{one['hours']:,.0f}", f"{one['machines']:,.0f}",
                 f"{one['flink_usd']:,.0f}", f"{one['dataflow_usd']:,.0f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    large = ends_of(result)[1]
    images = marginal(*ends_of(result), "images", "cpu_s")
    return [*lines, _OTHERS.format(
        mine=1e6 * images / 3600, kb=large["image_bytes"] / 1e3 / large["units"]["features: image"],
        theirs=1e6 / 1000 * 16 / 3600, images=1e9 * IMAGE_DELAY_S / SITES / 3600, sites=SITES, image=IMAGE_DELAY_S)]
