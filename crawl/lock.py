"""One run at a time in one output folder."""
from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from crawl.lease import Lease, LeaseLost, holder_of, is_alive_here

NAME = "run.lock"
_LIFE_S = 60.0                     # of the lease on an object store


class _TakenOverError(BaseException):
    """Raised where the main thread is when the lease is lost; nothing that handles an Exception may swallow it."""


@contextlib.contextmanager
def run_lock(out: str) -> Iterator[None]:
    """Holds OUT/run.lock while a command writes to OUT; raises UsageError when another run holds it.

    Local: a kernel lock, which ends with its process, so a killed run leaves nothing to clean up.  Object store: a
    lease (crawl/lease.py), renewed by a thread; of a run that was killed on another machine it has to run out first.
    """
    if storage.is_remote(out):
        with _lease(out):
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
            raise _in_use(out, _holder(path)) from None
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


@contextlib.contextmanager
def _lease(out: str, life_s: float = _LIFE_S) -> Iterator[None]:
    path = storage.join(out, NAME)
    lease = Lease(path, life_s)
    try:
        _take(out, lease, life_s)
    except OSError as error:
        raise UsageError(f"{out}: cannot write to the output: {error}; name another with --out") from error
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(life_s / 10):
            try:
                lease.keep()
            except LeaseLost:
                signal.pthread_kill(main, signal.SIGUSR2)
                return

    def stop(*_: Any) -> None:
        if not ended.is_set():
            raise _TakenOverError
    # Not SIGINT: a command that a script starts in the background ignores it, and would go on writing.
    main, before = threading.get_ident(), signal.signal(signal.SIGUSR2, stop)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    except _TakenOverError:
        raise UsageError(f"{out}: another run took this output over while the storage could not be reached or this one "
                         f"was paused; run the same command again when that one has ended") from None
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGUSR2, before)
        lease.release()


def _take(out: str, lease: Lease, life_s: float) -> None:
    """Takes the lease; raises UsageError as soon as it is known that its holder runs."""
    first = storage.read_version(lease.path)
    said = False
    while not lease.take():
        if is_alive_here(lease.path) or storage.read_version(lease.path) != first:
            raise _in_use(out, holder_of(lease.path))
        if not said:
            print(f"imagebert: {out}: held by {holder_of(lease.path)}; waiting up to {1.1 * life_s:.0f} s to see "
                  f"whether that run is still alive", file=sys.stderr, flush=True)
            said = True
        time.sleep(life_s / 60)


def _in_use(out: str, holder: str) -> UsageError:
    return UsageError(f"{out}: in use by another run ({holder}); wait for it to end, "
                      f"stop it, or name another folder with --out")
