"""One run at a time in one folder."""
from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from crawl import lock, storage
from crawl.errors import UsageError
from crawl.lease import Lease, Record
from crawl.lock import run_lock

HOLD = """
import sys
from crawl.lock import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told_who_holds_the_folder_and_a_killed_one_holds_nothing(tmp_path: pathlib.Path) -> None:
    out = str(tmp_path / "out")
    holder = subprocess.Popen([sys.executable, "-c", HOLD, out], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match=f"pid {holder.pid}.*--out") as caught, run_lock(out):
            pass
        assert out in str(caught.value)
    finally:
        holder.kill()
        holder.communicate()
    with run_lock(out):
        assert str(os.getpid()) in pathlib.Path(out, "run.lock").read_text()
    with run_lock(out):
        pass


def test_a_folder_that_cannot_be_made(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), run_lock(str(tmp_path / "file" / "out")):
        pass


def of_another_machine(path: str, life_s: float) -> None:
    """Makes the lease under a name look as if a process of another machine held it."""
    found = storage.read_version(path)
    if found is None:
        Lease(path, life_s).take()
        found = storage.read_version(path)
    assert found is not None
    record = dataclasses.replace(Record(**json.loads(found.data)), machine="elsewhere", nonce=os.urandom(4).hex())
    assert storage.swap_bytes(path, record.encode(), found)


def test_an_object_store_is_locked_too() -> None:
    out = "memory://lock/one"
    in_use = pytest.raises(UsageError, match=f"{out}: in use by another run .pid {os.getpid()}.*--out")
    with run_lock(out), in_use, run_lock(out):
        pass
    with run_lock(out):                                # given back: free at once
        pass


@pytest.mark.parametrize("place", ["local", "memory"])
def test_a_second_run_ends_with_one_line_and_status_2(place: str, tmp_path: pathlib.Path,
                                                      capsys: pytest.CaptureFixture[str]) -> None:
    import imagebert
    out = str(tmp_path / "out") if place == "local" else "memory://lock/four"
    (tmp_path / "seeds.txt").write_text("https://a.example/\n")
    with run_lock(out):
        assert imagebert.main(["crawl", "--seeds", str(tmp_path / "seeds.txt"), "--out", out,
                               "--contact", "https://me.example/crawler"]) == 2
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith(f"imagebert: {out}: in use by another run (pid {os.getpid()}")


def test_a_run_elsewhere_that_renews_is_alive_and_one_that_does_not_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    path = storage.join("memory://lock/two", lock.NAME)
    of_another_machine(path, 0.6)
    renewal = threading.Timer(0.2, of_another_machine, (path, 0.6))
    renewal.start()
    with pytest.raises(UsageError, match="in use by another run .pid .* of another machine"), \
            lock._lease("memory://lock/two", 0.6):
        pass
    renewal.join()
    assert "waiting up to 1 s" in capsys.readouterr().err
    begun = time.monotonic()
    with lock._lease("memory://lock/two", 0.6):
        assert time.monotonic() - begun > 0.6


def test_a_run_whose_lock_was_taken_over_stops_with_one_line(request) -> None:
    """Also one that ignores SIGINT, as what a script starts in the background does."""
    path = storage.join("memory://lock/three", lock.NAME)
    began, before = time.monotonic(), signal.signal(signal.SIGINT, signal.SIG_IGN)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with pytest.raises(UsageError, match="another run took this output over"), lock._lease("memory://lock/three", 0.3):
        found = storage.read_version(path)
        assert found is not None
        record = dataclasses.replace(Record(**json.loads(found.data)), holder="other")
        while not storage.swap_bytes(path, record.encode(), storage.read_version(path)):
            pass
        time.sleep(60)
    assert time.monotonic() - began < 50                      # it does not wait for what the main thread waits for
