"""A set in a folder that nobody may write to: what reads works and changes nothing, what writes is one clear line."""
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.request

import pytest

from tests.shards.made_root import made_root

_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE = 24, 1
_CODE = """
import contextlib, io, json, sys, imagebert
for words in json.loads(sys.argv[1]):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = imagebert.main(words)
        except SystemExit as ended:
            status = ended.code
    print(json.dumps([status, out.getvalue(), err.getvalue()]))
"""


def without_override() -> None:
    """Takes the right from root to write where the mode of a file forbids it; anybody else has none."""
    if os.geteuid() == 0 and ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0):
        raise OSError("the capability cannot be dropped here")


def told(commands: list[list[str]]) -> list[tuple[int, str, str]]:
    """Runs commands in one process that modes of files bind; returns status, output and error of each."""
    ended = subprocess.run([sys.executable, "-c", _CODE, json.dumps(commands)], preexec_fn=without_override,
                           capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return [tuple(json.loads(line)) for line in ended.stdout.splitlines()]


def everything(root: pathlib.Path) -> dict[str, tuple[int, bytes]]:
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
            for path in [root, *root.rglob("*")]}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory):
    """Returns a root and tars of others beside it, all of it read-only, and a key."""
    folder = tmp_path_factory.mktemp("read-only")
    samples = made_root(str(folder / "root"), 12)
    (folder / "theirs").mkdir()
    shutil.copy(next((folder / "root").glob("shards/*/train/lait-jpg-000000.tar")), folder / "theirs" / "a.tar")
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    yield folder, samples[3].best.key
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def test_it_is_really_locked(locked):
    ended = subprocess.run([sys.executable, "-c", "open(__import__('sys').argv[1], 'w')", str(locked[0] / "root/x")],
                           preexec_fn=without_override, capture_output=True, text=True)
    assert "PermissionError" in ended.stderr


def test_what_reads_works_and_leaves_no_trace(locked, tmp_path):
    folder, key = locked
    root = str(folder / "root")
    before = everything(folder)
    commands = [[*words, "--json"] if words[1] not in ("card",) else words for words in (
        ["shards", "stats", root], ["shards", "ls", root], ["shards", "show", root, key],
        ["shards", "show", root, key, "--draw", "--save", str(tmp_path / "one.png")],
        ["shards", "sample", root, "--out", str(tmp_path / "sheet.html")], ["shards", "validate", root],
        ["shards", "diff", root, root], ["shards", "card", root], ["shards", "remove", root, "--key", key, "--dry-run"],
        ["shards", "index", str(folder / "theirs" / "a.tar"), "--out", str(tmp_path / "index")],
        ["shards", "stats", str(tmp_path / "index")], ["shards", "reshard", root, "--out", str(tmp_path / "again")])]
    for words, (status, _, error) in zip(commands, told(commands), strict=True):
        assert status == 0, (words, error)
    assert everything(folder) == before
    assert (tmp_path / "one.png").stat().st_size and (tmp_path / "sheet.html").stat().st_size


def test_the_browser_of_samples_serves_it(locked, tmp_path):
    folder, key = locked
    before = everything(folder)
    with subprocess.Popen([sys.executable, "-m", "imagebert", "shards", "serve", str(folder / "root"), "--port", "0"],
                          preexec_fn=without_override, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http"))
            for path in ("", f"/sample/1/{key}"):
                with urllib.request.urlopen(address.rstrip("/") + path, timeout=30) as answer:
                    assert answer.status == 200
        finally:
            server.terminate()
            server.wait(30)
    assert everything(folder) == before


def test_what_writes_is_one_line_that_names_the_folder(locked):
    folder, key = locked
    root = str(folder / "root")
    before = everything(folder)
    commands = [["shards", "remove", root, "--key", key], ["shards", "remove", root, "--rewrite"],
                ["shards", "remove", root, "--purge"], ["shards", "reshard", root, "--max-samples", "3"],
                ["shards", "report", root], ["shards", "build", "--run", "demo", "--out", root],
                ["regions", "--out", root, "--run", "demo"],
                ["shards", "index", str(folder / "theirs" / "a.tar"), "--out", str(folder / "theirs")],
                ["shards", "card", root, "--out", str(folder / "card")],
                ["shards", "show", root, key, "--save", str(folder / "one.jpg")],
                ["shards", "sample", root, "--out", str(folder / "sheet.png")]]
    for words, (status, output, error) in zip(commands, told(commands), strict=True):
        assert status == 2 and not output, (words, status, output, error)
        assert str(folder) in error.splitlines()[-1] and "Traceback" not in error, (words, error)
    assert everything(folder) == before
