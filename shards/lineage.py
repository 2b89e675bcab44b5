"""What a dataset was made from, stage by stage back to the fetched parts, and whether every digest still holds.

A manifest names the digests of its inputs and the sha256 of its files; its folder is named by its inputs and config.
So one digest of the shards' manifest vouches for everything before it, and a changed byte anywhere shows.
"""
from __future__ import annotations

import dataclasses
import json
import os
import posixpath
from collections.abc import Callable
from typing import Any

from crawl import storage
from crawl.config import digest
from crawl.errors import UsageError
from crawl.storage import sha256_of
from shards.manifest import MANIFEST

OK, MISMATCH, MISSING, RECORDED = "ok", "mismatch", "missing", "recorded"
_FETCHED = ("warc", "tars", "robots")    # tables of bytes that came from the web
_STAGES = ("crawl", "judge", "images", "features", "clip", "filter", "vocab", "reencoded", "codebook", "regions",
           "shards",
           "known",                # the images stage before this one, whose answers were carried over
           "before")               # the crawl that a recrawl goes on from


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """One recorded digest against what is there."""

    what: str                      # manifest, folder name, files, an input's name, weights, ...
    status: str                    # ok, mismatch, missing, or recorded: nothing is at hand to compare it with
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain, with everything that was checked of it."""

    kind: str                      # recall, checkpoint, stages, shards, filter, ..., crawl
    path: str                      # file or folder, "" where it is not there
    digest: str                    # by which the link before names it, "" for the first one
    facts: str                     # a few words for a person
    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Returns whether nothing differs and nothing is missing."""
        return all(check.status in (OK, RECORDED) for check in self.checks)


def dataset_root(path: str) -> str:
    """Returns the folder with dataset.json at a path or up to three levels above it, "" for none."""
    here = storage.absolute(path)
    for _ in range(4):
        if storage.exists(storage.join(here, "dataset.json")):
            return here
        here = posixpath.dirname(here)
        if storage.is_remote(path) and not storage.is_remote(here):
            break                                            # above the bucket there is nothing
    return ""


def is_set(path: str) -> bool:
    """Returns whether shards are at a path: a dataset's root, a shards folder or its manifest.json."""
    if posixpath.basename(path) == MANIFEST:
        path = posixpath.dirname(path)
    if storage.exists(storage.join(path, "dataset.json")):
        return True
    manifest = storage.join(path, MANIFEST)
    return storage.exists(manifest) and _read(manifest).get("stage") == "shards"


def stages_behind(path: str, wanted: str, quick: bool = False, on_bytes: Callable[[int], None] | None = None,
                  ) -> list[Link]:
    """Returns the links from the shards whose manifest has the digest `wanted` back to the crawl.

    Args:
        path: a dataset's root, its shards/ folder, or any folder inside the root.
        quick: compare sizes of files instead of their sha256.
        on_bytes: called with the bytes of each file that was read.
    """
    root = dataset_root(path)
    folders = _manifests(root or path)
    links: list[Link] = []
    seen: set[str] = set()

    def visit(kind: str, identity: str) -> None:
        if identity in seen:
            return
        seen.add(identity)
        folder = folders.get(identity)
        if folder is None:
            links.append(_absent(kind, identity, root or path, folders))
            return
        value = _read(storage.join(folder, "manifest.json"))
        inputs = {str(name): str(known) for name, known in dict(value.get("inputs", {})).items()}
        stages = [name for name in sorted(inputs) if inputs[name] in folders or name in _STAGES]
        checks = [Check("manifest", OK, identity[:12]), *_folder_name(folder, value),
                  *_files(folder, value, quick, on_bytes)]
        checks += [_data_input(name, inputs[name], root, value) for name in sorted(inputs) if name not in stages]
        links.append(Link(str(value.get("stage", kind)), folder, identity, _facts(value), tuple(checks)))
        for name in stages:
            visit(name, inputs[name])

    visit("shards", wanted)
    return links


def _manifests(root: str) -> dict[str, str]:
    """Returns digest -> folder of every finished stage below a root, or of the root itself."""
    places = [root]
    for depth in range(2):
        places += [storage.join(place, name) for place in places[depth:] for name in storage.folders_in(place)]
    found = {}
    for place in dict.fromkeys(places):
        manifest = storage.join(place, "manifest.json")
        if storage.exists(manifest):
            found[sha256_of(manifest)] = place
    return found


def _absent(kind: str, identity: str, root: str, folders: dict[str, str]) -> Link:
    """Returns the link of a manifest that no folder has: changed, if another one of this stage is there."""
    others = [f"{posixpath.basename(folder)} has {found[:12]}" for found, folder in sorted(folders.items())
              if posixpath.basename(posixpath.dirname(folder)) == kind]
    detail = f"recorded is {identity[:12]}; in {root} " + (", ".join(others) if others else f"there is no {kind}")
    return Link(kind, "", identity, "", (Check("manifest", MISMATCH if others else MISSING, detail),))


