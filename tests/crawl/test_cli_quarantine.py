"""`imagebert crawl quarantine`: each body kept apart is a line with its reason and place, whatever its URL says."""
from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

import pytest

import imagebert
from crawl import quarantine, storage, urls
from crawl.parse import failed
from crawl.parts import PartLimits
from crawl.records import DENY, FetchLog, Image, Page, Signal
from crawl.stages import Stage
from crawl.tables import FileEntry, write_table
from tests.crawl.test_frontier import log

NASTY = "http://a.test/\x1b[2J\u202e=cmd\n"
REFUSES = (Signal("x_robots_tag", "noai\x1b[31m", DENY, "header"), Signal("robots", "", "allow", ""))


def stage(out: str, name: str, tables: dict[str, tuple[type, list[Any]]],
          denied: tuple[tuple[str, str], ...] = ()) -> None:
    opened = Stage.open(out, name, 1, PartLimits(), {})
    for kind, key in denied:
        quarantine.keep(opened.directory, kind, key, b"refused")
    entries: dict[str, list[FileEntry]] = {
        table: [write_table(opened.directory, f"{table}.parquet", record_type, rows)]
        for table, (record_type, rows) in tables.items()}
    opened.commit(entries, [])


def logged(url: str, outcome: str, **changes: Any) -> FetchLog:
    return dataclasses.replace(log(url, outcome), **changes)


@dataclasses.dataclass(frozen=True, slots=True)
class Facts:
    sha256: str
    outcome: str
    width: int
    part: str
    offset: int
    length: int


@pytest.fixture(params=["local", "memory"])
def out(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> str:
    root = str(tmp_path) if request.param == "local" else f"memory://quarantine/{tmp_path.name}"
    crashed = logged(NASTY, "ok", part="crawl/x/shard-0000/part-0.warc.gz", offset=7, length=90, sha256="ab")
    denied = logged("http://a.test/no", "optout_header", signals=REFUSES, sha256="cd")
    fine, bare = logged("http://a.test/fine", "ok"), logged("http://a.test/bare", "optout_meta")
    stage(root, "crawl", {
        "pages": (Page, [failed(crashed, "parse_crashed"), failed(fine, "parsed")]),
        "fetch_log": (FetchLog, [crashed, denied, fine, bare])}, (("page", denied.url_key),))
    picture = Image(url_key=urls.url_key("http://i.test/1.png"), url="http://i.test/1.png", outcome="ok",
                    http_status=200, final_url="", fetched_at="", signals=REFUSES, permission="", format="png",
                    width=1, height=1, num_bytes=3, sha256="ef", part="p", offset=0, length=3)
    refused = dataclasses.replace(picture, url_key="0" * 32, url="http://i.test/2.png", outcome="optout_header",
                                  sha256="01")
    stage(root, "images", {"images": (Image, [picture, refused])}, (("image", refused.url_key),))
    stage(root, "features", {"features": (Facts, [Facts("ef", "decode_timeout", 1, "images/t.tar", 512, 3),
                                                  Facts("99", "decoded", 1, "", 0, 0)])})
    return root


def test_every_body_kept_apart_has_a_line(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["crawl", "quarantine", "--out", out, "--json"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["stage"], one["reason"], one["url"]) for one in found] == [
        ("crawl", "parse_crashed", NASTY), ("crawl", "optout_header", "http://a.test/no"),
        ("images", "optout_header", "http://i.test/2.png"), ("features", "decode_timeout", "http://i.test/1.png")]
    assert (found[0]["file"], found[0]["offset"], found[0]["length"]) == ("crawl/x/shard-0000/part-0.warc.gz", 7, 90)
    assert found[1]["evidence"] == "x_robots_tag noai\x1b[31m"
    assert storage.read_bytes(storage.join(out, found[1]["file"])) == b"refused" and found[3]["file"] == "images/t.tar"
    assert imagebert.main(["crawl", "quarantine", "--out", out, "--json", "--reason", "decode_timeout"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_terminal_obeys_none_of_it(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["crawl", "quarantine", "--out", out]) == 0
    printed = capsys.readouterr().out
    assert all(line.isprintable() for line in printed.splitlines()) and len(printed.splitlines()) == 5
    assert r"http://a.test/\x1b[2J\u202e=cmd\n  crawl/x/shard-0000/part-0.warc.gz:7+90" in printed
    assert r"(x_robots_tag noai\x1b[31m)" in printed
    assert printed.endswith("decode_timeout 1, optout_header 2, parse_crashed 1\n")


def test_a_folder_without_a_crawl_is_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["crawl", "quarantine", "--out", str(tmp_path)]) == 2
    assert "no finished stage 'crawl' or 'images' here" in capsys.readouterr().err
