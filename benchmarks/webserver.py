"""The synthetic web in a process of its own, for benchmarks and the long tests."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

IMAGEBERT = [sys.executable, "-m", "imagebert"]


@contextlib.contextmanager
def synthetic_web(folder: pathlib.Path, images: int, seed: int = 1, profile: str = "first",
                  port: int = 0, tls_port: int = 0) -> Iterator[pathlib.Path]:
    """Yields the path of the ready file of a running `imagebert web`; its access log lies beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / "web.json"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen(
        [*IMAGEBERT, "web", "--images", str(images), "--seed", str(seed), "--profile", profile, "--port", str(port),
         "--tls-port", str(tls_port), "--access-log", str(folder / "access.jsonl"), "--ready", str(ready)],
        start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 300
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"imagebert web did not come up (exit status {process.returncode})")
            time.sleep(0.1)
        yield ready
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


def requests_seen(folder: pathlib.Path) -> list[dict[str, object]]:
    """Returns the access log as rows of host, path, status and time."""
    return [json.loads(line) for line in (folder / "access.jsonl").read_text().splitlines()]
