"""Where a recall or a checkpoint comes from: recall, checkpoint, stages of training, shards, and all behind them."""
from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from shards.lineage import MISMATCH, MISSING, OK, RECORDED, Check, Link, dataset_root, sha256_of, stages_behind
from train.checkpoint import RunState, find_checkpoint, read_state, state_digest
from train.evaluate_run import RESULT
from train.extractor import EXTRACTOR

_FINETUNED = "finetune.json"


def lineage_of(path: str, data: str = "", quick: bool = False,
               on_bytes: Callable[[int], None] | None = None) -> list[Link]:
    """Returns the links behind a result.json, an evaluation's folder, a run folder or a checkpoint, nearest first.

    Args:
        data: the dataset's root; "" looks where the result says, and in the folders around the checkpoint.
        quick: do not read shards and parts, and do not recompute the digest of the images ranked.

    Raises UsageError when the path is none of these.
    """
    result = os.path.join(path, RESULT) if os.path.isdir(path) else path
    if os.path.isfile(result) and os.path.basename(result).endswith(".json"):
        return _of_result(result, data, quick, on_bytes)
    folder = find_checkpoint(path) if os.path.isdir(path) else None
    if folder is None:
        raise UsageError(f"{path}: neither a checkpoint nor a result; give a run folder, a checkpoint, or the "
                         f"{RESULT} of `imagebert evaluate`")
    return _of_checkpoint(folder, data, quick, on_bytes)


