"""The process that touches hostile bytes, and may die of it: pages are parsed and images decoded in here only.

    python -m crawl.sandbox MODULE:FACTORY SETTINGS MEMORY_BYTES ITEM_SECONDS

Started by crawl/sandbox_process.py, never forked from a threaded worker.  MODULE:FACTORY is a name that our own code
gives; FACTORY(settings) loads whatever the work will ever need and returns `work(header, body) -> (value, body)`.  Then
the process gives up what it does not need (memory, time, files, core dumps) and answers requests until its input ends.

A frame on either pipe: u32 length of JSON, u32 length of body (little-endian), the JSON (UTF-8), the body.
    request   JSON = header of the item
    answer    JSON = [value], or ["", why] with why: crashed, out_of_memory; one an item, in order; the first frame of
              all is the answer [true]: the work is loaded and the limits hold

Nothing of the answer is trusted by the parent.  Standard output of the work itself goes to standard error.
"""
from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

FRAME = struct.Struct("<II")
Work = Callable[[Any, bytes], tuple[Any, bytes]]


def main() -> None:
    """Serves standard input until it ends."""
    name, settings, memory, seconds = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)                      # what a library prints must not look like an answer
    work = opened(name, json.loads(settings))
    confine(int(memory))
    serve(work, sys.stdin.buffer, answers, float(seconds))


def opened(name: str, settings: Any) -> Work:
    """Returns the work that MODULE:FACTORY makes."""
    module, _, factory = name.partition(":")
    return getattr(importlib.import_module(module), factory)(settings)


def confine(memory: int) -> None:
    """Gives up, for good, what parsing and decoding do not need."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))     # the open pipes stay, nothing can be opened or dialled
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM, signal.SIGXCPU})


def serve(work: Work, requests: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    """Answers every request in order; a request that runs longer than `seconds` ends the process by SIGALRM.

    The alarm is the kernel's: it ends a loop in C, and a process whose parent was killed.  (The parent-death signal is
    not used: it comes when the parent's *thread* ends, and Beam's threads come and go.)
    """
    _answer(answers, [True])
    while len(prefix := requests.read(FRAME.size)) == FRAME.size:
        header_length, body_length = FRAME.unpack(prefix)
        header, body = json.loads(requests.read(header_length)), requests.read(body_length)
        _arm(seconds)
        try:
            value, blob = work(header, body)
            encoded = _encode([value])
        except MemoryError:
            encoded, blob = _encode(["", "out_of_memory"]), b""
        except Exception:
            traceback.print_exc()
            encoded, blob = _encode(["", "crashed"]), b""
        signal.setitimer(signal.ITIMER_REAL, 0)
        _write(answers, encoded, blob)


def _arm(seconds: float) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Processor time as well, for work that blocks the alarm.
    limit = int(used.ru_utime + used.ru_stime + seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _encode(answer: list[Any]) -> bytes:
    # A lone surrogate of a page must not end the process; the parent reads it the same way.
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _answer(answers: BinaryIO, answer: list[Any]) -> None:
    _write(answers, _encode(answer), b"")


def _write(answers: BinaryIO, encoded: bytes, blob: bytes) -> None:
    answers.write(FRAME.pack(len(encoded), len(blob)))
    answers.write(encoded)
    answers.write(blob)
    answers.flush()


if __name__ == "__main__":
    main()
