"""Checkpoints on an object store (s3://, gs://), so that a run outlives its machine.

    URL/checkpoint.json                      the current one: its folder, where it is in the plan, sha256 of each file
    URL/checkpoints/0-align-00000400-9f2c…/  its files, and below run/ what lies beside checkpoints: logs, config

A folder is named after its state's sha256 and written before the pointer; the current one and the one before stay.  A
store that is out of reach stops nothing: a line says so, and the next checkpoint is copied instead.
"""
from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import threading
import time
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from train.checkpoint import POINTER, find_checkpoint, folder_name, read_state, state_digest

_BESIDE = "run"
_FOLDERS = "checkpoints"
_NOT_OURS = (POINTER, "run.lock")
_WAITED_S, _PAUSE_S = 600.0, 1.0


class Copier:
    """Copies the current checkpoint of `out` in a thread of its own: neither training nor a save waits for it."""

    def __init__(self, url: str, out: str) -> None:
        self._url, self._out = url, out
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = False           # one more copy, once the one on its way is there
        self._failure: BaseException | None = None

    def copy(self) -> None:
        """Begins to copy; while a copy is on its way, the newest checkpoint is copied after it.

        Raises what an earlier copy raised, but for a store that was out of reach.
        """
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="sync")
                self._thread.start()

    def close(self) -> None:
        """Returns when nothing is being copied; says what went wrong with the last copy."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._failure is not None:
            self._warn(self._failure)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                push(self._url, self._out)
            except storage.StoreUsageError as error:
                self._warn(error)                  # the next one will be tried
            except Exception as error:             # raised again in a thread that can stop the run
                with self._lock:
                    if not (isinstance(error, FileNotFoundError) and self._wanted):      # it made room for newer ones
                        self._failure, self._wanted = error, False

    def _warn(self, error: BaseException) -> None:
        print(f"warning: the checkpoint is in {self._out}, but not copied to {self._url}: {error}", file=sys.stderr,
              flush=True)


def push(url: str, out: str) -> None:
    """Copies the current checkpoint of `out` with the logs beside it; does nothing where it is there already."""
    folder = find_checkpoint(out)
    if folder is None:
        return
    state, found = read_state(folder), _pointer(url)
    name = f"{folder_name(state)}-{state_digest(folder)[:12]}"
    if found is not None and found["current"] == name:
        return
    digests = {file: _store(os.path.join(folder, file), storage.join(url, name, file))
               for file in sorted(os.listdir(folder))}
    digests |= {f"{_BESIDE}/{file}": _store_log(os.path.join(out, file), storage.join(url, name, _BESIDE, file))
                for file in _beside(out)}
    pointer = {"current": name, "before": found["current"] if found else "", "stage": state.stage, "step": state.step,
               "files": digests}
    storage.replace_bytes(storage.join(url, POINTER), json.dumps(pointer, indent=1, sort_keys=True).encode())
    for old in storage.folders_in(storage.join(url, _FOLDERS)):
        if f"{_FOLDERS}/{old}" not in (name, pointer["before"]):
            storage.remove_below(storage.join(url, _FOLDERS, old), first="state.json")


def fetch_newer(url: str, out: str, resume: bool, first: bool = True) -> None:
    """Makes the checkpoint of the store that of `out`, where it is further on than the one that is there.

    Processes of torchrun other than the `first` wait until it has done so.  Raises UsageError where the store holds a
    run and none is to be resumed, and for damaged bytes.
    """
    if not storage.is_remote(url) or url.startswith("http"):
        raise UsageError(f"--sync {url}: give a folder on an object store, s3://BUCKET/PATH or gs://BUCKET/PATH; --out "
                         f"is the folder on a disk")
    pointer = _pointer(url)
    if pointer is not None and not resume and first:
        raise UsageError(f"--sync {url} already holds a run; add --resume to go on with it, or give another")
    deadline = time.monotonic() + _WAITED_S
    while pointer is not None and _behind(out, pointer):
        if first:
            _fetch_all(url, out, pointer)
        elif time.monotonic() > deadline:
            raise UsageError(f"{out}: the first process was to put the checkpoint of {url} here, and has not within "
                             f"{_WAITED_S:.0f} s; --out must be a folder that all nodes share")
        else:
            time.sleep(_PAUSE_S)


def _behind(out: str, pointer: dict[str, Any]) -> bool:
    folder = find_checkpoint(out)
    if folder is None:
        return True
    state = read_state(folder)
    return (state.stage + state.finished, state.step) < (pointer["stage"], pointer["step"])


def _fetch_all(url: str, out: str, pointer: dict[str, Any]) -> None:
    local = os.path.join(out, pointer["current"].rpartition("-")[0])
    temporary = local + ".tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    for file, wanted in sorted(pointer["files"].items()):
        beside = file.startswith(_BESIDE + "/")
        path = os.path.join(out, os.path.basename(file)) if beside else os.path.join(temporary, os.path.basename(file))
        _fetch(storage.join(url, pointer["current"], file), path, wanted)
    shutil.rmtree(local, ignore_errors=True)
    os.replace(temporary, local)
    storage.replace_bytes(os.path.join(out, POINTER),
                          json.dumps({"current": os.path.relpath(local, out)}, indent=1).encode())


def _store(path: str, url: str) -> str:
    """Copies a file that nobody writes to any more; returns its sha256."""
    storage.upload(path, url)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _store_log(path: str, url: str) -> str:
    """Copies a file that may grow meanwhile; returns the sha256 of what was copied."""
    with open(path, "rb") as file:
        data = file.read()
    storage.replace_bytes(url, data)
    return hashlib.sha256(data).hexdigest()


def _fetch(source: str, path: str, wanted: str) -> None:
    with storage.opened(source) as remote, open(path + ".part", "wb") as file:
        shutil.copyfileobj(remote, file, storage.WINDOW)
    with open(path + ".part", "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise UsageError(f"{source}: its sha256 is {found[:12]}, checkpoint.json says {wanted[:12]}; remove the folder "
                         f"and put the one before it into checkpoint.json, or resume from a disk without --sync")
    os.replace(path + ".part", path)


def _beside(out: str) -> list[str]:
    """Returns the files of a run folder that belong to its checkpoints: logs, config, the extractor."""
    return [name for name in sorted(os.listdir(out)) if os.path.isfile(os.path.join(out, name))
            and name not in _NOT_OURS and not name.endswith((".tmp", ".part", ".lock"))]


def _pointer(url: str) -> dict[str, Any] | None:
    path = storage.join(url, POINTER)
    try:
        found = json.loads(storage.read_bytes(path))
        if not (isinstance(found["current"], str) and isinstance(found["files"], dict)):
            raise TypeError("no current checkpoint")
        return {"stage": 0, "step": 0, **found}
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path}: not the pointer to a checkpoint ({error}); give another --sync") from error
