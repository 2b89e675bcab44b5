"""`imagebert crawl cdxj`: a sorted line for each stored answer and revisit, at whose address the record is."""
from __future__ import annotations

import dataclasses
import gzip
import json
import pathlib
from typing import Any

import pytest

import imagebert
from crawl import storage, warc
from crawl.answers import Answer
from crawl.cdxj import INDEX, write_index
from crawl.errors import UsageError
from crawl.parts import PartLimits
from crawl.records import FetchLog
from crawl.stages import Manifest, Stage, current_manifest
from crawl.tables import FileEntry, write_table
from tests.crawl.test_frontier import log

DATE, LATER = "2026-11-23T01:02:03.456789Z", "2026-11-24T01:02:03.456789Z"
BODY = b"<p>page"
PART = "shard-0000/part-00000-0123456789ab.warc.gz"


def logged(url: str, date: str = DATE, **changes: Any) -> FetchLog:
    return dataclasses.replace(log(url), fetched_at=date, http_status=200, **changes)


def answered(url: str, status: int = 200, entity: bytes = BODY) -> Answer:
    return Answer(url, "ok", status, f"HTTP/1.1 {status} OK", (), entity, BODY, "", False, "", 0.0, 0.1, 0.1)


def finished(out: str, version: int, members: list[bytes], rows: list[FetchLog]) -> Manifest:
    stage = Stage.open(out, "crawl", version, PartLimits(), {})
    parts = [FileEntry(PART, sum(map(len, members)), "")] if members else []
    if members:
        storage.commit_bytes(storage.join(stage.directory, PART), b"".join(members))
    return stage.commit({"warc": parts, "fetch_log": [write_table(stage.directory, "log.parquet", FetchLog, rows)],
                         "hosts": []}, [])


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    """Two crawls: three answers and a failure; then one answer again, a row of an earlier record."""
    root = str(tmp_path / "out") if request.param == "local" else f"memory://cdxj/{tmp_path.name}"
    places: dict[str, tuple[int, int]] = {}
    members = [warc.warcinfo("x", DATE, "bot")]
    for url, entity in (("http://b.test/z", BODY), ("http://www.a.test/B?y&x", gzip.compress(BODY, mtime=0)),
                        ("http://a.test:81/", BODY)):
        members.append(warc.response(answered(url, entity=entity), warc.record_id(url, 0), DATE))
        places[url] = sum(map(len, members[:-1])), len(members[-1])
    folder = Stage.open(root, "crawl", 1, PartLimits(), {}).folder
    types = {"http://b.test/z": "text/HTML;charset=x", "http://www.a.test/B?y&x": "", "http://a.test:81/": " a/b c"}
    rows = [logged(url, content_type=types[url], part=storage.join(folder, PART), offset=at, length=length)
            for url, (at, length) in places.items()]
    finished(root, 1, members, [*rows, dataclasses.replace(log("http://a.test/gone"), outcome="http_404")])
    stands = rows[0]
    stored = warc.read_response(storage.join(root, stands.part), stands.offset, stands.length, 100)
    again = warc.revisit(answered(stands.url, 304), warc.record_id(stands.url, 1), LATER, stored, True)
    own = storage.join(Stage.open(root, "crawl", 2, PartLimits(), {}).folder, PART)
    finished(root, 2, [again], [dataclasses.replace(
        stands, fetched_at=LATER, http_status=304, revisit_part=own, revisit_offset=0, revisit_length=len(again)),
        rows[1]])
    return root


def lines(out: str) -> list[tuple[str, str, dict[str, str]]]:
    text = storage.read_bytes(storage.join(out, INDEX))
    assert text.endswith(b"\n") and text.isascii() and text.splitlines() == sorted(text.splitlines())
    split = [line.split(" ", 2) for line in text.decode().splitlines()]
    return [(key, moment, json.loads(value)) for key, moment, value in split]


def test_every_record_has_its_line_and_lies_at_its_address(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["crawl", "cdxj", "--out", out]) == 0
    assert capsys.readouterr().out == f"{storage.join(out, INDEX)}: 4 captures of 2 crawls\n"
    found = lines(out)
    assert [(key, moment, one["url"], one["mime"], one["status"]) for key, moment, one in found] == [
        ("test,a)/b?x&y", "20261123010203", "http://www.a.test/B?y&x", "unk", "200"),
        ("test,a:81)/", "20261123010203", "http://a.test:81/", "a/b", "200"),
        ("test,b)/z", "20261123010203", "http://b.test/z", "text/HTML", "200"),
        ("test,b)/z", "20261124010203", "http://b.test/z", "warc/revisit", "304")]
    for _, _, one in found:
        assert list(one) == ["url", "mime", "status", "digest", "length", "offset", "filename"]
        member = gzip.decompress(storage.read_range(storage.join(out, one["filename"]), int(one["offset"]),
                                                    int(one["length"]))).decode("latin-1")
        assert f"WARC-Target-URI: {one['url']}\r\n" in member and f"Payload-Digest: {one['digest']}\r\n" in member
    assert found[0][2]["digest"] == warc.digest(gzip.compress(BODY, mtime=0)) != found[2][2]["digest"]
    assert found[2][2]["digest"] == found[3][2]["digest"] == warc.digest(BODY)      # a revisit finds what it repeats


def test_again_it_takes_the_place_of_the_old(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    storage.replace_bytes(storage.join(out, INDEX), b"old\n")
    assert write_index(out) == (4, 2)
    once = storage.read_bytes(storage.join(out, INDEX))
    assert imagebert.main(["crawl", "cdxj", "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"index": storage.join(out, INDEX), "captures": 4, "crawls": 2}
    assert storage.read_bytes(storage.join(out, INDEX)) == once


def test_an_address_without_its_record_is_one_line_and_the_old_index_stays(out: str) -> None:
    storage.replace_bytes(storage.join(out, INDEX), b"old\n")
    manifest = current_manifest(out, "crawl")
    (path,) = manifest.paths("warc")
    for damage in (bytes(storage.size(path)), warc.filler(storage.size(path))):
        storage.replace_bytes(path, damage)
        with pytest.raises(UsageError, match="not the record of http://b.test/z"):
            write_index(out)
    assert storage.read_bytes(storage.join(out, INDEX)) == b"old\n"
    assert [name for name in storage.names_in(out) if name.endswith(".tmp")] == []


def test_a_root_without_warc_parts_is_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    nowhere, read = tmp_path / "mistyped", str(tmp_path / "read")
    finished(read, 1, [], [logged("http://a.test/", part="theirs.warc.gz", length=9)])
    for out in (str(nowhere), read):
        assert imagebert.main(["crawl", "cdxj", "--out", out]) == 2
        assert "no finished crawl with WARC parts here" in capsys.readouterr().err
    assert not nowhere.exists()


def test_an_unfinished_crawl_is_not_in_it(out: str) -> None:
    stage = Stage.open(out, "crawl", 3, PartLimits(), {})
    storage.commit_bytes(storage.join(stage.directory, PART), b"half")
    assert write_index(out) == (4, 2)
