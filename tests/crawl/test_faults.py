"""What breaks around a crawl: the disk fills, a server takes the call and says nothing, a name has no address."""
from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from crawl import tables
from crawl.errors import UsageError
from crawl.fetch_shard import fetch_shard
from crawl.parts import PartLimits, committed
from crawl.records import FetchLog
from tests.crawl.loopback import PAGE, quick, serving, write_list

GIVEN = [f"http://h{n % 5}.test/{n}" for n in range(40)]
FULL = """
import resource, sys
from crawl.errors import UsageError
from crawl.fetch_shard import fetch_shard
from crawl.parts import PartLimits
from tests.crawl.loopback import Web, quick
web = Web()
web.port = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[5]), resource.RLIM_INFINITY))
try:
    for part in fetch_shard(sys.argv[2], sys.argv[3], sys.argv[4], quick(), web.network(), 2, "page",
                            limits=PartLimits(rows=10)):
        print(part.index, flush=True)
except UsageError as error:
    print(error, file=sys.stderr)
    raise SystemExit(2)
"""


def log_rows(directory, parts):
    return [row for part in parts for row in tables.read_table(f"{directory}/{part.log.name}", FetchLog)]


@pytest.mark.parametrize("limit", [3_000, 6_000])       # within the WARC part; within a table
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path: pathlib.Path, limit: int) -> None:
    directory, out = f"{tmp_path}/out/s/abc", f"{tmp_path}/out"
    with serving() as web:
        for url in GIVEN[:10]:
            web.on(url, body=PAGE + os.urandom(200 if limit == 3_000 else 10))
        path = write_list(str(tmp_path), GIVEN)
        done = subprocess.run([sys.executable, "-c", FULL, str(web.port), path, directory, out, str(limit)],
                              capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        line, = done.stderr.splitlines()
        assert f"{directory}/shard-0007/" in line and "make room" in line and "run the same command again" in line
        kept = list(committed(directory, 7))
        for folder, _, names in os.walk(out):
            assert not [name for name in names if name.endswith(".tmp")], folder
        for part in kept:                                # what has a final name is whole
            for entry in (part.bytes, part.log, part.hosts):
                assert os.path.getsize(f"{directory}/{entry.name}") == entry.bytes
        parts = list(fetch_shard(path, directory, out, quick(), web.network(), 2, "page", limits=PartLimits(rows=10)))
    assert parts[:len(kept)] == kept
    assert sorted(row.url for row in log_rows(directory, parts)) == sorted(GIVEN)


def test_no_room_at_any_write_is_a_usage_error_that_names_the_file(tmp_path: pathlib.Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    from crawl import storage

    def full(file):
        raise OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    for write in (storage.commit_bytes, storage.replace_bytes):
        with pytest.raises(UsageError, match=f"{tmp_path}/x/a.json: No space left on device; make room"):
            write(f"{tmp_path}/x/a.json", b"{}")
    assert os.listdir(tmp_path / "x") == []


def test_a_server_that_accepts_and_never_answers(tmp_path: pathlib.Path) -> None:
    directory, out = f"{tmp_path}/out/s/abc", f"{tmp_path}/out"
    with serving() as web, socket.create_server(("127.0.0.1", 0)) as silent:
        network = web.network(connect_to=(f"silent.test:80:127.0.0.1:{silent.getsockname()[1]}",
                                          f"::127.0.0.1:{web.port}"))
        path = write_list(str(tmp_path), ["http://silent.test/1", "http://silent.test/2", *GIVEN[:10]])
        policy = quick(robots_timeout_s=0.3, page_timeout_s=0.3, retries=1)
        rows = {row.url: row for row in log_rows(directory, fetch_shard(
            path, directory, out, policy, network, 2, "page"))}
    assert {rows[url].outcome for url in GIVEN[:10]} == {"ok"}
    assert {rows[f"http://silent.test/{n}"].outcome for n in (1, 2)} == {"deferred_robots_unreachable"}


def test_a_name_without_an_address(tmp_path: pathlib.Path) -> None:
    directory, out = f"{tmp_path}/out/s/abc", f"{tmp_path}/out"
    with serving() as web:
        network = web.network(connect_to=("gone.test:80:nowhere.invalid:80", f"::127.0.0.1:{web.port}"))
        path = write_list(str(tmp_path), ["http://gone.test/1", *GIVEN[:10]])
        rows = {row.url: row for row in log_rows(directory, fetch_shard(
            path, directory, out, quick(), network, 2, "page"))}
    assert rows.pop("http://gone.test/1").outcome == "dns_error"
    assert {row.outcome for row in rows.values()} == {"ok"}
