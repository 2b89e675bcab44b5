"""A whole crawl over a small web on loopback: rounds, invariants, a second run, a killed run."""
from __future__ import annotations

import collections
import pathlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from crawl import tables
from crawl.errors import UsageError
from crawl.frontier import FrontierRules
from crawl.records import Candidate, CrawlEntry, FetchLog, FetchRow
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest
from crawl.suppress import Suppressed, add_lines, parse_rule
from crawl.traps import TrapRules
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run

CONFIG = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(retries=1, traps=TrapRules(max_calendar_pages=2)),
                     max_rounds=6, shards=2, buckets=1)
ONE = (b"<p>A dog.<img src=dog.jpg alt='A dog in a field.'><img src='data:,' data-src=cat.jpg>"
       b"<a href=/deep>d</a>")
KILLED = """
import sys
from crawl.rounds import crawl_pages
from tests.crawl.running import run
from tests.crawl.test_rounds import CONFIG
from crawl.policy import Network
network = Network(connect_to=(sys.argv[3],), allow_hosts=("*.test",), min_delay_s=0.0)
crawl_pages(sys.argv[1], sys.argv[2], CONFIG, network, run)
"""


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.on("http://a.test/", body=b"<title>Home</title><a href=/one>1</a><a href=/two>2</a><a href=/gone>3</a>"
                                         b"<a href=/moved>4</a><a href=http://b.test/x>5</a><a href=http://c.test/>6</a>"
                                         b"<a href=/cal/2031/01>7</a><a href=/no rel=nofollow>8</a>")
        server.on("http://a.test/one", body=ONE)
        server.on("http://a.test/two", body=b"<meta name=robots content=noai><img src=no.jpg><a href=/one>1</a>")
        server.on("http://a.test/gone", status=404)
        server.on("http://a.test/moved", status=301, headers={"Location": "/target"})
        server.on("http://a.test/target", body=b"<img src=t.jpg>")
        server.on("http://a.test/deep", body=b"<div>" * 10_000)
        for month in range(1, 12):
            server.on(f"http://a.test/cal/2031/{month:02d}", body=f"<a href=/cal/2031/{month + 1:02d}>n</a>".encode())
        server.on("http://b.test/", status=503)
        server.on("http://c.test/", body=b"<img src=never.jpg>")
        yield server


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def seeds(tmp_path: pathlib.Path, text: str = "http://a.test/\nhttp://b.test/\n") -> str:
    path = tmp_path / "seeds.txt"
    path.write_text(text)
    return str(path)


def rows(manifest: Manifest, table: str, record_type: type) -> list[Any]:
    return [row for path in manifest.paths(table) for row in tables.read_table(path, record_type)]


def test_rounds_end_and_everything_asked_is_answered(web: Web, tmp_path: pathlib.Path) -> None:
    out, file = str(tmp_path / "out"), seeds(tmp_path)
    manifest = crawl_pages(out, file, CONFIG, web.network(), run)
    known = {entry.url: entry for entry in rows(manifest, "crawldb", CrawlEntry)}
    assert {url.removeprefix("http://a.test"): entry.status for url, entry in known.items()} == {
        "/": "ok", "/one": "ok", "/two": "optout_meta", "/gone": "http_404", "/moved": "ok",
        "/target": "reached_by_redirect",
        "/deep": "ok", "/no": "nofollow", "/cal/2031/01": "ok", "/cal/2031/02": "ok", "/cal/2031/03": "trap_calendar",
         "http://b.test/": "http_503", "http://b.test/x": "ok", "http://c.test/": "out_of_scope"}
    assert "/cal/2031/03" not in web.asked("a.test") and web.asked("c.test") == []

    asked = collections.Counter((row.url_key) for row in rows(manifest, "fetch_list", FetchRow))
    answered = collections.Counter(row.url_key for row in rows(manifest, "fetch_log", FetchLog))
    assert asked == answered
    assert web.asked("b.test").count("/") == 2

    pages, images, known_urls = manifest.funnel
    assert pages.adds_up() and images.adds_up() and known_urls.adds_up()
    assert known_urls.rows_in == len(known) and dict(known_urls.outcomes)["trap_calendar"] == 1
    assert ("trap_calendar: 1 URLs of a.test/cal/{n}/{n} were not asked for, such as http://a.test/cal/2031/03"
            in manifest.notes)
    assert dict(pages.outcomes) == {"parsed": 6, "optout_meta": 1, "parse_failed": 1, "http_404": 1, "http_503": 2}
    candidates = rows(manifest, "candidates", Candidate)
    assert sorted(row.image_url for row in candidates) == [
        "http://a.test/cat.jpg", "http://a.test/dog.jpg", "http://a.test/t.jpg"]
    (refused,) = (log for log in rows(manifest, "fetch_log", FetchLog) if log.outcome == "optout_meta")
    assert (refused.url, refused.part, refused.links) == ("http://a.test/two", "", ("http://a.test/one",))
    assert any("http://b.test/ was not fetched: http_503" in note for note in manifest.notes)

    before = len(web.log)
    again = crawl_pages(out, file, CONFIG, web.network(), run)
    assert again == manifest and len(web.log) == before


