"""Who fetches when there are two: a bundle executed twice, a paused holder that comes back, redirects between shards.

What is asserted is what the servers saw.
"""
from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from crawl import tables
from crawl.fetch_shard import fetch_shard
from crawl.frontier import shard_of
from crawl.lease import Lease
from crawl.parts import PartLimits, committed
from crawl.records import FetchLog, FetchRow
from tests.crawl.loopback import quick, row, serving, write_list

DELAY = 0.1
SLACK = 0.03                       # of a busy machine between two clocks
HOSTS = [f"h{n}.test" for n in range(4)]
GIVEN = [f"http://{HOSTS[n % 4]}/{n}" for n in range(60)]
# A server that gets no CPU time for as long as this notes a request that its client has long given up, beside the next.
TIMEOUT_S = 1.2
SHORT = {f"{kind}_timeout_s": TIMEOUT_S for kind in ("page", "robots", "image", "connect")}
LEASE_S = 3.0


@pytest.fixture()
def web():
    with serving() as found:
        yield found


def smallest_gap(web):
    """Seconds between the closest two requests to one host."""
    gaps = []
    for host in {name for _, name, _ in web.log}:
        times = sorted(at for at, name, _ in web.log if name == host)
        gaps += [after - before for before, after in zip(times, times[1:], strict=False)]
    return min(gaps)


def urls_of(directory, parts):
    return [found.url for part in parts for found in tables.read_table(f"{directory}/{part.log.name}", FetchLog)]


def test_a_bundle_executed_twice_is_fetched_once(web, tmp_path):
    path, directory = write_list(str(tmp_path), GIVEN), f"{tmp_path}/out/s/abc"
    got = {}

    def execute(name):
        got[name] = list(fetch_shard(path, directory, f"{tmp_path}/out", quick(), web.network(min_delay_s=0.02), 2,
                                     "page", limits=PartLimits(rows=7)))
    threads = [threading.Thread(target=execute, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got["a"] == got["b"] == list(committed(directory, 7))
    assert sorted(urls_of(directory, got["a"])) == sorted(GIVEN)
    assert sorted(f"http://{host}{path}" for _, host, path in web.log if path.strip("/").isdigit()) == sorted(GIVEN)


def test_a_second_execution_gives_up_in_the_end(web, tmp_path, monkeypatch):
    path, directory = write_list(str(tmp_path), GIVEN), f"{tmp_path}/out/s/abc"
    assert Lease(f"{directory}/shard-0007/work.lease", 900).take()
    with pytest.raises(TimeoutError, match=rf"shard-0007/work.lease: held by pid {os.getpid()} for longer"):
        list(fetch_shard(path, directory, f"{tmp_path}/out", quick(shard_seconds=0.1), web.network(), 2, "page",
                         lease_s=0.1))
    assert not web.log


CHILD = """
import sys
from crawl.fetch_shard import fetch_shard
from crawl.parts import PartLimits
from tests.crawl.loopback import Web, quick
from tests.crawl.test_takeover import DELAY, LEASE_S, SHORT
web = Web()
web.port = int(sys.argv[1])
for part in fetch_shard(sys.argv[2], sys.argv[3], sys.argv[4], quick(**SHORT), web.network(min_delay_s=DELAY), 2,
                        "page", limits=PartLimits(rows=7), lease_s=LEASE_S):
    print(part.index, flush=True)
"""


def test_a_paused_holder_that_comes_back_neither_dials_nor_commits(web, tmp_path):
    path, directory = write_list(str(tmp_path), GIVEN), f"{tmp_path}/out/s/abc"
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(web.port), path, directory, f"{tmp_path}/out"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert child.stdout.readline() == "0\n"
        time.sleep(0.25)                                     # in the middle of a part
        os.kill(child.pid, signal.SIGSTOP)
        paused_at, parts = time.monotonic(), []
        for part in fetch_shard(path, directory, f"{tmp_path}/out", quick(**SHORT), web.network(min_delay_s=DELAY), 2,
                                "page", limits=PartLimits(rows=7), lease_s=LEASE_S):
            parts.append(part)
            if part.index == 3:
                assert time.monotonic() - paused_at > LEASE_S    # not before the lease has run out
                os.kill(child.pid, signal.SIGCONT)
        said, complained = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 0     # it saw its lease lost, or, on its way to a commit, what we had committed there
    assert "was taken over by another worker" in complained or "another run wrote to the same place" in complained
    assert [int(line) for line in said.split()] == [part.index for part in parts[1:]]    # it read what we committed
    assert sorted(urls_of(directory, committed(directory, 7))) == sorted(GIVEN)
    assert smallest_gap(web) > DELAY - SLACK
    # What was committed before the pause was not asked for again.
    asked = [f"http://{host}{path}" for _, host, path in web.log]
    assert all(asked.count(url) == 1 for url in urls_of(directory, parts[:1]))


STOPPED_AT = """
import os, signal
from crawl import fetch
owner, name = {at!r}.split(".")
owner = getattr(fetch, owner)
method, calls = getattr(owner, name), []
def stop_first(*args):
    transfer = args[0] if isinstance(args[0], fetch._Transfer) else args[2]
    calls.append(transfer.url)
    if transfer.url == {url!r} and calls.count(transfer.url) == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    return method(*args)
setattr(owner, name, stop_first)
""" + CHILD.replace("quick(**SHORT)", "quick(contact='https://paused.test', **SHORT)")


@pytest.mark.parametrize("at", ["Client._set_up", "_Transfer.open_socket", "_Transfer.may_send"])
def test_a_holder_paused_between_the_look_at_its_lease_and_the_request_does_not_send_it(web, tmp_path, at):
    given = [f"http://{HOSTS[n % 4]}/{n}" for n in range(12)]
    path, directory = write_list(str(tmp_path), given), f"{tmp_path}/out/s/abc"
    if "open" in at:                                         # or the connection is kept, and no socket is opened
        web.on(given[1], headers={"Connection": "close"})
        web.on(given[5], headers={"Connection": "close"})
    child = subprocess.Popen([sys.executable, "-c", STOPPED_AT.format(at=at, url=given[9]), str(web.port), path,
                              directory, f"{tmp_path}/out"], stderr=subprocess.PIPE, text=True)
    try:
        assert os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1])
        parts = list(fetch_shard(path, directory, f"{tmp_path}/out", quick(**SHORT), web.network(min_delay_s=DELAY), 2,
                                 "page", lease_s=LEASE_S))
        asked = [headers["User-Agent"] for headers in web.headers]
        os.kill(child.pid, signal.SIGCONT)
        _, complained = child.communicate(timeout=30)
    finally:
        child.kill()
    assert child.returncode == 0 and "was taken over by another worker" in complained
    assert sorted(urls_of(directory, parts)) == sorted(given)
    # Not one request more, of whomever; and there were some before the pause.
    assert [headers["User-Agent"] for headers in web.headers] == asked and "paused" in asked[0]


