"""Tables of captions instead of a crawl: candidates that judge takes, every row accounted for, the same each time."""
from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

import imagebert
from crawl import tables
from crawl.caption_tables import Layout
from crawl.errors import UsageError
from crawl.images_run import ImagesConfig, fetch_images
from crawl.records import BrokenRow, Candidate, Image, ImageFetch
from crawl.stages import Manifest, current_manifest
from crawl.table_run import TableConfig, read_candidates
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Judged
from tests.crawl.loopback import quick, serving
from tests.crawl.running import run
from tests.filter.tiny_web import jpeg, photograph

CONFIG = TableConfig(Layout("cc12m"), language="en", rows_per_file=3)
TABLE = ("http://a.test/1.jpg\tA dog runs over the green field\nHTTP://A.test:80/2.jpg\tGolden Gate Bridge\n"
         "ftp://a.test/3.jpg\tx\nbroken\nhttp://a.test/4.jpg\t\nhttp://a.test/1.jpg\tA dog runs over the green field\n"
         "http://a.test/5.jpg\tDer Hund sitzt neben der Katze und dem Baum\n")


@pytest.fixture
def table(tmp_path: pathlib.Path) -> str:
    (tmp_path / "t.tsv").write_text(TABLE)
    return str(tmp_path / "t.tsv")


def rows(manifest: Manifest, name: str, record_type: type) -> list[Any]:
    return [row for path in manifest.paths(name) for row in tables.read_table(path, record_type)]


def test_every_row_is_a_candidate_or_says_why_not(table: str, tmp_path: pathlib.Path) -> None:
    manifest = read_candidates(str(tmp_path / "out"), [table], CONFIG, run)
    found = rows(manifest, "candidates", Candidate)
    assert sorted(row.image_url for row in found) == [f"http://a.test/{n}.jpg" for n in (1, 1, 2, 4, 5)]
    assert len({row.occurrence for row in found}) == len({row.page_key for row in found}) == 5
    assert {(row.page_url, row.permission, row.found_in) for row in found} == {("", "unknown", "table")}
    assert [(row.row, row.outcome) for row in rows(manifest, "broken", BrokenRow)] == [(2, "bad_url"), (3, "bad_row")]
    assert manifest.funnel[0].rows_in == 7 and manifest.funnel[0].adds_up()
    assert dict(manifest.funnel[0].outcomes) == {"found": 5, "bad_url": 1, "bad_row": 1}
    assert "2 of 7 rows" in manifest.notes[0]
    assert read_candidates(str(tmp_path / "out"), [table], CONFIG, run) == manifest
    again = read_candidates(str(tmp_path / "again"), [table], TableConfig(
        Layout("cc12m"), language="en", rows_per_file=100), run)
    assert again.table_digest("candidates") == manifest.table_digest("candidates")


def test_a_killed_read_goes_on(table: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, other = str(tmp_path / "out"), tmp_path / "u.tsv"
    other.write_text("http://b.test/1.jpg\tA cat sleeps on the warm roof\n")
    whole = read_candidates(str(tmp_path / "whole"), [table, str(other)], CONFIG, run)
    written = []

    def breaks(directory: str, name: str, *rest: Any) -> Any:
        written.append(name)
        if len(written) == 3:
            raise KeyboardInterrupt
        return tables.write_table(directory, name, *rest)
    with monkeypatch.context() as patch, pytest.raises(BaseException):    # noqa: B017, Beam wraps it or not
        patch.setattr("crawl.table_run.write_table", breaks)
        read_candidates(out, [table, str(other)], CONFIG, run)
    assert read_candidates(out, [table, str(other)], CONFIG, run).encode() == whole.encode()


def test_judge_does_not_ask_a_row_for_its_page(table: str, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path / "out")
    read_candidates(out, [table], CONFIG, run)
    judged = judge(out, JudgeConfig(buckets=1), run)
    outcomes = {row.image_url[-5]: row.outcome for row in rows(judged, "judged", Judged)}
    assert outcomes["1"] == outcomes["2"] == "fetch"              # too short to tell its language, and passed
    assert outcomes["4"] == "not_fetched_no_text" and outcomes["5"].startswith("not_fetched_")
    assert len(rows(judged, "fetch", ImageFetch)) == 2
    read_candidates(out, [table], TableConfig(Layout("cc12m")), run)       # nobody says the language
    undeclared = judge(out, JudgeConfig(buckets=1), run)
    assert {row.image_url[-5]: row.outcome for row in rows(undeclared, "judged", Judged)} == outcomes
    assert "page_language" not in str(undeclared.funnel)


def test_policy_decides_on_unknown_permission(table: str, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path)
    words = ["candidates", "--table", table, "--format", "cc12m", "--out", out, "--json"]
    assert imagebert.main(words) == 0
    assert imagebert.main(["judge", "--out", out, "--set", "permission.unknown=deny"]) == 0
    assert dict(current_manifest(out, "judge").funnel[0].outcomes) == {"not_fetched_not_permitted_unknown": 5}


def test_the_command_takes_several_tables_and_knows_a_suffix(tmp_path: pathlib.Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"u": f"http://{name}.test/x.jpg", "c": "A dog"}))
    words = ["candidates", "--out", str(tmp_path / "out"), "--url-column", "u", "--caption-column", "c", "--json",
             "--table", str(tmp_path / "a.jsonl"), "--table", str(tmp_path / "b.jsonl")]
    assert imagebert.main(words) == 0
    assert json.loads(capsys.readouterr().out)["funnel"][1]["outcomes"] == {"found": 2}


