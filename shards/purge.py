"""Drops what a suppress list names from every stage of a root: tables, WARC, image and region parts, shards.

    1  OUT/purge.json              what is to go; until it is gone again no stage of the root is opened
    2  STAGE/FOLDER/...            new tables beside the old, parts overwritten in copies; nothing has changed yet
    3                              parts, then the folder's manifest, take the place of the old; old tables are removed
    4  OUT/shards/NEW/             every set of shards that holds something, written again (shards/rewrite.py)
    5  OUT/purged.jsonl            a line that says what was found, what was done, and that nothing is left

`OUT/index.cdxj`, which names pages, goes as a whole: `imagebert crawl cdxj` makes it again.

Folders go in the order of their inputs, so that a manifest names the digests its inputs have now.  Killed anywhere,
each folder is as it was or as it shall be, and the same command goes on.  A folder keeps its name although its inputs
have other digests: a later build does not take it for its own result, and derives it anew from the purged parts.
"""
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crawl import storage
from crawl.cdxj import INDEX
from crawl.errors import UsageError
from crawl.stages import MANIFEST, Manifest, read_manifest, recorded_time
from crawl.suppress import PURGE, Rule, Suppression, suppression
from crawl.tables import FileEntry, encode_plain, read_plain, schema_in
from shards.files import commit_small, sha256_of
from shards.manifest import load_shards
from shards.purge_bytes import overwritten
from shards.purge_rows import RowRule, Targets
from shards.purge_targets import find_targets, num_rows_left
from shards.removal import plan, remove
from shards.rewrite import rewrite

RECORD = "purged.jsonl"
HISTORY = "purged"                 # in a manifest's extra: the digests it had, and what went
_ENTRY = {"name", "bytes", "sha256"}


@dataclasses.dataclass(slots=True)
class Purged:
    """What a purge did."""

    images: int = 0                # distinct bytes
    pages: int = 0                 # whose stored answer showed one
    rows: int = 0                  # dropped
    read: int = 0                  # bytes of files that were written again
    written: int = 0
    overwritten: int = 0           # bytes in parts
    outside: tuple[str, ...] = ()  # parts that lie outside the root and were not touched
    folders: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    left: int = 0                  # rows that are still there, counted afterwards


def predicted(out: str, targets: Targets) -> tuple[int, int]:
    """Returns the bytes of the tables that are searched and of the parts that are written again."""
    names = storage.names_below(out)
    tables = sum(storage.size(storage.join(out, name)) for name in names if name.endswith(".parquet"))
    return tables, sum(storage.size(storage.join(out, part)) for part in targets.ranges if part in set(names))


def targets_of(out: str) -> Targets:
    """Returns what the suppress list of a root names in its stages, with what a stopped purge had found.

    Raises UsageError while a stage is half finished: its files are named by no manifest.
    """
    names = storage.names_below(out)
    _refuse_half_stages(names)
    found = find_targets(out, names, suppression(out))
    journal = storage.join(out, PURGE)
    return found.also(json.loads(storage.read_bytes(journal))) if storage.exists(journal) else found


def purge(out: str, targets: Targets, say: Callable[[str], None] = lambda line: None) -> Purged:
    """Drops the targets from every stage folder of a root, whether it is current or not."""
    storage.replace_bytes(storage.join(out, PURGE), (json.dumps(targets.as_json(), indent=1) + "\n").encode())
    storage.remove(storage.join(out, INDEX))                 # it may name them; `crawl cdxj` makes it again
    names = storage.names_below(out)
    half = tuple(folder + "/" for folder in _half_stages(names))
    for name in names:
        if name.endswith(".tmp") or name.startswith(half):   # of killed runs; the root's lock is held
            storage.remove(storage.join(out, name))
    names = storage.names_below(out)
    done = Purged(len(targets.sha256s), len(targets.shown_on),
                  outside=tuple(sorted(set(targets.ranges) - set(names))))
    rule, renamed = RowRule(targets), dict[str, str]()
    manifests = _in_order(out, names)
    for manifest in manifests:
        renamed |= {line["manifest"]: manifest.digest for line in manifest.extra.get(HISTORY, ())}
    for manifest in manifests:
        if manifest.stage != "shards":
            say(manifest.folder)
            before = manifest.digest
            renamed[before] = _purge_folder(out, manifest, names, rule, renamed, done)
            renamed |= {old: renamed[before] for old, new in renamed.items() if new == before}
    for name in sorted(targets.ranges.keys() & set(names)):
        if not any(name.startswith(manifest.folder + "/") for manifest in manifests):
            path = storage.join(out, name)                   # of a stage whose manifest is gone
            _put(overwritten(path, name, targets.ranges[name])[0], path)
            done.overwritten += sum(length for _, length in targets.ranges[name])
    for manifest in manifests:
        # A killed purge may have left a set that the next one was made from: that one removes it.
        if manifest.stage == "shards" and storage.exists(storage.join(manifest.directory, MANIFEST)):
            say(manifest.folder)
            _purge_shards(out, manifest, targets, renamed, done)
    done.left = num_rows_left(out, storage.names_below(out), targets)
    _record(out, targets.suppressed, done)
    storage.remove(storage.join(out, PURGE))
    return done


