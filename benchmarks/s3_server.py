"""An S3 server on loopback and a bucket in it: moto's, which knows conditional requests, or the quick gofakes3."""
from __future__ import annotations

import contextlib
import os
import pathlib
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

# `make test-s3` and `make bench-object-store` install it and name it.
PROGRAM = os.environ.get("IMAGEBERT_S3_SERVER", "")
MISSING = "no S3 server: IMAGEBERT_S3_SERVER names moto_server; `make test-s3` installs it"
# Made of letters that stand nowhere else, so that a test can look for them in all that a run writes.
KEY, SECRET, TOKEN = "AKIALOOPBACKNOWHERE1", "loopback-secret-that-stands-nowhere", "loopback-token-that-stands-nowhere"
SECRETS = frozenset({KEY, SECRET, TOKEN})
BUCKET = "a-bucket"


@contextlib.contextmanager
def s3_server(folder: pathlib.Path, program: str = PROGRAM) -> Iterator[int]:
    """Yields the port of a server with an empty bucket; `program` is moto_server or gofakes3."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (["-backend", "memory", "-host", f"127.0.0.1:{port}"] if program.endswith("gofakes3")
               else ["-H", "127.0.0.1", "-p", str(port)])
    with open(folder / "s3.log", "wb") as log, subprocess.Popen([program, *options], stdout=log, stderr=log) as process:
        try:
            _wait(process, port)
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")).close()
            yield port
        finally:
            process.terminate()


def environment(url: str) -> dict[str, str]:
    """Returns the variables by which any program finds this server: the usual chain, and nothing else."""
    return {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return
        time.sleep(0.2)
    raise RuntimeError("the S3 server did not come up")
