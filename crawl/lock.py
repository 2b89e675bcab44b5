"""One run at a time in one output folder."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterator

from crawl import storage
from crawl.errors import UsageError

NAME = "run.lock"


@contextlib.contextmanager
def run_lock(out: str) -> Iterator[None]:
    """Holds OUT/run.lock while a command writes to OUT; raises UsageError when another run holds it.

    The kernel drops the lock with the process, so a killed run leaves nothing to clean up.  An object store has no such
    lock: there every name is created once, and two runs of one config write equal bytes.
    """
    if storage.is_remote(out):
        yield
        return
    path = storage.join(out, NAME)
    try:
        os.makedirs(out, exist_ok=True)
        file = open(path, "a+", encoding="utf-8")       # noqa: SIM115  (closed below; `w` would erase the holder)
    except OSError as error:
        raise UsageError(f"{out}: cannot write to the output folder: {error.strerror}; "
                         f"name another with --out") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"{out}: in use by another run ({_holder(path)}); wait for it to end, "
                             f"stop it, or name another folder with --out") from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)[:500]}) + "\n")
        file.flush()
        yield


def _holder(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            value = json.loads(file.read(4096))
        return f"pid {value['pid']}: {value['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "its pid is not written yet"