def _refuse_half_stages(names: list[str]) -> None:
    half = [folder for folder in _half_stages(names) if not folder.startswith("shards/")]
    if half:
        raise UsageError(f"half-finished stages lie in the root ({', '.join(half)}), and no manifest names their "
                         f"files; run them to their end, or remove them, then purge again")


def _half_stages(names: list[str]) -> list[str]:
    folders = {"/".join(name.split("/")[:2]) for name in names if name.count("/") >= 2 and _is_hex(name.split("/")[1])}
    return sorted(folder for folder in folders if f"{folder}/{MANIFEST}" not in names)


def _is_hex(name: str) -> bool:
    return len(name) == 12 and not set(name) - set("0123456789abcdef")


def _in_order(out: str, names: list[str]) -> list[Manifest]:
    """Returns the manifests of all finished folders, inputs first."""
    waiting = [manifest for name in names if name.count("/") == 2 and name.endswith(f"/{MANIFEST}")
               and _is_hex(name.split("/")[1]) and (manifest := read_manifest(out, posixpath.dirname(name)))]
    ordered: list[Manifest] = []
    while waiting:
        open_digests = {manifest.digest for manifest in waiting}
        ready = [manifest for manifest in waiting if not open_digests & set(manifest.inputs.values())]
        ordered += ready
        waiting = [manifest for manifest in waiting if manifest not in ready]
    return ordered


def _purge_folder(out: str, manifest: Manifest, names: list[str], rule: RowRule, renamed: Mapping[str, str],
                  done: Purged) -> str:
    """Writes a folder without the targets; returns the digest of its manifest, the old one where nothing changed."""
    folder = manifest.folder
    mine = [name for name in names if name.startswith(folder + "/")]
    notes = {name: json.loads(storage.read_bytes(storage.join(out, name))) for name in mine if name.endswith(".json")}
    listed = {(posixpath.basename(entry["name"]), entry["sha256"])
              for value in notes.values() for entry in _entries(value)}
    changed: dict[tuple[str, str], dict[str, Any]] = {}      # (name, sha256) of a file -> what is new in its entry
    parts: list[tuple[str, str]] = []                        # temporary file, name
    old: list[str] = [name for name in mine if _is_scrap(name, folder, rule)]
    rows = overwrote = 0
    for name in mine:
        path, base = storage.join(out, name), posixpath.basename(name)
        if name.endswith(".parquet") and (kept := _without(path, rule)) is not None:
            data, counted, dropped = kept
            key = (base, _sha256(path))
            old.append(name)
            if key in listed:                                # else a killed purge left it behind
                stem = base.removesuffix(".parquet").partition(".purged-")[0]
                entry = commit_small(posixpath.dirname(path), f"{stem}.purged-{_short(data)}.parquet", data)
                changed[key] = dataclasses.asdict(dataclasses.replace(entry, **counted))
                rows, done.read, done.written = rows + dropped, done.read + storage.size(path), done.written + len(data)
        elif name in rule.targets.ranges:
            temporary, entry = overwritten(path, base, rule.targets.ranges[name])
            parts.append((temporary, path))
            changed |= {(base, sha256): {"name": base, "sha256": entry.sha256}
                        for one, sha256 in listed if one == base and sha256 != entry.sha256}
            overwrote += sum(length for _, length in rule.targets.ranges[name])
            done.read, done.written = done.read + entry.bytes, done.written + entry.bytes
    inputs = {name: renamed.get(digest, digest) for name, digest in manifest.inputs.items()}
    for temporary, path in parts:
        _put(temporary, path)
    for name, value in notes.items():
        if name != f"{folder}/{MANIFEST}" and _replace(value, changed):
            storage.replace_bytes(storage.join(out, name), json.dumps(value, sort_keys=True).encode())
    digest = manifest.digest
    if changed or inputs != manifest.inputs:
        digest = _flip(manifest, inputs, changed, {"manifest": digest, "rows": rows, "bytes": overwrote}).digest
        done.folders.append({"folder": folder, "before": manifest.digest, "after": digest, "rows": rows,
                             "bytes": overwrote})
    for name in old:
        storage.remove(storage.join(out, name))
    done.rows, done.overwritten = done.rows + rows, done.overwritten + overwrote
    return digest


