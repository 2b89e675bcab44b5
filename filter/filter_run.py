"""The stage filter: from judged texts and measured images to one best pair a picture."""
from __future__ import annotations

from typing import Any

from crawl import permission
from crawl.records import Image
from crawl.stages import Manifest, Stage, check_accounted, current_manifest, funnel_of
from crawl.suppress import suppression
from filter.clip_run import CLIP, clip_extra, clip_notes, clip_weights, measured_clip
from filter.decontamination import evaluation_facts, evaluation_images, evaluation_source
from filter.filter_config import FilterConfig
from filter.judge_run import Run
from filter.presets import missing_of, notes_on
from filter.records import Best, ClipFacts, ImageFacts, ImageOutcome, Judged, Pair
from filter.scoring import scorer, scorer_digest, scorer_facts

FORMAT = 6                         # 5: near-duplicates of both hashes; 6: presets, an open_clip network
_RECORDS: dict[str, tuple[type, str]] = {"pairs": (Pair, "pair_id"), "best": (Best, "key"),
                                         "image_outcomes": (ImageOutcome, "sha256")}


def filter_pairs(out: str, config: FilterConfig, run: Run, decontaminate: str = "") -> Manifest:
    """Returns the manifest of `pairs` (all, with outcome), `best` (what shards/ stores) and `image_outcomes`.

    `decontaminate` is a folder of evaluation images or a list of their hashes (filter/decontamination.py).
    """
    source = evaluation_source(decontaminate)
    inputs = {name: current_manifest(out, name) for name in ("judge", "images", "features")}
    digests = {name: manifest.digest for name, manifest in inputs.items()}
    suppressed = suppression(out)
    rules = permission.rules_of(inputs["judge"].config)      # named by the digest of that manifest
    weights = clip_weights(config.clip, config.scorer)
    clip = measured_clip(out, weights, inputs, config.aggregate.max_claims, rules, run) if weights else None
    stage = Stage.open(out, "filter", FORMAT, config,
                       digests | {"scorer": scorer_digest(config.scorer, config.scorer_path)}
                       | ({"clip": clip.digest} if clip else {})
                       | ({"suppress": suppressed.digest} if suppressed else {})
                       | ({"decontaminate": source.digest} if source else {}))
    finished = stage.finished()
    if finished is not None:
        return finished
    evaluation = evaluation_images(source)
    from crawl.transforms import ReadTable, WriteTable, entries_of
    from filter.transforms import BySha256, FilterPairs

    def build(root: Any) -> None:
        tables = {
            "judged": root | "Judged" >> ReadTable(inputs["judge"].paths("judged"), Judged),
            "images": root | "Images" >> ReadTable(inputs["images"].paths("images"), Image),
            "features": root | "Features" >> ReadTable(inputs["features"].paths("features"), ImageFacts),
        }
        if clip:
            tables["clip"] = (root | "Clip" >> ReadTable(clip.paths(CLIP), ClipFacts)
                              | "Of image" >> BySha256())
        filtered = tables | "Filter pairs" >> FilterPairs(config, rules, suppressed, evaluation)
        for name, (record, key) in _RECORDS.items():
            filtered[name] | f"Write {name}" >> WriteTable(stage.directory, name, record, key, config.buckets)

    run("filter", build)
    tables = {name: tuple(entries_of(stage.directory, name, config.buckets)) for name in _RECORDS}
    check_accounted(stage, "images", inputs["features"].tables["features"], tables["image_outcomes"])
    off = clip_notes(config.clip, config.min_cosine)
    have = {name for name in ("weights", "unsafe_head") if getattr(config.clip, name)}
    if not weights and getattr(scorer(config.scorer, config.scorer_path), "reads_cosine", False):
        off.append("scorer weak: its feature cosine was not run, for there are no weights of CLIP (--set "
                   "clip.weights=CHECKPOINT); it was trained with it, and orders worse without")
    unread = [f"{evaluation.unreadable} of {source.count} evaluation images do not decode: only their very bytes are "
              "kept out"] if source and evaluation.unreadable else []
    return stage.commit(tables, [funnel_of("filter", "image", tables["image_outcomes"]),
                                 funnel_of("filter", "pair", tables["pairs"])],
                        extra={"scorer": scorer_facts(config.scorer, config.scorer_path),
                               "preset": {"name": config.preset, "not_reproduced": missing_of(config.preset, have)},
                               **clip_extra(weights)}
                        | ({"decontaminate": evaluation_facts(source, evaluation)} if source else {}),
                        notes=unread + off + notes_on(config.preset, inputs["judge"].config, have))
