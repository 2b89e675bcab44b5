"""A stage folder is immutable and its manifest comes last.

    OUT/dataset.json                             names the current folder of every stage
    OUT/judge/3f0c51a2b7de/manifest.json         a finished stage: inputs, config, files, funnel
    OUT/judge/3f0c51a2b7de/judged-00000-of-00004.parquet

The folder's name is the hash of (input manifests' digests, stage config, format version), so a changed threshold is
a new folder beside the old one and an unchanged one is skipped.  A manifest holds no clock and no host name.
"""
from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import json
import os
import posixpath
import shutil
from collections.abc import Iterable, Mapping
from typing import Any

from crawl import run_log, storage
from crawl.config import as_dict, canonical_json, digest
from crawl.errors import UsageError
from crawl.suppress import PURGE
from crawl.tables import FileEntry, add_digests, from_row

MANIFEST = "manifest.json"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
# What reading JSON raises that is cut, or holds other things than were written.
_NOT_AS_WRITTEN = (ValueError, KeyError, TypeError, AttributeError)
# What may change bytes downstream.
_RECORDED_VERSIONS = ("apache-beam", "pyarrow", "numpy", "pillow", "fasttext", "lightgbm", "tokenizers", "safetensors",
                      "selectolax", "imagehash", "torch")


@dataclasses.dataclass(frozen=True, slots=True)
class Funnel:
    """What a stage did to what came in: `rows_in` equals the sum of `outcomes`."""

    stage: str
    unit: str                                # page, candidate row, image URL, image, pair, sample
    rows_in: int
    outcomes: tuple[tuple[str, int], ...]    # reason (or what it became) and count, sorted by name

    def adds_up(self) -> bool:
        """Returns whether every row in has one outcome."""
        return self.rows_in == sum(count for _, count in self.outcomes)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """A finished stage."""

    stage: str
    out: str                                 # the output root; not part of the file
    folder: str                              # relative to the root
    format: int
    inputs: dict[str, str]                   # name -> digest of its manifest
    config: dict[str, Any]
    tables: dict[str, tuple[FileEntry, ...]]
    funnel: tuple[Funnel, ...]
    notes: tuple[str, ...] = ()              # loud lines: what was off, missing or cut
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)   # plain facts of the stage

    @property
    def digest(self) -> str:
        """Returns the sha256 hex of the manifest's bytes."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def directory(self) -> str:
        """Returns the stage folder with the root."""
        return storage.join(self.out, self.folder)

    def paths(self, table: str) -> tuple[str, ...]:
        """Returns the full names of a table's files."""
        return tuple(storage.join(self.directory, entry.name) for entry in self.tables[table])

    def rows(self, table: str) -> int:
        """Returns how many rows a table has."""
        return sum(entry.rows for entry in self.tables[table])

    def table_digest(self, table: str) -> str:
        """Returns the logical digest of a whole table."""
        return add_digests(int(entry.digest, 16) for entry in self.tables[table])

    def counters(self) -> dict[str, Any]:
        """Returns what became of what came in, as plain JSON values."""
        return {"stage": self.stage, "folder": self.folder, "notes": list(self.notes),
                "funnel": [{"unit": line.unit, "rows_in": line.rows_in, "outcomes": dict(line.outcomes)}
                           for line in self.funnel]}

    def encode(self) -> bytes:
        """Returns the bytes of `manifest.json`."""
        value = dataclasses.asdict(self)
        del value["out"], value["folder"]
        return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n").encode()


def read_manifest(out: str, folder: str) -> Manifest | None:
    """Returns the manifest of a stage folder, or None when the stage is not finished.

    Raises UsageError when a file it names is missing or has another size, or when it is damaged itself.
    """
    path = storage.join(out, folder, MANIFEST)
    if not storage.exists(path):
        return None
    try:
        manifest = decode_manifest(json.loads(storage.read_bytes(path)), out, folder)
    except (OSError, *_NOT_AS_WRITTEN) as error:
        raise UsageError(f"{path}: damaged ({type(error).__name__}: {error}); copy it again, or remove "
                         f"{storage.join(out, folder)} to build the stage again") from error
    for entries in manifest.tables.values():
        for entry in entries:
            file = storage.join(out, folder, entry.name)
            try:
                found = storage.size(file)
            except FileNotFoundError:
                found = -1
            if found != entry.bytes:
                raise UsageError(f"{file}: the manifest says {entry.bytes} bytes, there are {max(found, 0)}; "
                                 f"remove {storage.join(out, folder)} to build the stage again")
    return manifest