def _is_scrap(name: str, folder: str, rule: RowRule) -> bool:
    """Returns whether a file is of no use to a finished stage and may hold what was removed."""
    rest = name.removeprefix(folder + "/")
    if folder.startswith("codebook/") and rest.startswith("cells-"):
        return bool(rule.targets.sha256s)                    # pixels of images the codebook was fitted on
    if folder.startswith("regions/") and rest.startswith("chunk-") and rest.endswith(".json"):
        return bool(rule.targets.sha256s)                    # rows with keys, which the stage's table has by now
    return rest.startswith("quarantine/") and posixpath.basename(rest)[:32] in rule.targets.url_keys


def _without(path: str, rule: RowRule) -> tuple[bytes, dict[str, Any], int] | None:
    """Returns a table without the targets, the facts of its entry and how many rows went; None where it has none."""
    rows: list[dict[str, Any]] = []
    dropped, touched = 0, False
    for row in read_plain(path):
        if rule.goes(row):
            dropped += 1
            continue
        cleaned = rule.cleaned(row)
        touched |= cleaned != row
        rows.append(cleaned)
    if not dropped and not touched:
        return None
    return *encode_plain(schema_in(path), rows), dropped


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    """Yields every entry of a file in plain JSON values, to be changed in place."""
    if isinstance(value, dict):
        if value.keys() >= _ENTRY:
            yield value
        for one in value.values():
            yield from _entries(one)
    elif isinstance(value, list):
        for one in value:
            yield from _entries(one)


def _replace(value: Any, changed: Mapping[tuple[str, str], dict[str, Any]]) -> bool:
    """Puts what is new into the entries; returns whether there was any."""
    found = False
    for entry in _entries(value):
        new = changed.get((posixpath.basename(entry["name"]), entry["sha256"]))
        if new is not None:
            found = True
            entry |= {**new, "name": posixpath.join(posixpath.dirname(entry["name"]), new["name"])}
    return found


def _flip(manifest: Manifest, inputs: dict[str, str], changed: Mapping[tuple[str, str], dict[str, Any]],
          line: dict[str, Any]) -> Manifest:
    def entry_of(entry: FileEntry) -> FileEntry:
        new = changed.get((posixpath.basename(entry.name), entry.sha256))
        if new is None:
            return entry
        return dataclasses.replace(entry, **{**new, "name": posixpath.join(posixpath.dirname(entry.name), new["name"])})

    after = dataclasses.replace(
        manifest, inputs=inputs, extra=manifest.extra | {HISTORY: [*manifest.extra.get(HISTORY, ()), line]},
        tables={name: tuple(map(entry_of, entries)) for name, entries in manifest.tables.items()})
    storage.replace_bytes(storage.join(after.directory, MANIFEST), after.encode())
    return after


def _purge_shards(out: str, manifest: Manifest, targets: Targets, renamed: Mapping[str, str], done: Purged) -> None:
    """Writes one set of shards without the targets, whether it is the current one or not."""
    shards = load_shards(manifest.directory)
    rules = [*targets.suppressed.rules, *(Rule("key", key) for key in sorted(targets.keys)),
             *(Rule("url", url) for url in sorted(targets.urls))]
    planned = plan(shards, rules)
    remove(shards, "", planned)
    again = rewrite(load_shards(manifest.directory), out, renamed)
    if again is not None:
        done.rows += planned.num_new
        done.read, done.written = done.read + again.read, done.written + again.written
        done.folders.append({"folder": manifest.folder, "before": manifest.digest, "after": again.manifest.digest,
                             "now": again.manifest.folder, "rows": planned.num_new, "bytes": 0})


def _record(out: str, suppressed: Suppression, done: Purged) -> None:
    path = storage.join(out, RECORD)
    before = storage.read_bytes(path) if storage.exists(path) else b""
    line = {"when": recorded_time(), "rules": [str(rule) for rule in suppressed.rules], "list": suppressed.digest,
            **dataclasses.asdict(done)}
    storage.replace_bytes(path, before + (json.dumps(line, sort_keys=True) + "\n").encode())


def _put(temporary: str, path: str) -> None:
    if not storage.is_remote(path):
        os.replace(temporary, path)
        return
    try:
        storage.upload(temporary, path)
        # The part is as long as it was: that the new bytes are there is known by them alone.
        if sha256_of(path) != sha256_of(temporary):
            raise UsageError(f"{path}: the store kept the old bytes; run the same command again to end the purge")
    finally:
        os.unlink(temporary)


def _sha256(path: str) -> str:
    return hashlib.sha256(storage.read_bytes(path)).hexdigest() if storage.is_remote(path) else sha256_of(path)


def _short(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]
