"""Work for a sandbox that does what hostile bytes might make a parser do."""
from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from typing import Any

from crawl.sandbox import FRAME, Work


def open_work(settings: Any) -> Work:
    """Returns work whose header says what to do with the body."""
    return _work


def open_nothing(settings: Any) -> Work:
    """Raises, as the import of a missing library would."""
    raise ImportError("no module named \x1b[31mlexbor")


def _work(header: Any, body: bytes) -> tuple[Any, bytes]:
    _DEEDS[header](body)
    return [header, len(body)], body[::-1]


def _segfault(body: bytes) -> None:
    ctypes.string_at(0)


def _hang(body: bytes) -> None:
    while True:
        time.sleep(1)


def _hang_unalarmed(body: bytes) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    _hang(body)


def _allocate(body: bytes) -> None:
    kept = []
    while True:
        kept.append(bytes(64 << 20))


def _flood(body: bytes) -> None:
    for _ in range(200):
        os.write(1, b"\x1b]0;flood\x07" * 4096)
        os.write(2, b"\xff\x00" * 4096)
    print("not a frame", flush=True)
    sys.stderr.flush()


def _open_file(body: bytes) -> None:
    with open("/etc/hostname", "rb") as file:
        file.read()


def _show_limits(body: bytes) -> None:
    names = ("RLIMIT_CORE", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
    if any(resource.getrlimit(getattr(resource, name)) != (0, 0) for name in names):
        raise RuntimeError("what is not needed was not given up")


def _lie(body: bytes) -> None:
    # 3 is where the answers go.
    os.write(3, FRAME.pack(2**31, 2**31))
    _hang(body)


def _nonsense(body: bytes) -> None:
    nested = b"[" * 100_000
    os.write(3, FRAME.pack(len(nested), 0) + nested)


def _fork_like_exit(body: bytes) -> None:
    os._exit(0)


def _raise(body: bytes) -> None:
    raise RuntimeError("a bug, or a page that finds one: \x1b[2J")


_COUNT = [0]


def _third_time(body: bytes) -> None:
    """Dies of what came before it, not of itself."""
    _COUNT[0] += 1
    if _COUNT[0] == 3:
        ctypes.string_at(0)


_DEEDS = {"good": len, "segfault": _segfault, "hang": _hang, "hang_unalarmed": _hang_unalarmed, "allocate": _allocate,
          "flood": _flood, "open_file": _open_file, "lie": _lie, "nonsense": _nonsense, "exit": _fork_like_exit,
          "raise": _raise, "third_time": _third_time, "show_limits": _show_limits}
