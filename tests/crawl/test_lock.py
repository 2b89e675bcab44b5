"""One run at a time in one folder."""
from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from crawl.errors import UsageError
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