def decode_manifest(value: Any, out: str, folder: str) -> Manifest:
    """Returns the manifest that plain JSON values hold; raises what such values raise that are of something else."""
    tables = {name: tuple(from_row(FileEntry, entry | {"outcomes": [tuple(pair) for pair in entry["outcomes"]]})
                          for entry in entries) for name, entries in value["tables"].items()}
    funnel = tuple(Funnel(line["stage"], line["unit"], line["rows_in"],
                          tuple((name, count) for name, count in line["outcomes"])) for line in value["funnel"])
    return Manifest(stage=value["stage"], out=out, folder=folder, format=value["format"], inputs=value["inputs"],
                    config=value["config"], tables=tables, funnel=funnel, notes=tuple(value["notes"]),
                    extra=value["extra"])


@dataclasses.dataclass(frozen=True, slots=True)
class Stage:
    """A stage that is open for work: where its parts go, and how it is finished."""

    name: str
    out: str
    folder: str
    format: int
    inputs: dict[str, str]
    config: dict[str, Any]

    @classmethod
    def open(cls, out: str, name: str, version: int, config: Any, inputs: Mapping[str, str], *,
             fetches: bool = False, looks_only: bool = False) -> Stage:
        """Returns the stage of these inputs and this config, new, half done or finished.

        Args:
            inputs: name -> digest of the input (a manifest's digest, or the sha256 of a file such as the seeds).
            fetches: the stage talks to the network, so half of it is not to be left behind by a changed config.
            looks_only: nothing is written; what is refused is refused all the same.

        Raises UsageError when a half-finished fetch of another config lies in the same root.
        """
        if not looks_only and storage.exists(storage.join(out, PURGE)):
            raise UsageError(f"{out}: a purge was stopped half way ({PURGE}); run `imagebert shards remove {out} "
                             f"--purge` to end it")
        plain = as_dict(config)
        identity = digest({"inputs": dict(inputs), "config": plain, "format": version})
        folder = posixpath.join(name, identity[:12])
        stage = cls(name, out, folder, version, dict(inputs), plain)
        if fetches:
            _refuse_other_half(stage)
        if fetches and not looks_only:
            storage.replace_bytes(_open_path(stage), canonical_json(
                {"folder": stage.folder, "inputs": stage.inputs, "config": stage.config}).encode())
        return stage

    @property
    def directory(self) -> str:
        """Returns the stage folder with the root."""
        return storage.join(self.out, self.folder)

    def finished(self) -> Manifest | None:
        """Returns the manifest if the stage is done (and makes it the current one), else None."""
        manifest = read_manifest(self.out, self.folder)
        if manifest is not None:
            _point(self.out, self.name, self.folder)
            run_log.event("stage_found", **manifest.counters())
        return manifest

    def give_up(self) -> None:
        """Removes an unfinished stage that holds nothing worth keeping, so that a changed run can begin anew.

        On an object store nothing is removed: what lies under no manifest is never read.
        """
        if storage.is_remote(self.out) or storage.exists(storage.join(self.directory, MANIFEST)):
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        opened = _open_path(self)
        if storage.exists(opened):
            os.unlink(opened)

    def commit(self, tables: Mapping[str, Iterable[FileEntry]], funnel: Iterable[Funnel], *,
               notes: Iterable[str] = (), extra: Mapping[str, Any] | None = None, point: bool = True) -> Manifest:
        """Writes the manifest, makes the stage the current one (unless not `point`) and returns the manifest."""
        manifest = Manifest(
            stage=self.name, out=self.out, folder=self.folder, format=self.format, inputs=self.inputs,
            config=self.config, funnel=tuple(funnel), notes=tuple(notes),
            tables={name: tuple(sorted(entries, key=lambda entry: entry.name)) for name, entries in tables.items()},
            extra={"versions": recorded_versions()} | dict(extra or {}))
        for line in manifest.funnel:
            if not line.adds_up():
                raise AssertionError(f"the funnel of {self.name} does not add up: {line}")
        storage.commit_bytes(storage.join(self.directory, MANIFEST), manifest.encode())
        if point:
            _point(self.out, self.name, self.folder)
        run_log.event("stage_finished", **manifest.counters())
        return manifest


def recorded_versions() -> dict[str, str]:
    """Returns the installed versions of the libraries that shape bytes."""
    found = {}
    for name in _RECORDED_VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def current(out: str) -> dict[str, str]:
    """Returns stage name -> folder of the current set; empty for a new root."""
    path = storage.join(out, "dataset.json")
    if not storage.exists(path):
        return {}
    try:
        return {str(name): str(folder) for name, folder in json.loads(storage.read_bytes(path))["stages"].items()}
    except (OSError, *_NOT_AS_WRITTEN) as error:
        raise UsageError(f"{path}: damaged ({type(error).__name__}: {error}); copy it again, or remove it and run "
                         f"the same commands again: what is finished is found and not built twice") from error