def _folder_name(folder: str, value: dict[str, Any]) -> list[Check]:
    """Checks that a folder is named by the digest of its inputs and config: the build config is the one it says."""
    if "config" not in value or "format" not in value:
        return []
    expected = digest({"inputs": value.get("inputs", {}), "config": value["config"], "format": value["format"]})[:12]
    name = posixpath.basename(folder)
    if name == expected:
        return [Check("build config", OK, f"{digest(value['config'])[:12]}, with the inputs {expected}")]
    stands_alone = len(name) != 12 or any(letter not in "0123456789abcdef" for letter in name)
    return [Check("build config", RECORDED if stands_alone else MISMATCH,
                  f"inputs and config give {expected}, the folder is {name}")]


def _files(folder: str, value: dict[str, Any], quick: bool, on_bytes: Callable[[int], None] | None) -> list[Check]:
    checks, good, total, fetched, parts = [], 0, 0, 0, 0
    for table, entries in sorted(dict(value.get("tables", {})).items()):
        for entry in entries:
            path, fault = storage.join(folder, entry["name"]), None
            stored = _size(path)
            if stored is None:
                fault = Check(entry["name"], MISSING, f"{entry['bytes']:,} bytes recorded")
            elif stored != entry["bytes"]:
                fault = Check(entry["name"], MISMATCH, f"{entry['bytes']:,} bytes recorded, {stored:,} found")
            elif not quick and entry.get("sha256"):
                found = sha256_of(path)
                if on_bytes is not None:
                    on_bytes(entry["bytes"])
                if found != entry["sha256"]:
                    fault = Check(entry["name"], MISMATCH, f"sha256 {entry['sha256'][:12]} recorded, {found[:12]} "
                                                           f"found")
            if fault is not None:
                checks.append(fault)
                continue
            good, total = good + 1, total + entry["bytes"]
            if table in _FETCHED:
                fetched, parts = fetched + entry["bytes"], parts + 1
    how = "by size only" if quick else "by sha256"
    if parts:
        checks.insert(0, Check("fetched parts", OK, f"{parts} of them, {fetched:,} bytes, {how}"))
    if good:
        checks.insert(0, Check("files", OK, f"{good} files, {total:,} bytes, {how}"))
    return checks


def _data_input(name: str, recorded: str, root: str, value: dict[str, Any]) -> Check:
    """Checks an input that is no stage: a word list or a model of the code, the scorer, the seeds."""
    if recorded in _installed(value):
        return Check(f"input {name}", OK, f"{recorded[:12]}, as in the installed code")
    if name == "asks":
        return Check("input asks", RECORDED, f"the recrawl asked for {recorded}")
    if name == "moment":
        return Check("input moment", RECORDED, f"the recrawl began at {recorded}")
    if name == "seeds" and root and _seeds_digest(storage.join(root, "seeds.txt")) == recorded:
        return Check(f"input {name}", OK, f"{recorded[:12]}, as in seeds.txt")
    return Check(f"input {name}", RECORDED, f"{recorded[:12]}; it is not at hand, or the installed code has another")


def _seeds_digest(path: str) -> str:
    """Returns the digest of a seeds file as the crawl records it, "" where there is no such file."""
    from crawl.seeds import read_seeds
    try:
        return digest(list(read_seeds(path))) if storage.exists(path) else ""
    except UsageError:
        return ""


def _installed(value: dict[str, Any]) -> set[str]:
    """Returns the digests of the rule data that the installed filter/ has, and of the scorer a stage names."""
    import filter.scoring as scoring
    folder = os.path.join(os.path.dirname(os.path.abspath(scoring.__file__)), "data")
    found = {sha256_of(os.path.join(folder, name)) for name in os.listdir(folder)
             if os.path.isfile(os.path.join(folder, name))}
    config = value.get("config", {})
    if "scorer" in config:
        try:
            found.add(scoring.scorer_digest(config["scorer"], config.get("scorer_path", "")))
        except (UsageError, OSError):
            pass
    return found


def _facts(value: dict[str, Any]) -> str:
    facts = [f"{value['extra']['rounds']} rounds"] if "rounds" in value.get("extra", {}) else []
    rows = [f"{name} {sum(entry.get('rows', 0) for entry in entries):,}"
            for name, entries in sorted(dict(value.get("tables", {})).items())
            if any(entry.get("rows") for entry in entries)]
    return ", ".join([*facts, *(["rows: " + ", ".join(rows)] if rows else [])])


def _size(path: str) -> int | None:
    try:
        return storage.size(path)
    except FileNotFoundError:
        return None


def _read(path: str) -> dict[str, Any]:
    try:
        return dict(json.loads(storage.read_bytes(path)))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); copy it again") from error
