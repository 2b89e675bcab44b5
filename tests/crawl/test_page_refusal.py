"""A body that a header or a meta element refuses lies nowhere, or in the quarantine that was asked for."""
import gzip
import os
import pathlib

import pytest

from crawl.fetch_shard import fetch_shard
from crawl.records import FetchLog, ImageLog
from crawl.tables import read_table
from tests.crawl.loopback import quick, serving, write_list

SECRET = b"the words of a page that refuses"
REFUSES = b"<title>t</title><meta name=robots content=noai><p>" + SECRET + (
    b"<a href=/next>n</a><a rel=nofollow href=/no>x</a>")
SEEMS = b"<!-- <meta name=robots content=noai> --><p>a page that only seems to"
PICTURE = b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + b"picture that refuses"


@pytest.fixture
def web():
    with serving() as server:
        server.on("http://a.test/meta", body=REFUSES, headers={"X-Cache": "HIT", "Set-Cookie": "who=you"})
        server.on("http://a.test/late", body=b"<p>" + b"y" * 300_000 + REFUSES)
        server.on("http://a.test/header", body=SECRET, headers={"X-Robots-Tag": "noai"})
        server.on("http://a.test/seems", body=SEEMS)
        server.on("http://a.test/licence", body=b"<link rel=license type=application/rsl&#43;xml href=/l.xml>" + SECRET)
        server.on("http://i.test/1.gif", body=PICTURE, headers={"Content-Type": "image/gif", "X-Robots-Tag": "noai"})
        yield server


def fetch(web, tmp_path, urls, kind="page", **policy):
    directory = f"{tmp_path}/out/s/abc"
    parts = list(fetch_shard(write_list(str(tmp_path), urls, kind), directory, f"{tmp_path}/out", quick(**policy),
                             web.network(), 0, kind))
    record = FetchLog if kind == "page" else ImageLog
    return {row.url.rpartition("/")[2]: row for part in parts
            for row in read_table(f"{directory}/{part.log.name}", record)}


def everything(folder):
    """Returns the bytes of every file below a folder, compressed ones read."""
    found = {}
    for root, _, names in os.walk(folder):
        for name in names:
            data = pathlib.Path(root, name).read_bytes()
            found[os.path.relpath(os.path.join(root, name), folder)] = gzip.decompress(data) if name.endswith(
                ".gz") else data
    return found


GIVEN = [f"http://a.test/{name}" for name in ("meta", "late", "header", "seems", "licence")]


def test_a_refused_body_is_nowhere_and_its_row_says_all(web, tmp_path):
    rows = fetch(web, tmp_path, GIVEN)
    assert {name: row.outcome for name, row in rows.items()} == {
        "meta": "optout_meta", "late": "optout_meta", "header": "optout_header", "seems": "ok", "licence": "ok"}
    for name in ("meta", "late", "header"):
        assert (rows[name].permission, rows[name].part, rows[name].warc_record_id) == ("deny", "", "")
        assert any(signal.verdict == "deny" for signal in rows[name].signals) and rows[name].sha256
    assert "X-Cache: HIT" in rows["meta"].headers and "who=you" not in str(rows["meta"].headers)
    assert rows["meta"].links == ("http://a.test/next",) and rows["seems"].headers == rows["seems"].links == ()
    files = everything(tmp_path / "out")
    assert not any("quarantine" in name for name in files)
    assert sum(SECRET in data for name, data in files.items()) == 1          # of the licence, which decides nothing
    assert sum(SEEMS in data for data in files.values()) == 1


def test_a_licence_on_the_page_refuses_where_policy_says_so(web, tmp_path):
    assert fetch(web, tmp_path, GIVEN[-1:], rsl="deny")["licence"].outcome == "optout_meta"
    assert not any(SECRET in data for data in everything(tmp_path / "out").values())


def test_quarantine_keeps_it_apart(web, tmp_path):
    rows = fetch(web, tmp_path, GIVEN[:4], keep_denied=True)
    assert [rows[name].part for name in ("meta", "late", "header")] == ["", "", ""]
    holders = {name for name, data in everything(tmp_path / "out").items() if SECRET in data}
    assert len(holders) == 3 and all(name.startswith("s/abc/quarantine/") for name in holders)
    assert {name.split("/")[-1].partition("-")[0] for name in holders} == {
        rows[name].url_key for name in ("meta", "late", "header")}


@pytest.mark.parametrize("keep_denied", [False, True])
def test_an_image_is_treated_alike(web, tmp_path, keep_denied):
    (row,) = fetch(web, tmp_path, ["http://i.test/1.gif"], "image", keep_denied=keep_denied).values()
    assert (row.outcome, row.part, row.permission) == ("optout_header", "", "deny")
    holders = [name for name, data in everything(tmp_path / "out").items() if PICTURE in data]
    assert holders == ([f"s/abc/quarantine/{row.url_key}-{row.sha256[:12]}.bin"] if keep_denied else [])
