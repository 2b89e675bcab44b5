"""The checker of bench-politeness, and a small run of it: what the servers saw, against what they were owed."""
from __future__ import annotations

import dataclasses
import threading

import pytest

from benchmarks.politeness_web import KINDS, Delays, PolitenessWeb, Served, closest, serving
from crawl import tables
from crawl.fetch_shard import fetch_shard
from crawl.frontier import shard_of
from crawl.policy import Network
from crawl.records import FetchLog, FetchRow
from tests.crawl.loopback import quick, row

SHARDS = 3


def line(begun, ended, due_s, host="a.test", kind="plain"):
    return Served(host, kind, "/", begun, ended, due_s)


def test_the_closest_two_requests_are_measured_from_the_end_of_the_first_by_what_it_owed():
    found = closest([line(0, 1, 2), line(4, 5, 2), line(6.5, 7, 2),
                     line(0, 9, 1, "b.test"), line(0, 1, 1, "c.test", "x")])
    assert list(found) == ["plain"]
    assert dataclasses.astuple(found["plain"]) == (0.75, 1.5, 2, "a.test", 2)


def test_requests_that_overlap_and_a_long_pause_that_later_answers_do_not_shorten():
    assert closest([line(0, 2, 1), line(1, 3, 1)])["plain"].ratio == -1
    assert closest([line(0, 0, 10), line(11, 11, 1), line(12, 12, 1)])["plain"].ratio == 1
    # The second is too early for the first; the third, a second after the second, is too early for it as well.
    assert [closest([line(0, 0, 10), line(1, 1, 1), line(2, 2, 1)])["plain"].ratio] == [0.1]


def test_across_a_moment_only_the_two_requests_around_it_count():
    log = [line(0, 0, 2), line(1, 1, 2), line(5, 5, 2), line(6, 6, 2)]
    assert dataclasses.astuple(closest(log, 4)["plain"]) == (2.0, 4, 2, "a.test", 1)
    assert closest(log, 5)["plain"].gaps == 1 and closest(log, 7) == {}


@pytest.mark.parametrize("own_s, polite", [(0.1, True), (0.05, False)])
def test_a_crawl_over_three_shards_side_by_side(tmp_path, own_s, polite):
    web = PolitenessWeb(2 * len(KINDS), 4, Delays(own_s=0.1, asked_s=0.25, retry_after_s=1))
    rows = [row(url) for url in web.seeds]
    lists = [f"{tmp_path}/l/" + tables.write_table(f"{tmp_path}/l", f"{number}.parquet", FetchRow, [
        dataclasses.replace(found, shard=number) for found in rows if shard_of(found.politeness_key, SHARDS) == number
    ]).name for number in range(SHARDS)]
    ended = []

    def fetch(path, network):
        for part in fetch_shard(path, f"{tmp_path}/out/s/abc", f"{tmp_path}/out", quick(), network, 0, "page",
                                shards=SHARDS):
            ended.extend(tables.read_table(f"{tmp_path}/out/s/abc/{part.log.name}", FetchLog))
    with serving(web):
        network = Network(connect_to=(f"::127.0.0.1:{web.port}",), allow_hosts=("*.test",), min_delay_s=own_s)
        threads = [threading.Thread(target=fetch, args=(path, network)) for path in lists]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(found.url for found in ended) == sorted(web.seeds)
    assert {found.outcome for found in ended} == {"ok"}
    found = closest(web.log)
    assert sorted(found) == sorted(KINDS)
    assert all(one.ratio >= 1 for one in found.values()) is polite, found
    assert found["crawl_delay"].ratio >= 1 and found["request_rate"].ratio >= 1      # theirs always win
