"""Common Crawl's columnar index: what is wanted is found, and read record by record as out of the whole file."""
from __future__ import annotations

import json
import pathlib
import random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import imagebert
from crawl import tables
from crawl.columnar_index import Wanted, pick
from crawl.records import BrokenRow, Candidate, FetchLog, Page
from crawl.stages import Manifest, current_manifest
from crawl.warc_reader import read_records_of
from tests.crawl.archives import gzipped, page
from tests.crawl.test_trusted_http import Service, service

__all__ = ["service"]
WARCS = {f"crawl-data/{name}.warc.gz": [page(f"{name}{n}") for n in range(12)] for name in "ab"}


def index_row(**changes: Any) -> dict[str, Any]:
    return {"url": "http://a.test/x", "url_host_registered_domain": "a.test", "fetch_status": 200,
            "content_mime_detected": "text/html", "content_languages": "eng,deu", "warc_filename": "w",
            "warc_record_offset": 0, "warc_record_length": 9} | changes


def write_index(path: pathlib.Path, rows: list[dict[str, Any]], group: int = 5) -> str:
    types = {"fetch_status": pa.int16(), "warc_record_offset": pa.int32(), "warc_record_length": pa.int32()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in index_row()])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=group)
    return str(path)


@pytest.fixture
def index(tmp_path: pathlib.Path) -> str:
    """The index of two WARC files below `data`; half of the pages are German first."""
    rows = []
    for name, records in WARCS.items():
        data = gzipped(*records)
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / name).write_bytes(data)
        rows += [index_row(url=one.fields["warc-target-uri"], warc_filename=name, warc_record_offset=one.offset,
                           warc_record_length=one.length, content_languages=["eng", "deu,eng"][number % 2])
                 for number, one in enumerate(read_records_of(data))]
    random.Random(1).shuffle(rows)
    return write_index(tmp_path / "part-0.parquet", rows)


def read(tmp_path: pathlib.Path, index: str, *words: str, base: str = "", out: str = "out") -> Manifest:
    assert imagebert.main(["candidates", "--index", index, "--base", base or str(tmp_path / "data"), *words,
                           "--out", str(tmp_path / out), "--json"]) == 0
    manifest = current_manifest(str(tmp_path / out), "crawl")
    assert manifest is not None
    return manifest


def rows(manifest: Manifest, name: str, record_type: type) -> list[Any]:
    return [row for path in manifest.paths(name) for row in tables.read_table(path, record_type)]


def test_records_by_range_are_those_of_the_whole_files(index: str, tmp_path: pathlib.Path) -> None:
    one = read(tmp_path, index)
    assert imagebert.main(["candidates", "--warc", *(str(tmp_path / "data" / name) for name in WARCS),
                           "--out", str(tmp_path / "whole"), "--json"]) == 0
    whole = current_manifest(str(tmp_path / "whole"), "crawl")
    assert whole is not None and len(rows(one, "candidates", Candidate)) == 24
    assert sorted(map(repr, rows(one, "pages", Page))) == sorted(map(repr, rows(whole, "pages", Page)))
    places = [{(log.url, log.part.rpartition("/")[2], log.offset, log.length, log.sha256)
               for log in rows(manifest, "fetch_log", FetchLog)} for manifest in (one, whole)]
    assert places[0] == places[1] and {log.part for log in rows(one, "fetch_log", FetchLog)} == set(WARCS)
    assert imagebert.main(["judge", "--out", str(tmp_path / "out"), "--json"]) == 0


def test_a_sample_is_seeded_and_grows(index: str, tmp_path: pathlib.Path) -> None:
    found = [{row.url for row in rows(read(tmp_path, index, "--sample", str(count), "--seed", seed), "pages", Page)}
             for count, seed in ((5, "1"), (9, "1"), (5, "2"))]
    assert [len(some) for some in found] == [5, 9, 5] and found[0] < found[1] and found[0] != found[2]
    selected = current_manifest(str(tmp_path / "out"), "selected")
    assert selected is not None and dict(selected.funnel[0].outcomes) == {"selected": 5, "not_selected": 19}
    other = write_index(tmp_path / "part-1.parquet", [index_row(url=f"http://b.test/{n}", warc_filename="none",
                                                                warc_record_offset=n) for n in range(24)])
    words = ["candidates", "--index", index, other, "--sample", "20", "--base", str(tmp_path / "data"), "--out",
             str(tmp_path / "two"), "--json"]
    assert imagebert.main(words) == 0
    both = current_manifest(str(tmp_path / "two"), "crawl")
    assert both is not None and len(rows(both, "pages", Page)) + len(rows(both, "broken", BrokenRow)) == 20


