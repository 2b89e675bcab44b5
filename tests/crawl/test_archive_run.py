"""Archives instead of a crawl: pages and candidates that judge takes, every record accounted for."""
from __future__ import annotations

import io
import json
import pathlib
from typing import Any

import pytest

import imagebert
from crawl import storage, tables
from crawl.archive_inputs import these_files
from crawl.archive_run import ArchiveConfig, read_archives
from crawl.errors import UsageError
from crawl.page_work import parsed_pages
from crawl.records import BrokenRow, Candidate, FetchLog, Page
from crawl.stages import Manifest, current_manifest
from crawl.warc_pages import Other, page_in
from crawl.warc_reader import read_records
from tests.crawl.archives import PAGE, answer, arc, arc_head, gzipped, page, record, wat
from tests.crawl.running import run

CONFIG = ArchiveConfig(rows_per_file=3)
REFUSES = ('<meta name="robots" content="noai"><img src="/n.jpg" alt="A cat on the warm roof">')


def rows(manifest: Manifest, name: str, record_type: type) -> list[Any]:
    return [row for path in manifest.paths(name) for row in tables.read_table(path, record_type)]


@pytest.fixture
def warcs(tmp_path: pathlib.Path) -> list[str]:
    one = gzipped(record("warcinfo", "", b"software: x\r\n"), *(page(f"p{n}") for n in range(5)), page("p1"),
                  page("denied", "X-Robots-Tag: noai"), record("revisit", "http://a.test/p0", b""),
                  record("response", "http://a.test/none", answer("x", status="404 Not Found")))
    two = gzipped(page("q0"), page("bad")[:200], page("q1"),
                  record("response", "http://a.test/refuses", answer(REFUSES, "Content-Type: text/html")))
    for name, data in (("one.warc.gz", one), ("two.warc.gz", two)):
        (tmp_path / name).write_bytes(data)
    return [str(tmp_path / "one.warc.gz"), str(tmp_path / "two.warc.gz")]


def test_every_record_has_an_outcome(warcs: list[str], tmp_path: pathlib.Path) -> None:
    manifest = read_archives(str(tmp_path / "out"), these_files(warcs, "--warc"), CONFIG, run)
    assert dict(manifest.funnel[0].outcomes) == {"parsed": 8, "optout_header": 1, "optout_meta": 1, "http_404": 1,
                                                 "revisit": 1, "other_record": 1, "truncated_record": 1}
    found = rows(manifest, "candidates", Candidate)
    assert len(found) == 8 == len({row.occurrence for row in found}) and len({row.page_key for row in found}) == 7
    assert {row.image_url for row in found} == {f"http://a.test/{name}.jpg" for name in (
        "p0", "p1", "p2", "p3", "p4", "q0", "q1")}
    assert all(row.page_record_id and row.page_sha256 and row.permission == "unknown" for row in found)
    broken = rows(manifest, "broken", BrokenRow)
    assert [(row.table, row.row, row.outcome) for row in broken] == [(1, len(gzipped(page("q0"))), "truncated_record")]
    assert "1 of 14 records" in manifest.notes[0]
    assert {row.outcome for row in rows(manifest, "pages", Page)} == {"parsed", "optout_meta"}
    assert len(rows(manifest, "fetch_log", FetchLog)) == 11
    assert read_archives(str(tmp_path / "out"), these_files(warcs, "--warc"), CONFIG, run) == manifest


def test_rows_lead_back_to_the_bytes(warcs: list[str], tmp_path: pathlib.Path) -> None:
    manifest = read_archives(str(tmp_path / "out"), these_files(warcs, "--warc"), CONFIG, run)
    logs = rows(manifest, "fetch_log", FetchLog)
    for log in logs:
        record, = read_records(io.BytesIO(storage.read_range(str(tmp_path / log.part), log.offset, log.length)))
        again = page_in(record, CONFIG.pages, log.part)
        assert not isinstance(again, Other) and again[0].url == log.url and again[0].sha256 == log.sha256
    assert {log.part for log in logs} == {"one.warc.gz", "two.warc.gz"}


