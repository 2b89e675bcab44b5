"""A crawl of a web that changes, twice and three times over loopback HTTP: what is asked, what stands, what is new."""
from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator

from crawl import tables, warc
from crawl.cdxj import INDEX, write_index
from crawl.errors import UsageError
from crawl.frontier import FrontierRules, seed_entry
from crawl.records import ALLOW, DENY, Candidate, CrawlEntry, FetchLog, FetchRow
from crawl.recrawl import due_again, orphan_due
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest, current, current_manifest
from crawl.warc_reader import read_records
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run

CONFIG = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(retries=0), max_rounds=5, shards=1, buckets=1)
DATE = "Mon, 01 Jan 2024 00:00:00 GMT"
KILLED = """
import sys
from crawl.rounds import crawl_pages
from tests.crawl.running import run
from tests.crawl.test_recrawl import CONFIG
from crawl.policy import Network
network = Network(connect_to=(sys.argv[3],), allow_hosts=("*.test",), min_delay_s=0.0)
crawl_pages(sys.argv[1], sys.argv[2], CONFIG, network, run, recrawl="all")
"""


def picture(name: str) -> bytes:
    return f"<title>{name}</title><p>About {name}.<img src=/{name}.jpg alt='A {name} in a field'>".encode()


def set_up(server: Web) -> None:
    server.on("http://a.test/robots.txt", body=b"Sitemap: /map.xml\n")
    server.versioned("http://a.test/map.xml", b"<urlset><url><loc>/date</loc><image:image><image:loc>/m.jpg"
                     b"</image:loc></image:image></url></urlset>", {"ETag": '"map"', "Content-Type": "text/xml"})
    server.on("http://a.test/", body=b"<a href=/etag>1</a><a href=/date>2</a><a href=/none>3</a><a href=/old>4</a>"
              b"<a href=/changes>5</a><a href=/goes>6</a><a href=/zip>7</a><a href=/signals>8</a><a href=/never>9</a>")
    server.versioned("http://a.test/etag", picture("etag"), {"ETag": 'W/"1"', "X-Robots-Tag": "nosnippet"})
    server.versioned("http://a.test/date", picture("date"), {"Last-Modified": DATE})
    server.on("http://a.test/none", body=picture("none"))
    server.on("http://a.test/old", status=301, headers={"Location": "http://b.test/new", "ETag": '"redirect"'})
    server.versioned("http://b.test/new", picture("new"), {"ETag": '"new"'})
    server.versioned("http://a.test/changes", picture("before"), {"ETag": '"before"'})
    server.on("http://a.test/goes", body=picture("goes"))
    server.versioned("http://a.test/zip", gzip.compress(picture("zip"), mtime=0),
                     {"ETag": '"zip"', "Content-Encoding": "gzip"})
    server.versioned("http://a.test/signals", picture("signals"), {"ETag": '"s"', "X-Robots-Tag": "nosnippet",
                                                                   "Content-Usage": "train-ai=y"})
    server.on("http://a.test/never", status=304, body=b"")


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        set_up(server)
        yield server


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The folder of a first crawl."""
    folder = tmp_path_factory.mktemp("base")
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        set_up(server)
        crawled(server, folder)
    return folder


@pytest.fixture(scope="module")
def twice(base: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> Twice:
    folder = tmp_path_factory.mktemp("twice")
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        set_up(server)
        first = copied(base, folder)
        return Twice(folder, first, crawled(server, folder, recrawl=True), asked_with(server))


@pytest.fixture
def first(base: pathlib.Path, tmp_path: pathlib.Path) -> Manifest:
    """A first crawl in this test's own folder."""
    return copied(base, tmp_path)


@pytest.fixture(autouse=True)
def _fixed_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


def crawled(web: Web, folder: pathlib.Path, *, recrawl: bool | str = "", config: CrawlConfig = CONFIG,
            seeds: str = "http://a.test/\nhttp://b.test/\n") -> Manifest:
    (folder / "seeds.txt").write_text(seeds)
    web.log.clear()
    web.headers.clear()
    return crawl_pages(str(folder / "out"), str(folder / "seeds.txt"), config, web.network(), run,
                       recrawl="all" if recrawl is True else recrawl or "")


@dataclasses.dataclass(frozen=True)
class Twice:
    """A crawl and a recrawl of an unchanged web; nobody changes it."""

    folder: pathlib.Path
    first: Manifest
    again: Manifest
    conditions: dict[str, dict[str, str]]      # path -> what it was asked with