KILLED_AT_RELEASE = """
import os, signal
from crawl import storage
replace = os.replace
def kill(source, target):
    if target.endswith("work.lease") and b'"is_held": false' in storage.read_bytes(source):
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
os.replace = kill
""" + CHILD


def test_what_a_run_killed_while_it_gave_back_its_lease_left_is_removed(web, tmp_path):
    path, directory = write_list(str(tmp_path), GIVEN), f"{tmp_path}/out/s/abc"
    child = subprocess.run([sys.executable, "-c", KILLED_AT_RELEASE, str(web.port), path, directory, f"{tmp_path}/out"],
                           capture_output=True)
    assert child.returncode == -signal.SIGKILL
    left = [name for name in os.listdir(f"{directory}/shard-0007") if name.endswith(".tmp")]
    assert len(left) == 1 and left[0].startswith("work.lease.")
    web.log.clear()
    parts = list(fetch_shard(path, directory, f"{tmp_path}/out", quick(), web.network(), 2, "page"))
    assert sorted(urls_of(directory, parts)) == sorted(GIVEN) and not web.log
    assert not [name for name in os.listdir(f"{directory}/shard-0007") if name.endswith(".tmp")]


def shards_of(tmp_path, given, count):
    """One list a shard, as a round has."""
    for number in range(count):
        rows = [dataclasses.replace(found, shard=number) for found in map(row, given)
                if shard_of(found.politeness_key, count) == number]
        yield f"{tmp_path}/l/" + tables.write_table(f"{tmp_path}/l", f"{number}.parquet", FetchRow, rows).name


@pytest.mark.parametrize("lost", [False, True])
def test_redirects_between_shards_disturb_no_server_more_than_its_rate(web, tmp_path, lost):
    targets = [f"t{n}.test" for n in range(3)]
    given = [f"http://{name}/{n}" for name in HOSTS + targets for n in range(6)]
    for n, url in enumerate(url for url in given if "//h" in url):
        web.on(url, 302, headers={"Location": f"http://{targets[n % 3]}/from/{n}"})
    web.on("http://h0.test/robots.txt", 301, headers={"Location": "http://t1.test/robots.txt"})
    count, directory = 5, f"{tmp_path}/out/s/abc"
    lists, parts = list(shards_of(tmp_path, given, count)), []

    def fetch(path):
        parts.extend(fetch_shard(path, directory, f"{tmp_path}/out", quick(), web.network(min_delay_s=DELAY), 2, "page",
                                 shards=1 if lost else count))
    threads = [threading.Thread(target=fetch, args=(path,)) for path in lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = {found.url: found for part in parts
            for found in tables.read_table(f"{directory}/{part.log.name}", FetchLog)}
    assert sorted(rows) == sorted(given) and {found.outcome for found in rows.values()} == {"ok"}
    assert rows["http://h0.test/0"].final_url == "http://t0.test/from/0"
    if lost:
        assert smallest_gap(web) < DELAY - SLACK             # the test can fail: each shard keeps its own pace only
    else:
        assert smallest_gap(web) > DELAY - SLACK


def test_every_host_waits_its_delay_after_a_start_and_the_crawl_delay_it_asked_for_before(web, tmp_path):
    web.on("http://slow.test/robots.txt", body=b"User-agent: *\nCrawl-delay: 0.5")
    first = write_list(str(tmp_path / "1"), ["http://slow.test/1", "http://slow.test/2", "http://a.test/1"])
    out, network = f"{tmp_path}/out", web.network(min_delay_s=DELAY)
    begun = time.monotonic()
    parts = list(fetch_shard(first, f"{out}/s/1", out, quick(), network, 1, "page"))
    assert min(web.log)[0] - begun >= DELAY - 0.01
    second = write_list(str(tmp_path / "2"), ["http://slow.test/3"])
    list(fetch_shard(second, f"{out}/s/2", out, quick(), network, 2, "page",
                     known_hosts=[f"{out}/s/1/{part.hosts.name}" for part in parts]))
    times = [at for at, host, _ in sorted(web.log) if host == "slow.test"]
    # From robots.txt on: its other files too, and over the border of two rounds.
    assert len(times) > 4 and min(after - before for before, after in zip(times, times[1:], strict=False)) > 0.45