def test_arc_files_are_read_alike(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = answer(PAGE.format(title="x"), "Content-Type: text/html")
    (tmp_path / "old.arc.gz").write_bytes(gzipped(
        arc_head(), arc("http://a.test/x", content), arc("http://a.test/y", content, "many"),
        arc("dns:a.test", b"192.0.2.1"), arc("http://a.test/z", content)))
    words = ["candidates", "--warc", str(tmp_path / "old.arc.gz"), "--out", str(tmp_path / "out"), "--json"]
    assert imagebert.main(words) == 0
    funnel = json.loads(capsys.readouterr().out)["funnel"]
    assert funnel[0]["outcomes"] == {"bad_header": 1, "other_record": 2, "parsed": 2}
    logs = rows(current_manifest(str(tmp_path / "out"), "crawl"), "fetch_log", FetchLog)
    assert {log.fetched_at for log in logs} == {"2001-02-03T04:05:06Z"} and all(log.length for log in logs)


def test_a_killed_read_goes_on_and_is_the_same(warcs: list[str], tmp_path: pathlib.Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = these_files(warcs, "--warc")
    whole = read_archives(str(tmp_path / "whole"), chosen, CONFIG, run)
    written = []

    def breaks(directory: str, name: str, *rest: Any) -> Any:
        written.append(name)
        if len(written) == 5:
            raise KeyboardInterrupt
        return tables.commit_table(directory, name, *rest)
    with monkeypatch.context() as patch, pytest.raises(BaseException):    # noqa: B017, Beam wraps it or not
        patch.setattr("crawl.archive_run.commit_table", breaks)
        read_archives(str(tmp_path / "out"), chosen, CONFIG, run)
    assert read_archives(str(tmp_path / "out"), chosen, CONFIG, run).encode() == whole.encode()


def test_a_longer_list_reads_only_what_is_new(warcs: list[str], tmp_path: pathlib.Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    out, read = str(tmp_path / "out"), []
    read_archives(out, these_files(warcs[:1], "--warc"), CONFIG, run)

    def counted(box: Any, stored: Any) -> Any:
        for log, body in stored:
            read.append(log.url)
            yield from parsed_pages(box, [(log, body)])
    with monkeypatch.context() as patch:
        patch.setattr("crawl.archive_run.parsed_pages", counted)
        longer = read_archives(out, these_files(warcs, "--warc"), CONFIG, run)
    assert read == ["http://a.test/q0", "http://a.test/q1", "http://a.test/refuses"]
    whole = read_archives(str(tmp_path / "whole"), these_files(warcs, "--warc"), CONFIG, run)
    assert longer.encode() == whole.encode()


def test_one_and_two_workers_write_equal_tables(warcs: list[str], tmp_path: pathlib.Path) -> None:
    manifests = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        words = ["candidates", "--warc", *warcs, "--out", str(out), "--workers", workers, "--json"]
        assert imagebert.main(words) == 0
        manifests.append(next((out / "crawl").glob("*/manifest.json")).read_bytes())
    assert manifests[0] == manifests[1]
    assert imagebert.main(["judge", "--out", str(tmp_path / "1"), "--json"]) == 0


def test_wat_files_are_read_alike(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    links = [{"path": "IMG@/src", "url": "/a.jpg", "alt": "A brown dog runs over the field"}]
    (tmp_path / "x.warc.wat.gz").write_bytes(gzipped(
        wat("http://a.test/", {"Links": links}), record("metadata", "http://a.test/b", b'{"Envelope": '),
        wat("http://a.test/c", {"Links": links})))
    words = ["candidates", "--wat", str(tmp_path / "x.warc.wat.gz"), "--out", str(tmp_path / "out"), "--json"]
    assert imagebert.main(words) == 0
    funnel = json.loads(capsys.readouterr().out)["funnel"]
    assert funnel[0]["outcomes"] == {"bad_json": 1, "parsed": 2} and funnel[1]["outcomes"] == {"found": 2}


def test_a_page_that_kills_the_parser_is_a_row(tmp_path: pathlib.Path, warcs: list[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawl.page_work.Sandbox", _crashing(parsed_pages))
    manifest = read_archives(str(tmp_path / "out"), these_files(warcs[1:], "--warc"), CONFIG, run)
    assert dict(manifest.funnel[0].outcomes)["parse_crashed"] == 3


def _crashing(_: Any) -> Any:
    from crawl.sandbox_client import Sandbox

    def broken(work: str, read: Any, settings: Any, limits: Any) -> Any:
        return Sandbox("crawl.warc_reader:read_records", read, settings, limits)       # takes no settings: it fails
    return broken


@pytest.mark.parametrize(("data", "said"), [
    (b"%PDF-1.7 and more", "no page in it (1 no_warc)"), (b"", "no record at all"),
    (gzipped(page("x"), *[b"broken" * 9] * 30), "are broken")])
def test_bad_files_are_one_line(data: bytes, said: str, tmp_path: pathlib.Path,
                                capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.warc").write_bytes(data)
    words = ["candidates", "--warc", str(tmp_path / "x.warc"), "--out", str(tmp_path / "out")]
    assert imagebert.main(words) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("imagebert: --warc") and said in line
    assert not list((tmp_path / "out").glob("crawl/*/manifest.json"))


def test_two_equal_files_are_refused(warcs: list[str]) -> None:
    with pytest.raises(UsageError, match="are the same"):
        these_files([warcs[0], warcs[1], warcs[0]], "--warc")


@pytest.mark.parametrize("kind", ["wat", "warc"])
def test_records_of_one_gzip_member_are_captures_of_their_own(kind: str, tmp_path: pathlib.Path) -> None:
    links = [{"path": "IMG@/src", "url": "/a.jpg", "alt": "A brown dog runs over the field"}]
    twice = [wat(f"http://a.test/{name}", {"Links": links}) if kind == "wat" else page("x") for name in "xy"]
    (tmp_path / "one.gz").write_bytes(gzipped(b"".join(twice)))
    assert imagebert.main(["candidates", f"--{kind}", str(tmp_path / "one.gz"), "--out", str(tmp_path / "out")]) == 0
    found = rows(current_manifest(str(tmp_path / "out"), "crawl"), "candidates", Candidate)
    assert len(found) == 2 and len({row.occurrence for row in found}) == 2