def test_a_killed_crawl_goes_on_and_gives_the_same(web: Web, tmp_path: pathlib.Path) -> None:
    file, killed = seeds(tmp_path), str(tmp_path / "killed")
    process: list[subprocess.Popen[bytes]] = []

    def kill(handler: Any) -> None:
        if not process[0].returncode and process[0].poll() is None:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
        handler.send_response(200)
        body = ONE
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    web.call("http://a.test/one", kill)
    process.append(subprocess.Popen([sys.executable, "-c", KILLED, killed, file, f"::127.0.0.1:{web.port}"]))
    assert process[0].wait(timeout=50) == -signal.SIGKILL
    assert web.asked("a.test").count("/") == 1
    manifest = crawl_pages(killed, file, CONFIG, web.network(), run)
    assert web.asked("a.test").count("/") == 1
    whole = crawl_pages(str(tmp_path / "whole"), file, CONFIG, web.network(), run)
    for name in ("pages", "candidates", "links", "crawldb", "fetch_list"):
        assert manifest.table_digest(name) == whole.table_digest(name), name
    assert manifest.funnel == whole.funnel
    assert manifest.notes == whole.notes             # they name no output folder: equal runs, equal manifests


def test_the_last_round_says_what_it_left(web: Web, tmp_path: pathlib.Path) -> None:
    config = CrawlConfig(fetch=quick(retries=0), max_rounds=1, shards=1, buckets=1)
    manifest = crawl_pages(str(tmp_path / "out"), seeds(tmp_path, "http://a.test/\n"), config, web.network(), run)
    assert manifest.rows("fetch_log") == 1 and manifest.extra["left_due"] == 5
    assert any("left due after 1 rounds" in note for note in manifest.notes)


def test_no_seed_reached_is_one_clear_line_and_leaves_nothing(web: Web, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    config = CrawlConfig(fetch=quick(retries=0, contact="https://example.org/bot"), max_rounds=2, shards=1, buckets=1)
    url = f"http://127.0.0.1:{web.port}/"
    with pytest.raises(UsageError, match=f"{url}.*blocked_.*--allow-host 127.0.0.1:{web.port}"):
        crawl_pages(str(out), seeds(tmp_path, url), config, web.network(connect_to=(), allow_hosts=()), run)
    assert not (out / "dataset.json").exists()
    allowed = web.network(connect_to=(), allow_hosts=(f"127.0.0.1:{web.port}",))
    assert crawl_pages(str(out), seeds(tmp_path, url), config, allowed, run).rows("pages") == 1


def test_what_was_removed_is_never_selected(web: Web, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path / "out")
    for kind, value in (("url", "http://a.test/one"), ("domain", "b.test"), ("url", "http://a.test/target")):
        add_lines(out, [Suppressed(parse_rule(kind, value), "2026-01-01T00:00:00.000000Z", ())])
    manifest = crawl_pages(out, seeds(tmp_path), CONFIG, web.network(), run)
    known = {row.url: row.status for row in rows(manifest, "crawldb", CrawlEntry)}
    assert known["http://a.test/one"] == known["http://b.test/"] == "suppressed"
    assert any("b.test/ was not fetched: suppressed; it was removed from this dataset" in note
               for note in manifest.notes)
    logs = {row.url: row for row in rows(manifest, "fetch_log", FetchLog)}
    assert logs["http://a.test/moved"].outcome == "suppressed" and not logs["http://a.test/moved"].part
    assert "http://a.test/one" not in logs and not any(path == "/one" for path in web.asked())
    assert not any("t.jpg" in row.image_url for row in rows(manifest, "candidates", Candidate))
