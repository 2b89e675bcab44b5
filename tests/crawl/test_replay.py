"""What is stored is enough: the same data from any number of fetch shards, again without a network, and after kills."""
from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from crawl.frontier import FrontierRules
from crawl.parts import PartLimits
from crawl.policy import Network
from crawl.records import FetchLog, FetchRow
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest
from crawl.tables import FileEntry, read_table
from filter.judge_run import JudgeConfig, judge
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run

HOSTS = [f"h{number}.test" for number in range(12)]
# Long deadlines: an answer that misses one on a busy machine is another answer.
CONFIG = CrawlConfig(fetch=quick(retries=0, latency_factor=0.0, page_timeout_s=60.0, robots_timeout_s=60.0,
                                 connect_timeout_s=60.0, slow_answer_s=60.0),
                     frontier=FrontierRules(retries=0), buckets=2, max_rounds=2, parts=PartLimits(rows=4))
TABLES = ("pages", "links", "candidates", "crawldb", "traps", "sitemap_images")
# Of a log row what says where its bytes lie: the only thing that the number of shards may change.
ADDRESS = {"part": "", "offset": 0, "length": 0}


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        for number, host in enumerate(HOSTS):
            beside = HOSTS[(number + 1) % len(HOSTS)]
            links = "".join(f"<a href=/{page}>x</a>" for page in range(5)) + f"<a href=http://{beside}/far>x</a>"
            server.on(f"http://{host}/", body=f"<title>{host}</title><img src=/a.jpg alt='A red bus.'>{links}".encode())
            for page in range(4):
                text = f"<p>Page {page} of {host}.</p><img src=/{page}.jpg alt='A blue horse on a field, {page}.'>"
                server.on(f"http://{host}/{page}", body=text.encode())
            server.on(f"http://{host}/2", status=404)
            server.on(f"http://{host}/3", status=301, headers={"Location": f"http://{beside}/0"})
            server.on(f"http://{host}/4", body=b"<meta name=robots content=noai><img src=no.jpg>")
        yield server


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def seeds(folder: pathlib.Path) -> str:
    folder.mkdir(exist_ok=True)
    path = folder / "seeds.txt"
    path.write_text("".join(f"http://{host}/\n" for host in HOSTS))
    return str(path)


def crawled(folder: pathlib.Path, network: Network, shards: int) -> Manifest:
    config = dataclasses.replace(CONFIG, shards=shards)
    return crawl_pages(str(folder / "out"), seeds(folder), config, network, run)


def digests(manifest: Manifest, tables: tuple[str, ...] = TABLES) -> dict[str, list[str]]:
    """The sha256 of every file of the tables, in order: what is byte-identical."""
    return {name: [entry.sha256 for entry in manifest.tables[name]] for name in tables}


def logged(manifest: Manifest) -> list[FetchLog]:
    """The fetch log without addresses, and without the clock of the server in the headers of a refused answer."""
    rows = [dataclasses.replace(log, **ADDRESS, headers=tuple(     # type: ignore[arg-type]
        header for header in log.headers if not header.startswith("Date:")))
            for path in manifest.paths("fetch_log") for log in read_table(path, FetchLog)]
    return sorted(rows, key=lambda log: (log.round, log.url_key))


def unanswered(manifest: Manifest) -> tuple[set[str], set[str]]:
    """The anti-joins of fetch list and fetch log, by round and key: asked and not answered, answered and not asked."""
    asked, answered = (
        collections.Counter(f"{pathlib.PurePath(path).relative_to(manifest.directory).parts[0]} {row.url_key}"
                            for path in manifest.paths(table) for row in read_table(path, record_type))
        for table, record_type in (("fetch_list", FetchRow), ("fetch_log", FetchLog)))
    return set(asked - answered), set(answered - asked)


def without_one(manifest: Manifest, table: str) -> Manifest:
    largest = max(manifest.tables[table], key=lambda entry: entry.rows)
    kept: tuple[FileEntry, ...] = tuple(entry for entry in manifest.tables[table] if entry != largest)
    return dataclasses.replace(manifest, tables=manifest.tables | {table: kept})


def test_one_three_and_eight_shards_give_the_same_bytes_and_parts_alone_give_them_again(
        web: Web, tmp_path: pathlib.Path) -> None:
    found = {shards: crawled(tmp_path / str(shards), web.network(), shards) for shards in (1, 3, 8)}
    assert found[1].rows("pages") > 40 and found[1].rows("candidates") > 20
    for shards in (3, 8):
        assert digests(found[shards]) == digests(found[1])
        assert logged(found[shards]) == logged(found[1])
        assert found[shards].funnel == found[1].funnel
        # Their parts do differ, so that this says something.
        assert digests(found[shards], ("warc",)) != digests(found[1], ("warc",))
    judged = [judge(str(tmp_path / str(shards) / "out"), JudgeConfig(), run) for shards in found]
    tables = tuple(judged[0].tables)
    assert all(digests(one, tables) == digests(judged[0], tables) for one in judged) and judged[0].rows("judged") > 20

    before = len(web.log)
    nobody = web.network(connect_to=("::127.0.0.1:9",))
    for shards, manifest in found.items():
        folder = pathlib.Path(manifest.directory)
        for path in [folder / "manifest.json", *folder.glob("round-*/*")]:
            if path.is_file():                                 # all but the parts, which lie in folders
                path.unlink()
        (tmp_path / str(shards) / "out" / "dataset.json").unlink()
        assert crawled(tmp_path / str(shards), nobody, shards) == manifest
    assert len(web.log) == before


CHILD = """
import dataclasses, sys
from crawl.policy import Network
from crawl.rounds import crawl_pages
from tests.crawl.running import run
from tests.crawl.test_replay import CONFIG
network = Network(connect_to=(sys.argv[3],), allow_hosts=("*.test",), min_delay_s=0.0)
crawl_pages(sys.argv[1], sys.argv[2], dataclasses.replace(CONFIG, shards=3), network, run)
"""


class _Killing(list):                                          # type: ignore[type-arg]
    """An access log that kills a process when it has so many lines."""

    lock = threading.Lock()
    process: subprocess.Popen[bytes] | None = None
    at = 0

    def append(self, line: object) -> None:
        with self.lock:
            super().append(line)
            if self.process is not None and len(self) == self.at:
                os.kill(self.process.pid, signal.SIGKILL)


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_two_round_crawl_killed_at_seeded_points_loses_and_doubles_nothing(web: Web, tmp_path: pathlib.Path,
                                                                             kills: int) -> None:
    whole = crawled(tmp_path / "whole", web.network(), 3)
    assert unanswered(whole) == (set(), set())
    assert unanswered(without_one(whole, "fetch_log"))[0] and unanswered(without_one(whole, "fetch_list"))[1]
    requests = len(web.log)

    web.log = log = _Killing()
    points = sorted(random.Random(kills).sample(range(5, requests - 5), kills))
    file, out = seeds(tmp_path / "killed"), str(tmp_path / "killed" / "out")
    died = 0
    for point in points:
        log.at = max(point, len(log) + 1)
        log.process = subprocess.Popen([sys.executable, "-c", CHILD, out, file, f"::127.0.0.1:{web.port}"])
        died += log.process.wait(timeout=120) == -signal.SIGKILL
        log.process = None
    assert died >= kills - 1                                   # what was asked again may end it before the last point
    manifest = crawled(tmp_path / "killed", web.network(), 3)
    assert unanswered(manifest) == (set(), set())
    assert digests(manifest) == digests(whole) and logged(manifest) == logged(whole)
    assert manifest.funnel == whole.funnel
    shutil.rmtree(out)