@pytest.mark.parametrize(("wanted", "offsets"), [
    (Wanted(), [0, 1, 2, 3, 7]), (Wanted(languages=("eng",)), [0, 2, 7]), (Wanted(languages=("deu", "fra")), [1, 3]),
    (Wanted(statuses=()), [0, 1, 2, 3, 4, 7]), (Wanted(mimes=("application/pdf",)), [5]),
    (Wanted(domains=("b.test",)), [2, 7]), (Wanted(domains=("zz.test",)), [])])
def test_what_is_wanted(wanted: Wanted, offsets: list[int], tmp_path: pathlib.Path) -> None:
    all_changes: list[dict[str, Any]] = [
        {}, {"content_languages": "deu,eng"}, {"url_host_registered_domain": "b.test"}, {"content_languages": "fra"},
        {"fetch_status": 404}, {"content_mime_detected": "application/pdf"}, {"warc_record_length": None},
        {"url_host_registered_domain": "b.test"}]
    path = write_index(tmp_path / "x.parquet", [index_row(warc_record_offset=at, **changes)
                                                for at, changes in enumerate(all_changes)], group=2)
    picks, total = pick(path, "x", wanted)
    assert [one.offset for one in picks] == offsets and total == 8


def test_over_http_near_records_are_read_together(service: Service, index: str, tmp_path: pathlib.Path) -> None:
    for name in WARCS:
        service.files[name] = (tmp_path / "data" / name).read_bytes()
    service.files["index/part-0.parquet"] = pathlib.Path(index).read_bytes()
    service.faults = [503]
    found = read(tmp_path, service.url + "index/part-0.parquet", "--languages", "eng", base=service.url)
    assert len(rows(found, "pages", Page)) == 12
    assert len([path for path, _ in service.asked if path.endswith(".warc.gz")]) == 2
    assert all(asked for _, asked in service.asked)


def test_what_the_index_says_wrongly_is_a_row(tmp_path: pathlib.Path, index: str) -> None:
    listed = pq.read_table(index).to_pylist()[:8]
    listed[0]["url"] = "http://a.test/other"
    listed[1]["warc_record_offset"] += 3
    listed[2]["warc_record_length"] -= 9
    listed[3]["warc_filename"] = "crawl-data/none.warc.gz"
    listed[4]["warc_filename"] = "../data/crawl-data/a.warc.gz"
    listed[5]["warc_record_offset"] = 1 << 30
    found = read(tmp_path, write_index(tmp_path / "bad.parquet", listed))
    assert sorted(row.outcome for row in rows(found, "broken", BrokenRow)) == [
        "another_record", "bad_address", "file_http_404", "no_warc", "truncated_record", "truncated_record"]
    assert len(rows(found, "pages", Page)) == 2


def test_a_listing_names_the_files(index: str, tmp_path: pathlib.Path) -> None:
    for subset in ("warc", "robotstxt"):
        place = tmp_path / "data" / f"cc-index/subset={subset}" / "part-0.parquet"
        place.parent.mkdir(parents=True)
        place.write_bytes(pathlib.Path(index).read_bytes() if subset == "warc" else b"not read")
    (tmp_path / "cc-index-table.paths").write_text("".join(f"cc-index/subset={name}/part-0.parquet\n" for name in (
        "robotstxt", "warc")))
    assert len(rows(read(tmp_path, str(tmp_path / "cc-index-table.paths")), "pages", Page)) == 24


@pytest.mark.parametrize(("words", "said"), [
    (["--languages", "xyz"], "none of its 24 captures is wanted"), (["--sample", "0"], "--sample 0"),
    (["--statuses", "2x"], "--statuses 2x"), (["--domains", "none.txt"], "--domains none.txt")])
def test_bad_wishes_are_one_line(words: list[str], said: str, index: str, tmp_path: pathlib.Path,
                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["candidates", "--index", index, *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_no_index_is_one_line(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    pq.write_table(pa.table({"url": ["x"]}), tmp_path / "y.parquet")
    for name, said in (("x", "cannot read it"), ("y", "it has no column")):
        assert imagebert.main(["candidates", "--index", str(tmp_path / f"{name}.parquet"), "--out",
                               str(tmp_path / "out")]) == 2
        assert said in json.dumps(capsys.readouterr().err.splitlines()[-1])
