"""What decided is kept: the captures of robots.txt and its like, and decisions explained from them."""
from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from warcio.archiveiterator import ArchiveIterator

import imagebert
from crawl import storage, warc
from crawl.cdxj import INDEX, write_index
from crawl.errors import UsageError
from crawl.frontier import FrontierRules
from crawl.images_run import fetch_images
from crawl.records import Capture, FetchLog, Host
from crawl.robots_access import whole_lines
from crawl.robots_stored import Stored, stored_decisions
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest
from crawl.tables import read_table, write_table
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run
from tests.crawl.test_images_run import CONFIG as IMAGES
from tests.crawl.test_images_run import judged

CONFIG = CrawlConfig(fetch=quick(retries=0, robots_bytes=512_000), frontier=FrontierRules(retries=0, scope="any"),
                     max_rounds=3, buckets=1)
RULES = b"User-agent: *\nDisallow: /private\nAllow: /private/open\n"
SEEDS = ("a", "b", "c", "d", "e")


@dataclasses.dataclass(frozen=True)
class Root:
    out: str
    crawl: Manifest

    def hosts(self) -> dict[str, Host]:
        return {host.authority: host for path in self.crawl.paths("hosts") for host in read_table(path, Host)}

    def logs(self) -> dict[str, FetchLog]:
        return {log.url: log for path in self.crawl.paths("fetch_log") for log in read_table(path, FetchLog)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """A crawl whose web is gone."""
    folder = tmp_path_factory.mktemp("root")
    with serving() as web:
        set_up(web)
        (folder / "seeds.txt").write_text("".join(f"http://{name}.test/\n" for name in SEEDS))
        manifest = crawl_pages(str(folder / "out"), str(folder / "seeds.txt"), CONFIG, web.network(), run)
    yield Root(str(folder / "out"), manifest)


def set_up(web: Web) -> None:
    web.on("http://a.test/robots.txt", status=301, headers={"Location": "http://rules.test/a.txt"})
    web.on("http://rules.test/a.txt", body=gzip.compress(RULES), headers={"Content-Encoding": "gzip",
                                                                          "Content-Type": "text/plain; charset=utf-8"})
    web.on("http://a.test/", body=b"<a href=/private/x>x</a><a href=/private/open>o</a><a href=/to-b>b</a>")
    web.on("http://a.test/to-b", status=302, headers={"Location": "http://b.test/closed"})
    web.on("http://b.test/robots.txt", body=b"User-agent: *\nDisallow: /closed\n")
    web.on("http://b.test/.well-known/tdmrep.json", body=b'[{"location": "/", "tdm-reservation": 0}]')
    web.on("http://d.test/robots.txt", status=503, body=b"busy")
    web.on("http://e.test/robots.txt", body=b"#" + b"x" * 511_990 + b"\nDisallow: /never read")


def capture(root: Root, one: Capture) -> warc.Response:
    return warc.read_response(storage.join(root.out, one.part), one.offset, one.length, 1 << 20)


def test_every_answer_for_a_file_of_a_site_is_stored_hops_and_refusals_too(root: Root) -> None:
    hosts = root.hosts()
    assert [(one.url, one.http_status) for one in hosts["http://a.test:80"].captures] == [
        ("http://a.test/robots.txt", 301), ("http://rules.test/a.txt", 200),
        ("http://a.test/.well-known/tdmrep.json", 404), ("http://a.test/ai.txt", 404)]
    assert [one.http_status for one in hosts["http://b.test:80"].captures] == [200, 200, 404]
    assert hosts["http://c.test:80"].robots == "unavailable"
    assert [one.http_status for one in hosts["http://c.test:80"].captures] == [404, 404, 404]
    for host in hosts.values():
        for one in host.captures:
            found = capture(root, one)
            assert (found.url, found.status, found.fetched_at) == (one.url, one.http_status, one.fetched_at)
        if host.robots == "ok":                     # the stored bytes are those that decided
            robots = next(found for found in map(capture, [root] * 9, host.captures) if found.status == 200)
            assert hashlib.sha256(whole_lines(robots.body, host.truncated)).hexdigest() == host.sha256
    assert hosts["http://e.test:80"].truncated and capture(root, hosts["http://e.test:80"].captures[0]).truncated


def test_the_file_of_captures_is_read_by_others(root: Root) -> None:
    (path,) = root.crawl.paths("robots")[:1]
    done = subprocess.run([sys.executable, "-m", "warcio.cli", "check", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(path, "rb") as file:
        found = [(record.rec_type, dict(record.rec_headers.headers)) for record in ArchiveIterator(file)]
    assert [kind for kind, _ in found[:5]] == ["warcinfo", "request", "response", "request", "response"]
    ids = [fields["WARC-Record-ID"] for _, fields in found]
    assert len(set(ids)) == len(ids)
    assert all(one["WARC-Concurrent-To"] == other["WARC-Record-ID"]
               for (kind, one), (_, other) in zip(found, found[1:], strict=False) if kind == "request")
    refused = next(fields for kind, fields in found if kind == "response" and "tdmrep" in fields["WARC-Target-URI"])
    assert refused["WARC-Truncated"] == "length"


def test_an_index_has_them(root: Root) -> None:
    write_index(root.out)
    lines = pathlib.Path(root.out, INDEX).read_text().splitlines()
    found = [json.loads(line.split(" ", 2)[2]) for line in lines if line.startswith("test,rules)/a.txt ")]
    assert [(one["status"], one["mime"]) for one in found] == [("200", "text/plain")]
    assert {line.partition(" ")[0] for line in lines if "/robots.txt" in line} == {
        f"test,{name})/robots.txt" for name in SEEDS}


def test_a_row_names_the_file_that_decided(root: Root) -> None:
    logs, hosts = root.logs(), root.hosts()
    assert logs["http://a.test/private/x"].robots_sha256 == hosts["http://a.test:80"].sha256
    assert logs["http://a.test/to-b"].robots_sha256 == hosts["http://b.test:80"].sha256       # of the last hop
    assert logs["http://c.test/"].robots_sha256 == ""


def told(root: Root, url: str) -> Stored:
    (found,) = stored_decisions(root.out, url)
    return found


def test_decisions_are_explained_from_what_is_stored(root: Root) -> None:
    denied, opened, away = (told(root, f"http://a.test/{path}") for path in ("private/x", "private/open", "to-b"))
    assert (denied.outcome, denied.explanation.allowed, denied.explanation.group, denied.explanation.line,
            denied.explanation.rule, denied.agrees) == ("robots_denied", False, "*", 2, "Disallow: /private", True)
    assert denied.stage == root.crawl.folder and [one.http_status for one in denied.captures] == [301, 200, 404, 404]
    assert (opened.outcome, opened.explanation.allowed, opened.explanation.line) == ("ok", True, 3)
    assert (away.outcome, away.explanation.url, away.explanation.rule) == (
        "robots_denied", "http://b.test/closed", "Disallow: /closed") and away.agrees
    assert any(signal.name == "tdm_file" for signal in away.explanation.signals)
    missing = told(root, "http://c.test/")
    assert missing.explanation.allowed and "2.3.1.3" in missing.explanation.why and missing.agrees
    never = told(root, "http://b.test/closed/and/never/linked")
    assert (never.stage, never.outcome, never.explanation.allowed) == ("", "", False)
    with pytest.raises(UsageError, match="nothing of http://nobody.test:80 is stored"):
        stored_decisions(root.out, "http://nobody.test/")


def test_a_file_that_says_something_else_is_told(root: Root, tmp_path: pathlib.Path) -> None:
    """The row holds what was decided; a table of files that was changed since does not agree with it."""
    stage = tmp_path / "out" / root.crawl.folder
    stage.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", root.crawl.directory, str(stage)], check=True)
    (entry,) = (one for one in root.crawl.tables["hosts"]
                if any(host.authority == "http://a.test:80" for host in read_table(f"{stage}/{one.name}", Host)))
    rows = [dataclasses.replace(host, body=host.body.replace(b"Disallow: /private\n", b"Disallow: /nothing\n"))
            for host in read_table(f"{stage}/{entry.name}", Host)]
    (stage / entry.name).unlink()
    manifest = json.loads((stage / "manifest.json").read_text())
    changed = write_table(str(stage), entry.name, Host, rows)
    for one in manifest["tables"]["hosts"]:
        if one["name"] == entry.name:
            one["bytes"] = changed.bytes
    (stage / "manifest.json").write_text(json.dumps(manifest))
    (found,) = stored_decisions(str(tmp_path / "out"), "http://a.test/private/x")
    assert not found.agrees and found.explanation.allowed


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    status = imagebert.main(["crawl", "robots", *words])
    return status, capsys.readouterr()


def test_the_command(root: Root, capsys: pytest.CaptureFixture[str]) -> None:
    status, printed = said(capsys, "http://a.test/private/x", "--out", root.out)
    assert status == 1
    for part in ("denied   http://a.test/private/x", "line 2, group '*': Disallow: /private", "robots_denied at ",
                 f"in {root.crawl.folder}: the stored files say the same", "capture 301 http://a.test/robots.txt at ",
                 "capture 200 http://rules.test/a.txt at "):
        assert part in printed.out, part
    status, printed = said(capsys, "http://a.test/private/open", "--out", root.out, "--json")
    assert (status, json.loads(printed.out)[0]["explanation"]["line"]) == (0, 3)
    status, printed = said(capsys, "http://b.test/unseen", "--out", root.out)
    assert status == 0 and "never in a fetch list" in printed.out
    status, printed = said(capsys, "robots.txt", "--out", root.out)
    assert status == 2 and "not an http(s) URL" in printed.err
    status, printed = said(capsys, "http://nobody.test/", "--out", root.out)
    assert status == 2 and len(printed.err.splitlines()) == 1


def test_of_image_hosts_too_and_in_several_shards(tmp_path: pathlib.Path) -> None:
    out = str(tmp_path / "out")
    given = [f"http://{name}.test/{picture}.png" for name in SEEDS for picture in ("in", "out")]
    with serving() as web:
        for name in SEEDS:
            web.on(f"http://{name}.test/robots.txt", body=b"User-agent: *\nDisallow: /out\n")
        judged(out, given, 0)
        images = fetch_images(out, dataclasses.replace(IMAGES, shards=3), web.network(), run)
    assert {one.address for path in images.paths("hosts") for one in read_table(path, Host)} == {"127.0.0.1"}
    for name in SEEDS:
        (found,) = stored_decisions(out, f"http://{name}.test/out.png")
        assert (found.outcome, found.explanation.rule, found.agrees) == ("robots_denied", "Disallow: /out", True)
        assert found.stage == images.folder and [one.http_status for one in found.captures] == [200, 404, 404]
        assert capture(Root(out, images), found.captures[0]).body.endswith(b"/out\n")
        assert stored_decisions(out, f"http://{name}.test/in.png")[0].explanation.allowed
