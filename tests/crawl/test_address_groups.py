"""Hosts of one address are fetched in one shard from the second round on, so that one place keeps its rate."""
from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import pytest

from crawl import netguard
from crawl.address_groups import addresses_of, shard_of_server, with_shard
from crawl.answers import Fetched, nothing
from crawl.fetch_transforms import WriteFetchLists
from crawl.frontier import FrontierRules, shard_of
from crawl.partitions import Partitions
from crawl.records import FetchLog, FetchRow, Host, ServerAddress
from crawl.robots_access import host_of
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.tables import read_table, write_table
from crawl.transforms import given
from tests.crawl.loopback import quick, row, serving
from tests.crawl.running import run

SHARDS = 8
NAMES = [f"h{number}.test" for number in range(6)]


def test_a_server_goes_with_its_address_and_an_unknown_one_by_its_name() -> None:
    known = {f"h{n}.test": "93.184.216.34" for n in range(20)}
    assert {shard_of_server(key, SHARDS, known) for key in known} == {shard_of("93.184.216.34", SHARDS)}
    assert len({shard_of_server(key, SHARDS, {}) for key in known}) > 3
    assert shard_of_server("new.test", SHARDS, known) == shard_of("new.test", SHARDS)
    moved = with_shard(row("http://h3.test/x", shard=0), SHARDS, known)
    assert moved == dataclasses.replace(row("http://h3.test/x"), shard=shard_of("93.184.216.34", SHARDS))
    # Who follows a redirect asks for the lease of the shard that the list put the server in.
    parts = Partitions(0, SHARDS, addresses=known)
    assert parts.of("h3.test") == moved.shard and Partitions(5, 1, addresses=known).of("h3.test") == 5


def test_only_public_addresses_group() -> None:
    rows = [{"authority": f"http://{name}:80", "address": address} for name, address in (
        ("www.a.example", "93.184.216.34"), ("img.a.example", "93.184.216.35"), ("b.example", "10.0.0.1"),
        ("c.example", ""), ("d.example", "2606:2800:220:1::1"))]
    assert list(addresses_of(rows)) == [("a.example", "93.184.216.34"), ("a.example", "93.184.216.35"),
                                        ("d.example", "2606:2800:220:1::1")]


def test_hosts_of_one_address_meet_in_one_shard_once_they_are_known(tmp_path: pathlib.Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback stands for a public address in what groups; the guard and the paces know better."""
    monkeypatch.setattr(netguard, "is_public_text", lambda address: True)
    config = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(retries=0), max_rounds=3, shards=SHARDS,
                         buckets=1)
    with serving() as web:
        for name in NAMES:
            web.on(f"http://{name}/", body=b"<a href=/1>x</a><a href=/2>x</a>")
        web.on(f"http://{NAMES[0]}/1", status=302, headers={"Location": f"http://{NAMES[1]}/2"})
        (tmp_path / "seeds.txt").write_text("".join(f"http://{name}/\n" for name in NAMES))
        found = crawl_pages(str(tmp_path / "out"), str(tmp_path / "seeds.txt"), config,
                            web.network(address_rate_per_s=500.0), run)
    hosts = [host for path in found.paths("hosts") for host in read_table(path, Host)]
    assert {host.address for host in hosts} == {"127.0.0.1"}
    shards: list[set[int]] = []
    for number in (0, 1):
        lists = sorted(pathlib.Path(found.directory, f"round-{number:02d}").glob("fetch_list-*.parquet"))
        shards.append({one.shard for path in lists for one in read_table(str(path), FetchRow)})
    assert len(shards[0]) > 1 and shards[1] == {shard_of("127.0.0.1", SHARDS)}
    (table,) = pathlib.Path(found.directory, "round-01").glob("addresses-*.parquet")
    assert {one.politeness_key for one in read_table(str(table), ServerAddress)} == set(NAMES)
    outcomes = [log.outcome for path in found.paths("fetch_log") for log in read_table(path, FetchLog)]
    assert set(outcomes) == {"ok"} and len(outcomes) == 18


def met(folder: pathlib.Path, name: str, address: str) -> str:
    """A table of hosts in which the first three names lie at an address."""
    fetched = Fetched("", "http_404", (), "", nothing("", "ok"))
    rows = [dataclasses.replace(host_of(f"http://{one}:80", fetched, "2026-01-01T00:00:00.000000Z", quick()),
                                address=address) for one in NAMES[:3]]
    return str(folder / write_table(str(folder), f"{name}.parquet", Host, rows).name)


def test_a_run_that_was_stopped_keeps_its_groups(tmp_path: pathlib.Path) -> None:
    """A host may move, or be met elsewhere, before the same command is run again."""
    rows = [row(f"http://{name}/x") for name in NAMES]
    lists = []
    for address in ("93.184.216.34", "1.1.1.1"):
        hosts = (met(tmp_path, address, address),)

        def write(root: Any, hosts: tuple[str, ...] = hosts) -> None:
            root | given(rows) | WriteFetchLists(str(tmp_path / "stage"), SHARDS, hosts)
        run("lists", write)
        lists.append({one.url: one.shard for path in (tmp_path / "stage").glob("fetch_list-*.parquet")
                      for one in read_table(str(path), FetchRow)})
    assert lists[0] == lists[1] and len(lists[0]) == len(NAMES)
    assert {lists[0][f"http://{name}/x"] for name in NAMES[:3]} == {shard_of("93.184.216.34", SHARDS)}
    assert all(lists[0][f"http://{name}/x"] == shard_of(name, SHARDS) for name in NAMES[3:])