def current_manifest(out: str, name: str) -> Manifest:
    """Returns the manifest of the current folder of a stage; raises UsageError where there is none."""
    folder = current(out).get(name)
    manifest = read_manifest(out, folder) if folder else None
    if manifest is None:
        raise UsageError(f"{out}: no finished stage {name!r} here; run `imagebert {name} --out {out}` "
                         f"or `imagebert dataset` first")
    return manifest


def _point(out: str, name: str, folder: str) -> None:
    stages = current(out)
    if stages.get(name) != folder:
        text = json.dumps({"stages": stages | {name: folder}}, sort_keys=True, indent=1) + "\n"
        storage.replace_bytes(storage.join(out, "dataset.json"), text.encode())


def _open_path(stage: Stage) -> str:
    return storage.join(stage.out, stage.name, "open.json")


def _refuse_other_half(stage: Stage) -> None:
    """Refuses to leave a half-finished fetch behind."""
    path = _open_path(stage)
    if storage.exists(path):
        try:
            other = json.loads(storage.read_bytes(path))
            folder, theirs = other["folder"], {"inputs": other["inputs"], "config": other["config"]}
        except (OSError, *_NOT_AS_WRITTEN) as error:
            raise UsageError(f"{path}: damaged ({type(error).__name__}: {error}); remove it, and run again with the "
                             f"settings of the run that was stopped") from error
        if folder != stage.folder and read_manifest(stage.out, folder) is None:
            ours = {"inputs": stage.inputs, "config": stage.config}
            raise UsageError(f"{stage.out}: a half-finished {stage.name} with other settings lies here "
                             f"({', '.join(_differences(theirs, ours))}); run it to its end with its own settings, "
                             f"or remove {storage.join(stage.out, folder)} to give it up")


def _differences(old: Any, new: Any, name: str = "") -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        return [line for key in sorted(old.keys() | new.keys())
                for line in _differences(old.get(key), new.get(key), f"{name}.{key}" if name else key)]
    return [] if old == new else [f"{name}: {str(old)[:40]!s} there, {str(new)[:40]!s} now"]


def funnel_of(stage: str, unit: str, entries: Iterable[FileEntry]) -> Funnel:
    """Returns the funnel of a table whose rows carry an `outcome`, counted from committed files."""
    totals: dict[str, int] = {}
    rows = 0
    for entry in entries:
        rows += entry.rows
        for name, count in entry.outcomes:
            totals[name] = totals.get(name, 0) + count
    return Funnel(stage, unit, rows, tuple(sorted(totals.items())))


def check_accounted(stage: Stage, unit: str, given: Iterable[FileEntry], found: Iterable[FileEntry]) -> None:
    """Raises UsageError unless a stage accounts for as many rows as it was given: an engine may lose some in silence.

    Seen: Beam's local runner with two worker processes, before crawl/runner.py switched its timer off.
    """
    wanted, counted = (sum(entry.rows for entry in entries) for entries in (given, found))
    if wanted != counted:
        raise UsageError(f"{stage.name}: {wanted:,} rows of {unit} were given and {counted:,} are accounted for; the "
                         f"engine lost rows, and nothing is committed: remove {stage.directory} and run again with "
                         f"--workers 1, or on a cluster")


def recorded_epoch() -> str:
    """Returns the `SOURCE_DATE_EPOCH` of this process, empty without one: a step takes it along to its workers."""
    return os.environ.get("SOURCE_DATE_EPOCH", "")


def record_as(epoch: str) -> None:
    """Makes this process record times as the driver does: a worker on a cluster has an environment of its own."""
    if epoch:
        os.environ["SOURCE_DATE_EPOCH"] = epoch
    else:
        os.environ.pop("SOURCE_DATE_EPOCH", None)


def recorded_time() -> str:
    """Returns the time to record with a fetch, ISO 8601 UTC with microseconds.

    `SOURCE_DATE_EPOCH` (reproducible-builds.org) fixes it, so that two runs over an unchanged web give equal bytes.
    """
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = (datetime.datetime.fromtimestamp(int(fixed), datetime.UTC) if fixed
              else datetime.datetime.now(datetime.UTC))
    return moment.strftime(_TIME)


def later(moment: str, seconds: int) -> str:
    """Returns the recorded time that is so many seconds after another.

    >>> later("2026-11-23T23:59:59.000001Z", 2)
    '2026-11-24T00:00:01.000001Z'
    """
    parsed = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return (parsed + datetime.timedelta(seconds=seconds)).strftime(_TIME)
