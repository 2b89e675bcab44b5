"""scale.md out of results/scale.json: what stages cost, whether it grows linearly, the largest shuffle and key."""
from __future__ import annotations

from typing import Any

from benchmarks.scale_paper import UNITS, ends_of, marginal, on_paper

_HEAD = """# What it costs at scale

Written by `{command}` on {processor}, {cores} cores, shared with other work: `load` is the mean of
the 15 minutes before a result ended. One process, Beam's in-process runner, synthetic webs.

- CPU-s: of the process and its sandboxes; a full machine makes them longer too, by a quarter and more.
- MB read: what the process read, files and pipes to its sandboxes; written: bytes that stay on the disk; shuffled:
  bytes that reached a grouping.
- MiB: the largest resident size of the process. The in-process runner holds all that is shuffled in memory, so it grows
  with the rows: a million rows of the filter want some 12 GB, ten million an engine that shuffles over its disks.

## A thousand rows of each stage

Columns behind `one more` are of the build with {images:,} images.
"""
_ONE_MORE = """
`one more` is the difference of the largest and the smallest build, a thousand rows: where it is below the columns
before it, a stage has a start that is paid once; where it is above, the stage grows faster than its rows.

## The largest shuffle and the largest key

At {images:,} images; a key is counted in rows.

| stage | largest shuffle | MB | rows of the largest key | in |
|---|---|---|---|---|"""
_KEYS = """
A bucket of a table is one key by design; its rows go to one file, sorted. Keys out of data are bounded by the combiners
of docs/design.md, "Aggregation"; what a hot one takes of memory is below."""
_PADDED = """
## Larger pictures are not shuffled

{images:,} images, padded behind their end.

| least bytes a picture | MB of pictures stored | MB shuffled in all | in images, features, filter |
|---|---|---|---|"""
_ROWS = """
## Rows alone, and hot keys

No page and no picture; each row is made from its number, which is part of the CPU-seconds. select: which URLs are due;
judge; filter: from judged rows and facts to `best`, tables written; assign: which shard a sample goes to. `hot host`:
all URLs lie on one host; `hot caption`: all images have one caption; `hot image`: all URLs answer with one image. A hot
job has the rows of the even one of its size: what it took of memory beyond that one is what its key took.

| job | rows | | came out | CPU-s a thousand | MB shuffled a thousand | rows of the largest key, in | MiB | load |
|---|---|---|---|---|---|---|---|---|"""


def written(result: dict[str, Any], sites: dict[str, Any]) -> str:
    """Returns the page.

    Args:
        result: benchmarks/results/scale.json, with two sizes of builds at least.
        sites: results/sites.json, for how many rows of each stage a pair of the open web costs.
    """
    machine = result["machine"]
    large = ends_of(result)[1]
    return "\n".join([
        _HEAD.format(command=result["command"], processor=machine["processor"], cores=machine["cores"],
                     images=large["images"]),
        *_stages(result), _ONE_MORE.format(images=large["images"]), *_shuffles(large), _KEYS, *_padded(result),
        *_rows(result["rows"]), "", *on_paper(result, sites)]) + "\n"


def _stages(result: dict[str, Any]) -> list[str]:
    drawn = [build for build in result["builds"] if not build["least_bytes_an_image"]]
    small, large = ends_of(result)
    titles = [f"CPU-s, {build['images']:,} images (load {build['load']})" for build in drawn]
    lines = ["| stage | row | " + " | ".join([*titles, "one more", "MB read", "MB written", "MB shuffled", "MiB"])
             + " |", "|---" * (7 + len(drawn)) + "|"]
    for stage, (name, row) in UNITS.items():
        cells = [f"{build['stages'][stage]['cpu_s'] * 1e3 / build['units'][name]:.2f}" for build in drawn]
        cells.append(f"{marginal(small, large, stage, 'cpu_s') * 1e3:.2f}")
        cells += [f"{large['stages'][stage][value] / 1e3 / large['units'][name]:.2f}"
                  for value in ("read", "written", "shuffled")]
        lines.append(f"| {stage} | {row} | " + " | ".join(cells) + f" | {large['stages'][stage]['peak_mib']:,} |")
    return lines


def _shuffles(build: dict[str, Any]) -> list[str]:
    lines = []
    for stage in UNITS:
        cost = build["stages"][stage]
        if cost["groupings"]:
            name, size = max(cost["groupings"].items(), key=lambda pair: (pair[1], pair[0]))
            lines.append(f"| {stage} | {name} | {size / 1e6:.2f} | {cost['largest_key_rows']:,} | "
                         f"{cost['largest_key_of']} |")
    return lines


def _padded(result: dict[str, Any]) -> list[str]:
    padded = [build for build in result["builds"] if build["least_bytes_an_image"]]
    if not padded:
        return []
    lines = [_PADDED.format(images=padded[0]["images"])]
    for build in padded:
        stages = build["stages"]
        lines.append(f"| {build['least_bytes_an_image']:,} | {build['image_bytes'] / 1e6:.1f} | "
                     f"{sum(one['shuffled'] for one in stages.values()) / 1e6:.2f} | "
                     f"{sum(stages[name]['shuffled'] for name in ('images', 'features', 'filter')) / 1e6:.2f} |")
    return lines


def _rows(runs: list[dict[str, Any]]) -> list[str]:
    lines = [_ROWS]
    for run in runs:
        cost, rows = run["cost"], run["rows"]
        lines.append(f"| {run['job']} | {rows:,} | {run['kind']} | {run['came_out']:,} | "
                     f"{cost['cpu_s'] * 1e3 / rows:.2f} | {cost['shuffled'] / 1e3 / rows:.2f} | "
                     f"{cost['largest_key_rows']:,}, {cost['largest_key_of']} | {cost['peak_mib']:,} | {run['load']} |")
    return lines if runs else []
