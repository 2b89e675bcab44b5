"""Repeats a build from what was measured: everything else is made anew, and the sha256 of all files are compared.

    NEW/crawl, NEW/images, ...      second names of the stored parts: hard links, or copies that the object store makes
    NEW/judge ... NEW/shards        made again by the recorded configs and the installed code

Measured are pages and images, and what networks said of them (clip, regions of all extractors but patches).
"""
from __future__ import annotations

import dataclasses
import json
import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from crawl import storage
from crawl.config import parsed
from crawl.errors import UsageError
from crawl.lock import NAME as LOCK
from crawl.second_names import second_names
from crawl.stages import Manifest, decode_manifest, recorded_versions
from crawl.suppress import SUPPRESS
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.judging import JudgeConfig
from shards.manifest import MANIFEST, load_shards
from shards.order import OrderConfig
from shards.patches import NAME, PatchesConfig
from shards.reencode import ReencodeConfig
from shards.reencode_run import REENCODED_STAGE, reencoded
from shards.regions_run import codebook, regions
from shards.shards_run import shards
from shards.upstream import made_from
from shards.vocabulary import VOCAB, VocabConfig, vocab

Run = Callable[[str, Callable[[Any], None]], None]

NOTE = "repeat.json"               # which build is made again in a root
_MEASURED = ("crawl", "images", "clip")
_MADE = ("judge", "features", "filter", "vocab", REENCODED_STAGE, "codebook", "regions")


@dataclasses.dataclass(frozen=True, slots=True)
class Repeated:
    """A build and its repetition."""

    before: Manifest
    after: Manifest
    stages: tuple[str, ...]                      # whose tables have other rows, in the order of the data
    versions: tuple[tuple[str, str, str], ...]   # libraries that are others now: name, then, now

    @property
    def files(self) -> dict[str, bool]:
        """Returns name -> whether it has the recorded sha256, of all files of either set."""
        there, here = ({entry.name: entry.sha256 for entry in manifest.tables["shards"]}
                       for manifest in (self.before, self.after))
        return {name: there.get(name) == here.get(name) for name in sorted(there.keys() | here.keys())}


def repeat(path: str, out: str, run: Run, decontaminate: str = "") -> Repeated:
    """Returns what came of a build that was made again in the new root `out`.

    Args:
        path: manifest.json of a set of shards in its root (or manifest-<12 hex>.json, the one a rewritten or resharded
            set came from), its folder, or the root.

    Raises UsageError where the stored parts are gone, or the set is not what a build made.
    """
    root, before = _recorded(path)
    found = made_from(root, before)
    _check(path, before, found, decontaminate)
    _begin(out, before)
    patches = found["regions"].extra["extractor"] == NAME
    measured = [name for name in (*_MEASURED, *(() if patches else ("regions", "precomputed"))) if name in found]
    second_names((storage.join(root, name), storage.join(out, name)) for name in storage.names_below(root)
                 if name.startswith(tuple(f"{stage}/" for stage in measured)) or name == SUPPRESS)
    storage.replace_bytes(storage.join(out, "dataset.json"), (json.dumps(
        {"stages": {name: found[name].folder for name in measured}}, sort_keys=True, indent=1) + "\n").encode())

    made = {"judge": judge(out, _config(JudgeConfig, found["judge"]), run)}
    made["features"] = features(out, _config(FeaturesConfig, found["features"]), run)
    made["filter"] = filter_pairs(out, _config(FilterConfig, found["filter"]), run, decontaminate)
    source, made = "filter", made | _vocabulary(out, before, found["vocab"], run)
    if REENCODED_STAGE in found:
        source = REENCODED_STAGE
        made[source] = reencoded(out, _config(ReencodeConfig, found[source]), run)
    if patches:
        config = _config(PatchesConfig, found["regions"])
        made |= {"codebook": codebook(out, config, run, source), "regions": regions(out, config, run, source)}
    after = shards(out, _config(OrderConfig, before), run, source)
    then, now = before.extra["versions"], recorded_versions()
    return Repeated(
        before, after, tuple(name for name in _MADE if name in made and _rows(found[name]) != _rows(made[name])),
        tuple((name, then.get(name, "unknown"), now[name]) for name in now if then.get(name) != now[name]))


def _recorded(path: str) -> tuple[str, Manifest]:
    """Returns the root of a set and its manifest."""
    file = storage.absolute(path if path.endswith(".json") else storage.join(load_shards(path).directory, MANIFEST))
    folder = posixpath.dirname(file)
    root = posixpath.dirname(posixpath.dirname(folder))
    try:
        value = json.loads(storage.read_bytes(file))
        return root, decode_manifest(value, root, folder.removeprefix(root).strip("/"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file}: no manifest of a build ({type(error).__name__}: {error}); give the manifest.json of "
                         f"a set of shards in its root") from error


def _check(path: str, before: Manifest, found: Mapping[str, Manifest], decontaminate: str) -> None:
    origin = next((name for name in ("rewritten_from", "resharded_from") if name in before.inputs), "")
    if origin:
        raise UsageError(f"{path}: {origin.replace('_', ' ')} another set, so no build makes it; give the "
                         f"manifest-{before.inputs[origin][:12]}.json beside it, which says what was built")
    missing = [name for name in ("crawl", "judge", "images", "features", "filter", "vocab", "regions")
               if name not in found]
    if before.stage != "shards":
        raise UsageError(f"{path}: a manifest of {before.stage}, not of shards; give the manifest.json of a set")
    if missing:
        raise UsageError(f"{path}: the stages it was made from are not in the root any more ({', '.join(missing)}); a "
                         f"build is repeated where its parts are stored")
    if "decontaminate" in found["filter"].inputs and not decontaminate:
        raise UsageError(f"{path}: built with --decontaminate; give the same folder or list again")


def _begin(out: str, before: Manifest) -> None:
    """Refuses a folder that holds anything but a stopped repetition of the same build."""
    path = storage.join(out, NOTE)
    if not storage.exists(path):
        if [name for name in storage.names_below(out) if not name.startswith(LOCK)]:
            raise UsageError(f"{out}: not empty; name a new folder with --out, the build is made anew in it")
        storage.commit_bytes(path, json.dumps({"manifest": before.digest}).encode())
    elif json.loads(storage.read_bytes(path)) != {"manifest": before.digest}:
        raise UsageError(f"{out}: another build was repeated here; name a new folder with --out")


def _vocabulary(out: str, before: Manifest, known: Manifest, run: Run) -> dict[str, Manifest]:
    if "file" in known.inputs:                   # a person's own
        return {"vocab": vocab(out, VocabConfig(file=storage.join(before.directory, VOCAB)), run)}
    return {"vocab": vocab(out, _config(VocabConfig, known), run)}


def _config(kind: Any, manifest: Manifest) -> Any:
    return parsed(kind, manifest.config, storage.join(manifest.directory, MANIFEST))


def _rows(manifest: Manifest) -> dict[str, Any]:
    return {name: manifest.table_digest(name) if all(entry.digest for entry in entries)
            else sorted(entry.sha256 for entry in entries) for name, entries in manifest.tables.items()}