def _of_result(path: str, data: str, quick: bool, on_bytes: Callable[[int], None] | None) -> list[Link]:
    value = _read(path)
    try:
        said, weights, where, images = (str(value[name]) for name in ("checkpoint", "weights_digest", "data",
                                                                      "data_digest"))
        split, config = str(value["config"]["split"]), dict(value["config"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path}: not the result of `imagebert evaluate` ({type(error).__name__}: {error})") from error
    folder, found = _near(said, path), _near(data or where, path)
    checks = []
    stored = os.path.join(folder, "model.safetensors") if folder else ""
    if not folder or not os.path.isfile(stored):
        checks.append(Check("weights", MISSING, f"{weights[:12]} recorded; there is no checkpoint at {said}"))
    else:
        checks.append(_compared("weights", weights, sha256_of(stored)))
    checks.append(Check("images ranked", RECORDED, f"{images[:12]}, split {split}; not recomputed (--quick)") if quick
                  else _ranked(folder, found, where, split, config, images))
    links = [Link("recall", path, "", _recall(value), tuple(checks))]
    if folder and os.path.isfile(os.path.join(folder, "state.json")):
        links += _of_checkpoint(folder, data or found, quick, on_bytes)
    return links


def _ranked(folder: str, found: str, where: str, split: str, config: dict[str, Any], recorded: str) -> Check:
    """Recomputes the digest of the images and captions that were ranked."""
    if not folder or not found:
        return Check("images ranked", MISSING, f"{recorded[:12]} recorded; there is no data at {where}")
    from train.opening import open_checkpoint, open_data
    try:
        ranked = open_data(found, open_checkpoint(folder), [split], int(config.get("regions", 0)),
                           config.get("habit_images"))[split]
    except UsageError as error:
        return Check("images ranked", MISMATCH, str(error))
    check = _compared("images ranked", recorded, ranked.digest())
    return Check(check.what, check.status, f"{check.detail}, {len(ranked):,} images of split {split}")


def _of_checkpoint(folder: str, data: str, quick: bool, on_bytes: Callable[[int], None] | None) -> list[Link]:
    state = read_state(folder)
    run = os.path.dirname(os.path.dirname(os.path.abspath(folder)))
    tuned = os.path.join(run, _FINETUNED)
    log = _read(tuned) if state.stage_name == "finetune" and os.path.isfile(tuned) else {}
    checks = [_file_check("vocabulary", os.path.join(folder, "vocab.txt"), state.sources.tokenizer, sha256_of),
              _file_check("extractor", next((place for place in (os.path.join(folder, EXTRACTOR),
                                                                 os.path.join(run, EXTRACTOR))
                                             if os.path.isfile(place)), os.path.join(run, EXTRACTOR)),
                          state.sources.extractor_digest, lambda path: str(_read(path).get("digest", "")))]
    began = _near(str(log.get("began_with", "")), tuned) if log else ""
    parent = _parent(state, folder, began)
    if state.parent:
        checks.append(Check("parent", OK, f"{state.parent[:12]}, {parent}") if parent else
                      Check("parent", RECORDED, f"{state.parent[:12]}; this earlier checkpoint is not kept"))
    facts = f"stage {state.stage_name}, step {state.step:,}, {'finished' if state.finished else 'not finished'}"
    links = [Link("checkpoint", folder, "", facts, tuple(checks)), _stages(state, run, log)]
    if state.stage_name == "finetune":
        if parent:
            links += _of_checkpoint(parent, data, quick, on_bytes)
        else:
            links.append(Link("checkpoint", "", state.parent, "what was tuned", (
                Check("parent", MISSING, f"no checkpoint with state {state.parent[:12]} at hand"),)))
    elif state.sources.manifest:
        links += _of_shards(state, run, data, quick, on_bytes)
    return links


def _stages(state: RunState, run: str, log: dict[str, Any]) -> Link:
    """Returns the link of the plan that was trained, checked against the digest in the checkpoint."""
    path = os.path.join(run, _FINETUNED if state.stage_name == "finetune" else "config.json")
    if state.stage_name == "scratch":          # nothing was trained: its config is the model's own
        return Link("stages", run, state.sources.config, "none: random weights",
                    (_compared("config", state.sources.config, digest(state.model)),))
    config = dict(log.get("config", {})) if state.stage_name == "finetune" else \
        _read(path) if os.path.isfile(path) else {}
    if not config:
        return Link("stages", "", state.sources.config, "", (Check("config", MISSING, f"no {path}"),))
    named = [f"{stage['name']} {stage['samples']:,} samples" for stage in config.get("plan", ())
             if stage.get("samples")]
    checks = [_compared("config", state.sources.config, digest(config))]
    if state.stage_name == "finetune":
        named = [f"finetune on {log.get('data', '')}"]
        checks.append(Check("images tuned on", RECORDED, f"{state.sources.manifest[:12]}"))
    return Link("stages", path, state.sources.config, ", ".join(named), tuple(checks))


def _of_shards(state: RunState, run: str, data: str, quick: bool,
               on_bytes: Callable[[int], None] | None) -> list[Link]:
    sources = state.sources
    place = data or dataset_root(run)
    if not place:
        return [Link("shards", "", sources.manifest, "", (
            Check("manifest", MISSING, f"{sources.manifest[:12]}; no dataset lies around the run: give --data ROOT"),))]
    if not storage.is_remote(place) and not os.path.isdir(place):
        raise UsageError(f"{place}: no such folder; give the root of the dataset with --data")
    first, *others = stages_behind(place, sources.manifest, quick, on_bytes)
    checks = list(first.checks)
    if first.path:
        extra = dict(_read(storage.join(first.path, "manifest.json")).get("extra", {}))
        checks += [_compared(f"{what} of the shards", ours, str(extra.get(name, "")))
                   for what, name, ours in (("vocabulary", "tokenizer_digest", sources.tokenizer),
                                            ("extractor", "extractor_digest", sources.extractor_digest))]
    return [Link(first.kind, first.path, first.digest, first.facts, tuple(checks)), *others]


def _parent(state: RunState, folder: str, began: str) -> str:
    """Returns the checkpoint that this one went on from, "" where it is not kept."""
    around = os.path.dirname(os.path.abspath(folder))
    places = [began, *(os.path.join(around, name) for name in sorted(os.listdir(around)))]
    return next((place for place in places if place and os.path.isfile(os.path.join(place, "state.json"))
                 and state_digest(place) == state.parent), "") if state.parent else ""


def _file_check(what: str, path: str, recorded: str, digest_of: Callable[[str], str]) -> Check:
    if not os.path.isfile(path):
        return Check(what, MISSING, f"{recorded[:12]} recorded; no {path}")
    return _compared(what, recorded, digest_of(path))


def _compared(what: str, recorded: str, found: str) -> Check:
    if recorded == found:
        return Check(what, OK, recorded[:12])
    return Check(what, MISMATCH, f"{recorded[:12]} recorded, {found[:12] or 'nothing'} found")


def _near(said: str, beside: str) -> str:
    """Returns a recorded path as it is, or below one of the folders around a file (it may be a relative one)."""
    if not said or storage.is_remote(said):
        return said
    here, places = os.path.dirname(os.path.abspath(beside)), [said]
    while not os.path.isabs(said) and os.path.dirname(here) != here:
        places.append(os.path.join(here, said))
        here = os.path.dirname(here)
    return next((place for place in places if os.path.exists(place)), "")


def _recall(value: dict[str, Any]) -> str:
    try:
        row = value["rows"][0]
        found = [f"{one['direction']} R@{one['k']} {one['value']:.1%}" for one in row["recalls"] if one["k"] == 1]
        return f"{row['name']}: {', '.join(found)} of {row['images']:,} images"
    except (KeyError, IndexError, TypeError, ValueError):
        return ""


def _read(path: str) -> dict[str, Any]:
    try:
        return dict(json.loads(storage.read_bytes(path)))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); copy it again") from error