def copied(base: pathlib.Path, folder: pathlib.Path) -> Manifest:
    shutil.copytree(base / "out", folder / "out")
    return current_manifest(str(folder / "out"), "crawl")


def rows(manifest: Manifest, table: str, record_type: type) -> list[Any]:
    return [row for path in manifest.paths(table) for row in tables.read_table(path, record_type)]


def by_path(manifest: Manifest) -> dict[str, FetchLog]:
    return {row.url.removeprefix("http://a.test"): row for row in rows(manifest, "fetch_log", FetchLog)}


def asked_with(web: Web) -> dict[str, dict[str, str]]:
    """Returns the conditions that each path was asked with."""
    names = ("If-None-Match", "If-Modified-Since")
    return {path: {name: headers[name] for name in names if name in headers}
            for (_, _, path), headers in zip(web.log, web.headers, strict=True)}


def records(manifest: Manifest) -> list[Any]:
    found = []
    for path in manifest.paths("warc"):
        with open(path, "rb") as file:
            found += [(record.rec_type, dict(record.rec_headers.headers),
                       record.content_stream().read()) for record in ArchiveIterator(file)]
    return found


def test_an_unchanged_web_stands_and_gives_the_same_tables(twice: Twice) -> None:
    first, again, conditions = twice.first, twice.again, twice.conditions
    old = by_path(first)
    assert old["/etag"].etag == 'W/"1"' and old["/date"].last_modified == DATE and not old["/none"].etag
    assert again.folder != first.folder and current(again.out)["crawl"] == again.folder
    assert again.inputs["before"] == first.digest
    assert conditions["/etag"] == {"If-None-Match": 'W/"1"'} and conditions["/date"] == {"If-Modified-Since": DATE}
    assert conditions["/none"] == conditions["/old"] == {}                   # a hop that did not answer itself
    assert conditions["/new"] == {"If-None-Match": '"new"'} and conditions["/map.xml"] == {"If-None-Match": '"map"'}
    new = by_path(again)
    assert {path: (row.outcome, row.http_status) for path, row in new.items()} == {
        "/": ("unchanged", 200), "/etag": ("not_modified", 304), "/date": ("not_modified", 304),
        "/none": ("unchanged", 200), "/old": ("not_modified", 304), "/changes": ("not_modified", 304),
        "/goes": ("unchanged", 200), "/zip": ("not_modified", 304), "/map.xml": ("not_modified", 304),
        "/signals": ("not_modified", 304), "http://b.test/": ("unchanged", 200), "/never": ("http_304", 304)}
    assert new.pop("/never").part == old["/never"].part == ""                # a 304 that nobody asked for
    for path, row in new.items():
        assert (row.part, row.offset, row.length, row.sha256, row.warc_record_id) == (
            old[path].part, old[path].offset, old[path].length, old[path].sha256, old[path].warc_record_id), path
        assert row.part.startswith(first.folder) and row.body_bytes == old[path].body_bytes
        assert row.revisit_part.startswith(again.folder) and row.revisit_length and not old[path].revisit_part
        assert (row.etag, row.last_modified, row.content_type) == (
            old[path].etag, old[path].last_modified, old[path].content_type)
        assert row.round >= first.extra["next_round"] and [s.name for s in row.signals] == [
            s.name for s in old[path].signals]
    for name in ("pages", "candidates", "links", "sitemap_images"):
        assert again.table_digest(name) == first.table_digest(name), name
    lines = {line.unit: line for line in again.funnel}
    assert dict(lines["fetch"].outcomes) == {"not_modified": 7, "unchanged": 4, "http_304": 1}
    assert dict(lines["page"].outcomes) == {"parsed": 10, "sitemap_read": 1, "http_304": 1}
    assert all(line.adds_up() for line in again.funnel) and "fetch" not in {line.unit for line in first.funnel}
    assert any("11 of 12 fetches found what the crawl before has" in note and first.folder in note
               for note in again.notes)
    assert set(first.tables) == set(again.tables)
    assert not any(row.earlier for row in rows(first, "fetch_list", FetchRow))
    assert {row.url_key for row in rows(again, "fetch_list", FetchRow)} == {
        row.url_key for row in rows(again, "fetch_log", FetchLog)}


