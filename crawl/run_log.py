"""What a run did, for machines: one JSON object a line, `--log-json FILE` or `-` for standard error.

    {"event": "job_started", "job": "crawl: select round 0", "stage": "crawl", "time": "2026-11-23T11:00:00.000000Z"}

Events: started, job_started, progress, job_ended, stage_finished, stage_found, ended, failed.  Text of the web is
escaped by JSON itself: a line holds printable ASCII and nothing else (S14).  Nothing reads this log back.
"""
from __future__ import annotations

import contextlib
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any, TextIO

from crawl.errors import UsageError

_lock = threading.Lock()           # a step reports from the runner's thread
_file: TextIO | None = None


def event(name: str, **fields: Any) -> None:
    """Writes a line where a log is open; the line is whole when this returns."""
    if _file is None:
        return
    from crawl.stages import recorded_time  # which reports its own events here
    with _lock:
        if _file is not None:
            _file.write(json.dumps({"event": name, "time": recorded_time()} | fields, sort_keys=True) + "\n")
            _file.flush()


def stage_of(job: str) -> str:
    """Returns the stage that a job belongs to.

    >>> stage_of("crawl: select round 0"), stage_of("judge")
    ('crawl', 'judge')
    """
    return job.partition(":")[0]


def is_on_standard_error() -> bool:
    """Returns whether the log goes where a progress bar would be."""
    return _file is sys.stderr


@contextlib.contextmanager
def writing(path: str, command: str) -> Iterator[None]:
    """Opens the log of a command for its time, "" for none; raises UsageError where it cannot be written."""
    global _file
    if not path:
        yield
        return
    try:
        file = sys.stderr if path == "-" else open(path, "a", encoding="ascii")     # noqa: SIM115, closed below
    except OSError as error:
        raise UsageError(f"--log-json {path}: cannot write there ({error.strerror}); "
                         "name another file, or - for standard error") from error
    _file = file
    event("started", command=command)
    try:
        yield
        event("ended")
    except BaseException as error:
        event("failed", error=type(error).__name__, message=str(error)[:2000])
        raise
    finally:
        with _lock:
            _file = None
        if file is not sys.stderr:
            file.close()
