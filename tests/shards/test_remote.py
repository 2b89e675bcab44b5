"""Shards on an object store or a web server are read as those of a folder; what fails there is one line."""
from __future__ import annotations

import mmap
import os
from pathlib import Path

import pytest

import imagebert
from crawl import object_store, storage
from crawl.errors import UsageError
from crawl.object_store import StoreUsageError
from shards.index import load_index
from shards.manifest import load_shards
from shards.reader import open_shard, read_samples
from shards.validate import validate
from tests.shards.made_root import made_root
from tests.shards.range_server import served

BUCKET = "memory://remote-shards"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shards") / "data"
    made_root(str(root))
    for name in storage.names_below(str(root)):
        storage.commit_bytes(f"{BUCKET}/data/{name}", (root / name).read_bytes())
    return root


@pytest.fixture()
def web(folder):
    with served(folder) as server:
        yield server


def directory_of(folder) -> Path:
    return Path(load_shards(str(folder)).directory)


def as_plain(sample):
    return sample.key, sample.image, sample.caption, sample.json, sample.regions.feat.tobytes()


def printed(capsys, *words: str) -> tuple[int, str]:
    status = imagebert.main(list(words))
    out, error = capsys.readouterr()
    return status, out + error


@pytest.mark.parametrize("words", [("stats",), ("ls", "--limit", "0"), ("validate",), ("card",),
                                   ("show", "{key}")], ids=lambda words: words[0])
def test_a_command_says_of_a_bucket_what_it_says_of_the_folder(folder, capsys, words):
    key = next(read_samples(load_shards(str(folder)))).key
    said = [printed(capsys, "shards", words[0], root, *(word.format(key=key) for word in words[1:]), "--json")
            for root in (str(folder), f"{BUCKET}/data")]
    assert said[0][0] == said[1][0] and len(said[0][1]) > 100
    assert said[1][1].replace(f"{BUCKET}/data", str(folder)) == said[0][1]


def test_a_sheet_and_a_diff_of_a_bucket(folder, capsys, tmp_path):
    drawn = [printed(capsys, "shards", "sample", root, "--out", str(tmp_path / "sheet.png"), "--n", "4", "--json")
             for root in (str(folder), f"{BUCKET}/data")]
    assert drawn[0] == drawn[1] and drawn[0][0] == 0
    status, said = printed(capsys, "shards", "diff", str(folder), f"{BUCKET}/data", "--json")
    assert status == 0 and '"went": {}' in said


def test_every_sample_over_http_in_few_requests(folder, web):
    shards = load_shards(f"{web.url}/{directory_of(folder).relative_to(folder)}")
    assert [as_plain(sample) for sample in read_samples(shards)] \
        == [as_plain(sample) for sample in read_samples(load_shards(str(folder)))]
    tars = [path for path, _ in web.gets if path.endswith(".tar")]
    assert len(tars) <= shards.samples("train"), "at most one request a sample"


def test_one_sample_is_read_by_ranges(folder, web):
    shards = load_shards(f"{web.url}/{directory_of(folder).relative_to(folder)}")
    with open_shard(shards, shards.of_split("train")[0]) as reader:
        web.gets.clear()
        image = reader.image(7)
        assert [size for _, size in web.gets] == [len(image)]
        web.gets.clear()
        captions = [reader.caption(row) for row in range(len(reader))]
    assert all(captions) and all(".parquet" in path for path, _ in web.gets) and len(web.gets) <= 3


def test_what_passes_is_asked_again(folder, web):
    shards = load_shards(f"{web.url}/{directory_of(folder).relative_to(folder)}")
    expected = [as_plain(sample) for sample in read_samples(load_shards(str(folder)))]
    web.faults.extend([503, "cut", 0.2, 500, "cut", 0, 503])
    assert [as_plain(sample) for sample in read_samples(shards)] == expected
    assert not web.faults


@pytest.mark.parametrize("status, says", [(403, "refuses it (403 Forbidden)"), (401, "refuses it (401 Unauthorized)"),
                                          (404, "no manifest.json")])
def test_what_stays_is_one_line(web, capsys, status, says):
    web.always = status
    code, said = printed(capsys, "shards", "stats", f"{web.url}/data")
    assert code == 2 and says in said and said.count("\n") == 1


def test_a_store_that_does_not_answer_is_one_line(monkeypatch, tmp_path):
    from datetime import timedelta

    from obstore.store import from_url
    with served(tmp_path) as server:
        server.always = 503
        monkeypatch.setattr(object_store, "_store", lambda url: from_url(
            url, client_options={"allow_http": True},
            retry_config={"max_retries": 2, "backoff": {"init_backoff": timedelta(milliseconds=1)}}))
        with pytest.raises(StoreUsageError, match=r"503 Service Unavailable.*run the same command again"):
            storage.read_bytes(f"{server.url}/x")
        with pytest.raises(OSError):                          # who waits for a store, such as a lease, sees an OSError
            storage.size(f"{server.url}/x")


def test_a_missing_and_a_shortened_file_are_named(folder, tmp_path):
    name = "memory://remote-shards-cut/data"
    for file in storage.names_below(str(folder)):
        data = (folder / file).read_bytes()
        if not file.endswith(".idx.npy"):
            storage.commit_bytes(f"{name}/{file}", data[:-512] if file.endswith("jpg-000000.tar") else data)
    with pytest.raises(UsageError, match="idx.npy: missing|the manifest says"):
        load_shards(name)
    found = {str(fault) for fault in validate(load_shards(name, check_sizes=False))}
    assert any("idx.npy" in fault and "missing" in fault for fault in found)
    assert any("the manifest says" in fault and ".tar" in fault for fault in found)


def test_an_index_of_tars_in_a_bucket(folder, tmp_path, capsys):
    inside = load_shards(f"{BUCKET}/data")
    tar = storage.join(inside.directory, inside.of_split("train")[0].name)
    code, said = printed(capsys, "shards", "index", tar, "--out", str(tmp_path / "index"), "--json")
    assert code == 0, said
    theirs = load_shards(str(tmp_path / "index"))
    assert [sample.image for sample in read_samples(theirs)] == [sample.image for sample in read_samples(inside)]
    code, said = printed(capsys, "shards", "index", f"{BUCKET}/no.tar", "--out", str(tmp_path / "other"))
    assert code == 2 and "no such tar" in said


def test_an_index_is_mapped_and_leaves_no_file(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    shards = load_shards(f"{BUCKET}/data")
    rows = load_index(shards.path(shards.shards[0].index))
    assert isinstance(rows.base.obj, mmap.mmap) and len(rows) == shards.shards[0].samples and not os.listdir(tmp_path)


def test_no_credential_is_named(monkeypatch, capsys):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAFORTHISTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-this-test")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    with served(Path("/nonexistent")) as server:
        server.always = 403
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        object_store._store.cache_clear()
        code, said = printed(capsys, "shards", "stats", "s3://a-bucket/data")
        object_store._store.cache_clear()
    assert code == 2 and "s3://a-bucket/data" in said and "403" in said
    assert "AKIAFORTHISTEST" not in said and "a-secret-of-this-test" not in said