def test_the_warc_of_a_recrawl_says_what_stands(twice: Twice) -> None:
    old, again = by_path(twice.first), twice.again
    found = records(again)
    kinds = [kind for kind, _, _ in found if kind != "warcinfo"]
    assert kinds == ["request", "metadata", "revisit"] * 11
    revisits = {fields["WARC-Target-URI"]: fields for kind, fields, _ in found if kind == "revisit"}
    profile = "http://netpreserve.org/warc/1.1/revisit/"
    told, same = revisits["http://a.test/etag"], revisits["http://a.test/none"]
    assert told["WARC-Profile"] == profile + "server-not-modified"
    assert same["WARC-Profile"] == profile + "identical-payload-digest"
    for fields, path in ((told, "/etag"), (same, "/none")):
        out = f"{again.out}/{old[path].part}"
        stored = warc.read_response(out, old[path].offset, old[path].length, 10**6)
        assert (fields["WARC-Refers-To"], fields["WARC-Refers-To-Date"], fields["WARC-Refers-To-Target-URI"],
                fields["WARC-Payload-Digest"]) == (f"<{stored.record_id}>", stored.fetched_at, stored.url,
                                                   stored.payload_digest)
        assert fields["WARC-Record-ID"] != fields["WARC-Refers-To"]
    said = {fields["WARC-Target-URI"]: block.decode() for kind, fields, block in found if kind == "metadata"}
    assert "via: http://a.test/old\r\nhopsFromSeed: LR\r\nredirect: http://a.test/old\r\n" in said["http://b.test/new"]
    assert "outcome: not_modified\r\npermission: " in said["http://a.test/etag"]
    assert "signal: x_robots_tag unknown (header): nosnippet" in said["http://a.test/etag"]
    ours = []
    for path in again.paths("warc"):
        done = subprocess.run([sys.executable, "-m", "warcio.cli", "check", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        with open(path, "rb") as file:
            ours += list(read_records(file))
    assert not any(record.fault for record in ours)
    assert {record.fields["warc-type"] for record in ours} == {"warcinfo", "request", "metadata", "revisit"}
    assert all(record.block.startswith(b"HTTP/1.") for record in ours if record.fields["warc-type"] == "revisit")
    (asked,) = (record.block for record in ours if record.fields["warc-type"] == "request"
                and record.fields["warc-target-uri"] == "http://b.test/new")
    assert asked.endswith(b'\r\nIf-None-Match: "new"\r\n\r\n')
    revisit = by_path(again)["/etag"]
    with open(f"{again.out}/{revisit.revisit_part}", "rb") as file:
        file.seek(revisit.revisit_offset)
        member = gzip.decompress(file.read(revisit.revisit_length))
    assert b"WARC-Type: revisit\r\n" in member and b"WARC-Target-URI: http://a.test/etag\r\n" in member


def test_an_index_has_every_answer_and_revisit_of_both_crawls(twice: Twice, tmp_path: pathlib.Path) -> None:
    shutil.copytree(twice.folder / "out", tmp_path / "out")
    assert write_index(str(tmp_path / "out"))[1] == 2
    indexed = [json.loads(line.split(" ", 2)[2]) for line in (tmp_path / "out" / INDEX).read_text().splitlines()]
    theirs = []
    for path in (path for crawl in (twice.first, twice.again) for name in ("warc", "robots")
                 for path in crawl.paths(name)):
        with open(path, "rb") as file:
            records = ArchiveIterator(file)
            for record in records:
                if record.rec_type in ("response", "revisit"):
                    theirs.append((record.rec_headers["WARC-Target-URI"], record.http_headers.get_statuscode(),
                                   record.rec_headers["WARC-Payload-Digest"], str(records.get_record_offset()),
                                   str(records.get_record_length()), path.removeprefix(f"{twice.first.out}/")))
    assert sorted(theirs) == sorted((one["url"], one["status"], one["digest"], one["offset"], one["length"],
                                     one["filename"]) for one in indexed)
    pages = [one for one in theirs if not one[-1].endswith(".robots.warc.gz")]
    assert len(pages) == 22 and len(theirs) > 25 and sum(one["mime"] == "warc/revisit" for one in indexed) == 11


def test_what_changed_is_new_and_what_went_is_gone(web: Web, first: Manifest, tmp_path: pathlib.Path) -> None:
    web.versioned("http://a.test/changes", picture("after") + b"<a href=/fresh>f</a>", {"ETag": '"after"'})
    web.on("http://a.test/goes", status=404)
    web.on("http://a.test/fresh", body=picture("fresh"))
    again = crawled(web, tmp_path, recrawl=True)
    new = by_path(again)
    assert asked_with(web)["/changes"] == {"If-None-Match": '"before"'}
    assert (new["/changes"].outcome, new["/changes"].etag) == ("ok", '"after"')
    assert new["/changes"].part.startswith(again.folder) and new["/changes"].sha256 != by_path(first)["/changes"].sha256
    assert (new["/goes"].outcome, new["/goes"].part) == ("http_404", "") and new["/fresh"].outcome == "ok"
    shown = {row.image_url.removeprefix("http://a.test/") for row in rows(again, "candidates", Candidate)}
    assert {"after.jpg", "fresh.jpg", "etag.jpg"} <= shown and not {"before.jpg", "goes.jpg"} & shown
    known = {entry.url: entry.status for entry in rows(again, "crawldb", CrawlEntry)}
    assert known["http://a.test/goes"] == "http_404" and known["http://a.test/etag"] == "not_modified"
    assert [kind for kind, fields, _ in records(again) if fields.get("WARC-Target-URI") == "http://a.test/changes"] == [
        "request", "metadata", "response"]
    # The recrawl after it knows the new version, and asks for the lost page once more; old bytes stay where they are.
    third = crawled(web, tmp_path, recrawl=True)
    assert asked_with(web)["/changes"] == {"If-None-Match": '"after"'} and asked_with(web)["/goes"] == {}
    assert by_path(third)["/changes"].part == new["/changes"].part
    assert by_path(third)["/etag"].part == by_path(first)["/etag"].part
    assert third.extra["next_round"] == again.extra["next_round"] + third.extra["rounds"]
    assert third.inputs["before"] == again.digest


def test_a_304_brings_its_own_permission(web: Web, first: Manifest, tmp_path: pathlib.Path) -> None:
    web.versioned("http://a.test/etag", picture("etag"), {"ETag": 'W/"1"'}, later={"X-Robots-Tag": "noai"})
    web.versioned("http://a.test/signals", picture("signals"), {"ETag": '"s"'}, later={"Content-Usage": "train-ai=?"})

    def other(handler: Any) -> None:                          # a 304 about a version that we never saw
        body = picture("other")
        asked = handler.headers.get("If-None-Match")
        handler.send_response(304 if asked else 200)
        handler.send_header("ETag", '"2"')
        if not asked:
            handler.send_header("Content-Type", "text/html")
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(b"" if asked else body)
    web.call("http://a.test/changes", other)
    again = crawled(web, tmp_path, recrawl=True)
    refused, merged, whole = (by_path(again)[path] for path in ("/etag", "/signals", "/changes"))
    assert (refused.outcome, refused.permission, refused.part, refused.length) == ("optout_header", DENY, "", 0)
    assert "X-Robots-Tag: noai" in refused.headers and [s.raw for s in refused.signals if s.name == "x_robots_tag"] == [
        "noai"]
    assert "http://a.test/etag.jpg" not in {row.image_url for row in rows(again, "candidates", Candidate)}
    assert by_path(first)["/signals"].permission == ALLOW
    told = {signal.name: signal.raw for signal in merged.signals}
    assert (merged.outcome, told["x_robots_tag"], told["content_usage"]) == ("not_modified", "nosnippet", "train-ai=?")
    assert web.asked("a.test").count("/changes") == 2 and (whole.outcome, whole.etag) == ("ok", '"2"')
    # What was refused has no bytes here: the next crawl asks for it whole.
    crawled(web, tmp_path, recrawl=True)
    assert asked_with(web)["/etag"] == {}


def test_a_killed_recrawl_goes_on_where_it_was(web: Web, first: Manifest, twice: Twice,
                                               tmp_path: pathlib.Path) -> None:
    (tmp_path / "seeds.txt").write_text("http://a.test/\nhttp://b.test/\n")
    process: list[subprocess.Popen[bytes]] = []
    plain = web.answers["a.test", "/date"]

    def kill(handler: Any) -> None:
        if process[0].poll() is None:
            process[0].send_signal(signal.SIGKILL)
            process[0].wait()
        plain(handler)
    web.call("http://a.test/date", kill)
    out, seeds = str(tmp_path / "out"), str(tmp_path / "seeds.txt")
    process.append(subprocess.Popen([sys.executable, "-c", KILLED, out, seeds, f"::127.0.0.1:{web.port}"]))
    assert process[0].wait(timeout=100) == -signal.SIGKILL
    opened = json.loads(pathlib.Path(out, "crawl", "open.json").read_bytes())
    with pytest.raises(UsageError, match="half-finished crawl with other settings"):
        crawled(web, tmp_path)
    manifest = crawled(web, tmp_path, recrawl=True)
    assert (manifest.folder, manifest.inputs["moment"]) == (opened["folder"], opened["inputs"]["moment"])
    for name in ("pages", "candidates", "links", "crawldb", "sitemap_images"):
        assert manifest.table_digest(name) == twice.again.table_digest(name), name
    assert manifest.funnel == twice.again.funnel


def test_any_number_of_shards_gives_the_same(web: Web, twice: Twice, tmp_path: pathlib.Path) -> None:
    config = dataclasses.replace(CONFIG, shards=3, buckets=2)
    crawled(web, tmp_path, config=config)
    found = crawled(web, tmp_path, config=config, recrawl=True)
    for name in ("pages", "candidates", "links", "crawldb"):
        assert found.table_digest(name) == twice.again.table_digest(name), name


def test_a_page_that_no_redirect_leads_to_any_more_is_asked_for_itself(web: Web, tmp_path: pathlib.Path) -> None:
    web.on("http://a.test/robots.txt", status=404)
    web.on("http://a.test/", body=b"<a href=/old>1</a>")
    config = dataclasses.replace(CONFIG, frontier=FrontierRules(retries=0, scope="any"))
    for recrawl in ("", "all"):
        manifest = crawled(web, tmp_path, seeds="http://a.test/\n", config=config, recrawl=recrawl)
        known = {entry.url: entry.status for entry in rows(manifest, "crawldb", CrawlEntry)}
        assert known["http://b.test/new"] == "reached_by_redirect"
    web.on("http://a.test/old", status=404)
    third = crawled(web, tmp_path, seeds="http://a.test/\n", config=config, recrawl=True)
    assert asked_with(web)["/new"] == {"If-None-Match": '"new"'}
    assert by_path(third)["http://b.test/new"].outcome == "not_modified"


def test_seeds_may_change(web: Web, first: Manifest, tmp_path: pathlib.Path) -> None:
    again = crawled(web, tmp_path, seeds="http://c.test/\n", recrawl=True)
    known = {entry.url: (entry.status, entry.depth) for entry in rows(again, "crawldb", CrawlEntry)}
    assert known["http://c.test/"] == ("ok", 0) and known["http://a.test/"] == ("out_of_scope", 1)
    assert web.asked("a.test") == [] and again.rows("pages") == 1


def test_what_cannot_be_recrawled_is_said_in_a_line(web: Web, base: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="no finished stage 'crawl'"):
        crawled(web, tmp_path, recrawl=True)
    for path in copied(base, tmp_path).paths("warc"):
        pathlib.Path(path).write_bytes(b"x" * pathlib.Path(path).stat().st_size)
    with pytest.raises((UsageError, RuntimeError), match="bytes of an earlier crawl that still stand cannot be read"):
        crawled(web, tmp_path, recrawl=True)


def entry(status: str, **more: Any) -> CrawlEntry:
    return dataclasses.replace(seed_entry("http://a.test/x"), depth=3, status=status, last_round=1, retries=2, **more)


@pytest.mark.parametrize(("status", "after"), [
    ("ok", "due"), ("not_modified", "due"), ("http_404", "due"), ("robots_denied", "due"), ("optout_meta", "due"),
    ("due", "due"), ("out_of_scope", "due"), ("http_410", "http_410"), ("nofollow", "nofollow"),
    ("reached_by_redirect", "reached_by_redirect")])
def test_what_is_due_again(status: str, after: str) -> None:
    found = due_again(entry(status), None, FrontierRules(), frozenset({"a.test"}), "")
    assert (found.status, found.depth, found.retries, found.last_round) == (after, 3, 0, 1)
    assert due_again(entry(status), "http://a.test/x", FrontierRules(), frozenset(), "").status == "due"
    elsewhere = due_again(entry(status), None, FrontierRules(), frozenset({"b.test"}), "")
    assert elsewhere.status == (after if after != "due" else "out_of_scope")


def test_an_orphan_is_one_that_nothing_reached_since() -> None:
    rules, sites = FrontierRules(), frozenset({"a.test"})
    assert orphan_due(entry("reached_by_redirect"), 2, rules, sites).status == "due"
    assert orphan_due(entry("reached_by_redirect"), 2, rules, frozenset()).status == "out_of_scope"
    assert orphan_due(entry("reached_by_redirect"), 1, rules, sites).status == "reached_by_redirect"
    assert orphan_due(entry("http_404"), 2, rules, sites).status == "http_404"