def test_further_columns_and_hashes_reach_judge(tmp_path: pathlib.Path) -> None:
    out, sha = str(tmp_path / "out"), "ab" * 32
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in (
        {"url": "http://a.test/1.jpg", "caption": "A dog runs over the green field", "sha": sha, "tag": "dog"},
        {"url": "http://a.test/2.jpg", "caption": "A cat sleeps on the warm roof", "sha": "no hash"},
        {"url": "http://a.test/3.jpg", "caption": "A cow stands by the wooden fence", "boxes": [1, 2]})))
    words = ["candidates", "--out", out, "--table", str(tmp_path / "t.jsonl"), "--sha256-column", "sha"]
    assert imagebert.main(words) == 0 and imagebert.main(["judge", "--out", out]) == 0
    crawl = current_manifest(out, "crawl")
    assert [row.outcome for row in rows(crawl, "broken", BrokenRow)] == ["bad_hash"]
    assert crawl.extra["with_hash"] == 1 and any("1 values of further columns" in note for note in crawl.notes)
    found = {row.image_url[-5]: row for row in rows(current_manifest(out, "judge"), "judged", Judged)}
    assert (found["1"].extras, found["1"].expected) == ('{"tag":"dog"}', (f"sha256:{sha}",))
    assert (found["3"].extras, found["3"].expected) == ("", ())


def test_a_longer_table_fetches_only_what_is_new(tmp_path: pathlib.Path) -> None:
    out, captions = str(tmp_path / "out"), ("A dog runs over the green field", "A cat sleeps on the warm roof",
                                            "A cow stands by the wooden fence", "A boat leaves the old harbour")
    with serving() as web:
        for number in range(4):
            web.on(f"http://a.test/{number}.jpg", body=jpeg(photograph(number)), headers={"Content-Type": "image/jpeg"})

        def build(table: str, length: int) -> Manifest:
            lines = [f"http://a.test/{number}.jpg\t{captions[number]}\n" for number in range(length)]
            (tmp_path / table).write_text("".join(lines))
            read_candidates(out, [str(tmp_path / table)], CONFIG, run)
            judge(out, JudgeConfig(buckets=1), run)
            return fetch_images(out, ImagesConfig(fetch=quick(retries=0), buckets=1), web.network(), run)
        first = build("short.tsv", 2)
        assert sorted(web.asked()) == ["/0.jpg", "/1.jpg"]
        web.log.clear()
        second = build("long.tsv", 4)
        assert sorted(web.asked()) == ["/2.jpg", "/3.jpg"]
    found = {row.url: row for row in rows(second, "images", Image)}
    assert len(found) == 4 and {row.outcome for row in found.values()} == {"ok"}
    assert all(found[row.url] == row for row in rows(first, "images", Image))


@pytest.mark.parametrize(("words", "said"), [
    (("--table", "/no/such.csv"), "/no/such.csv"), (("--table", "{t}"), "--format"),
    (("--table", "{t}", "--format", "cc12m", "--table", "{t}"), "same bytes"),
    (("--table", "{t}", "--format", "cc3m"), "no row has an image URL"),
    (("--table", "{t}", "--format", "cc12m", "--language", "English"), "ISO 639-1"),
    (("--table", "{t}", "--format", "cc12m", "--sha256-column", "sha"), "no column 'sha'"),
    (("--table", "{t}", "--format", "cc12m", "--set", "layout.extra_columns=[\"x\"]"), "no column 'x'"),
    (("--table", "{j}", "--sha256-column", "sha"), "no row has a hash in sha"),
    (("--table", "{j}", "--set", "layout.format=parquet"), "cannot be read as parquet"),
    (("--table", "{t}", "--format", "parquet"), "parquet")])
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, table: str, tmp_path: pathlib.Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "j.jsonl").write_text('{"url": "http://a.test/1.jpg", "caption": "A dog runs"}')
    given = [word.format(t=table, j=tmp_path / "j.jsonl") for word in words]
    assert imagebert.main(["candidates", "--out", str(tmp_path / "out"), *given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("imagebert: ") and said in line


def test_a_table_without_one_url_leaves_no_stage(table: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="5 bad_url"):
        read_candidates(str(tmp_path), [table], TableConfig(Layout("cc3m")), run)
    with pytest.raises(UsageError, match="no finished stage 'crawl'"):
        current_manifest(str(tmp_path), "crawl")


def test_a_missing_column_is_told_without_a_traceback(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str],
                                                      caplog: pytest.LogCaptureFixture) -> None:
    """The mistake is found in a worker of Beam, which would log where it was."""
    (tmp_path / "t.csv").write_text("url,caption\nhttp://a.test/a.jpg,A brown dog runs over the green field\n")
    assert imagebert.main(["candidates", "--table", str(tmp_path / "t.csv"), "--url-column", "link", "--caption-column",
                           "caption", "--out", str(tmp_path / "out")]) == 2
    assert "there is no column 'link'" in capsys.readouterr().err
    assert not [record for record in caplog.records if record.exc_info]
