"""Every format gives the same rows, and a broken row is a row, not the end of the file."""
from __future__ import annotations

import collections
import datetime
import decimal
import gzip
import json
import pathlib
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crawl.caption_tables import MAX_LINE, Layout, Row, read_rows
from crawl.errors import UsageError
from crawl.table_columns import MAX_EXTRAS

SOUND = [Row("http://a.test/1.jpg", "a dog, on a “field”"), Row("http://a.test/2.jpg", "two\u2028cats"),
         Row("http://a.test/3.jpg", "")]


def written(path: pathlib.Path, layout: str) -> str:
    pairs = [(row.url, row.caption) for row in SOUND]
    if layout == "cc3m":
        path.write_text("".join(f"{caption}\t{url}\n" for url, caption in pairs))
    elif layout == "cc12m":
        path.write_text("".join(f"{url}\t{caption}\r\n" for url, caption in pairs))
    elif layout == "csv":
        path.write_text("n,url,caption\n" + "".join(f'1,{url},"{caption}"\n' for url, caption in pairs))
    elif layout == "jsonl":
        path.write_text("\n".join(json.dumps({"n": 1, "url": url, "caption": caption}) for url, caption in pairs))
    elif layout == "sbu":
        path.write_text(json.dumps({"user_ids": ["image_urls", 2, {"captions": ["no"]}],
                                    "captions": [caption for _, caption in pairs],
                                    "image_urls": [url for url, _ in pairs]}, ensure_ascii=False))
    else:
        columns = {"n": [1, 2, 3], "caption": [caption for _, caption in pairs], "url": [url for url, _ in pairs]}
        pq.write_table(pa.table(columns), path)
    return str(path)


@pytest.mark.parametrize("layout", ["cc3m", "cc12m", "sbu", "csv", "jsonl", "parquet"])
def test_every_format_gives_the_same_rows(tmp_path: pathlib.Path, layout: str) -> None:
    path = written(tmp_path / "t", layout)
    named = layout in ("csv", "jsonl", "parquet")
    assert list(read_rows(path, Layout(layout, extra_columns=()) if named else Layout(layout))) == SOUND
    if layout != "parquet":
        packed = tmp_path / "t.gz"
        packed.write_bytes(gzip.compress((tmp_path / "t").read_bytes()))
        assert [(row.url, row.caption) for row in read_rows(str(packed), Layout(layout))] == [
            (row.url, row.caption) for row in SOUND]


def faults(path: pathlib.Path, data: bytes, layout: Layout) -> list[str]:
    path.write_bytes(data)
    return [row.fault or row.url for row in read_rows(str(path), layout)]


def test_a_broken_row_is_passed_over_and_the_next_is_read(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t"
    long = b"x" * (2 * MAX_LINE + 5)
    assert faults(path, b"no tab\n\nx\tu1\na\tb\tc\nx\t\n\xff\tu2\n" + long + b"\nx\tu3", Layout("cc3m")) == [
        "bad_row", "u1", "bad_row", "no_url", "bad_encoding", "too_long", "u3"]
    assert faults(path, b'\xef\xbb\xbf{"url": "u1"}\n{\n[1]\n{"url": 5}\n{"caption": "x"}\n'
                        b'{"url": "u2", "caption": [1]}\n{"url": "u3", "caption": "\\ud800"}\n'
                        + b"[" * 100_000 + b'\n{"url": "u4", "caption": "x"}',
                  Layout("jsonl")) == ["u1", "bad_row", "bad_row", "bad_row", "no_url", "bad_row", "bad_encoding",
                                       "bad_row", "u4"]
    assert faults(path, b"url,caption\nu1,x\nu2\n\nu3,\xff\n" + long + b"\nu4,x\n", Layout("csv")) == [
        "u1", "bad_row", "bad_encoding", "too_long", "u4"]
    assert faults(path, b'{"image_urls": ["u1", 5, "u\\q", "u2", "u3"], "captions": ["x", "y", "z", null]}',
                  Layout("sbu")) == ["u1", "bad_row", "bad_row", "u2", "u3"]


def test_further_columns_become_one_json_object(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "t"
    path.write_text('{"url": "u1", "caption": "x", "w": 640, "who": "Zoë \\"Z\\"", "no": null, "like": NaN, "ok": true}'
                    '\n{"url": "u2", "caption": "y", "boxes": [1], "w": "\\ud800"}\n')
    first, second = read_rows(str(path), Layout("jsonl"))
    assert first.extras == '{"w":640,"who":"Zoë \\"Z\\"","ok":true}' and first.left_out == 0
    assert (second.extras, second.left_out, second.fault) == ("", 2, "")
    assert [row.extras for row in read_rows(str(path), Layout("jsonl", extra_columns=("w",)))] == ['{"w":640}', ""]

    path.write_text("url,who,caption,who,empty\nu1,a,x,b,\n")
    assert [row.extras for row in read_rows(str(path), Layout("csv"))] == ['{"who":"a"}']

    when = datetime.datetime(2024, 5, 6, 7, 8, 9)
    columns = {"url": ["u1"], "caption": ["x"], "when": [when], "price": [decimal.Decimal("1.50")], "no": [None],
               "lid": pa.array(["en"]).dictionary_encode(), "n": pa.array([3], pa.int8()), "bytes": [b"x"],
               "box": [[1.0]]}
    pq.write_table(pa.table(columns), path)
    row, = read_rows(str(path), Layout("parquet"))
    assert json.loads(row.extras) == {"when": "2024-05-06 07:08:09.000000", "price": "1.50", "lid": "en", "n": 3}

    path.write_text('{"user_ids": ["a", 5], "image_urls": ["u1", "u2"], "captions": ["x", "y"]}')
    assert [row.extras for row in read_rows(str(path), Layout("sbu", extra_columns=("user_ids",)))] == [
        '{"user_ids":"a"}', '{"user_ids":5}']


def test_extras_are_bounded_by_bytes_and_whole(tmp_path: pathlib.Path) -> None:
    cells = {f"c{n}": "ü" * 400 for n in range(20)}
    (tmp_path / "t").write_text(json.dumps({"url": "u1", "caption": "x", "small": 1} | cells | {"last": 2}))
    row, = read_rows(str(tmp_path / "t"), Layout("jsonl"))
    kept = json.loads(row.extras)
    assert len(row.extras.encode()) <= MAX_EXTRAS and row.left_out == 22 - len(kept) > 0
    assert kept == {"small": 1, **{f"c{n}": "ü" * 400 for n in range(len(kept) - 2)}, "last": 2}


def test_a_given_hash_is_kept_and_one_that_is_none_is_a_broken_row(tmp_path: pathlib.Path) -> None:
    sha, md5 = "AB" * 32, "cd" * 16
    (tmp_path / "t").write_text(f"url,caption,sha,md,ph\nu1,x,{sha},{md5},0123456789abcdef\nu2,x,,,\nu3,x,abc,,\n"
                                f"u4,x,{'g' * 64},,\nu5,x,,{sha},\n")
    layout = Layout("csv", sha256_column="sha", md5_column="md", perceptual_hash_column="ph")
    rows = list(read_rows(str(tmp_path / "t"), layout))
    assert [row.fault or row.url for row in rows] == ["u1", "u2", "bad_hash", "bad_hash", "bad_hash"]
    assert rows[0].expected == (f"sha256:{sha.lower()}", f"md5:{md5}", "perceptual:0123456789abcdef")
    assert rows[1].expected == () and rows[0].extras == rows[1].extras == ""


def test_nul_and_a_field_of_ten_megabytes_in_csv(tmp_path: pathlib.Path) -> None:
    lines = b"a line of a text\n" * 600_000
    rows = (b"url,caption\nu1,a\0b\n\0\nu2,x\nu3," + b"x" * 10_000_000 + b'\nu4,"' + lines + b'end"\nu5,x\n')
    (tmp_path / "t").write_bytes(rows)
    tracemalloc.start()
    found: collections.Counter[str] = collections.Counter()
    for row in read_rows(str(tmp_path / "t"), Layout("csv")):
        found[row.fault or row.url] += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert all(found[name] == 1 for name in ("u1", "u2", "u5", "too_long")) and "u4" not in found
    assert found["bad_row"] >= 2 and peak < 20_000_000


def test_a_quote_that_is_never_closed_does_not_swallow_the_file(tmp_path: pathlib.Path) -> None:
    rows = b"".join(b"u%d,a caption of some words\n" % n for n in range(20_000))
    found = faults(tmp_path / "t", b'url,caption\nu,"open\n' + rows, Layout("csv"))
    assert found[0] == "bad_row" and found[-1] == "u19999" and len(found) > 14_000


def test_parquet_with_bytes_that_are_no_text(tmp_path: pathlib.Path) -> None:
    raw = pa.array([b"ok", b"\xff\xfe", None], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"URL": ["u1", "u2", None], "TEXT": raw}), tmp_path / "t")
    found = list(read_rows(str(tmp_path / "t"), Layout("parquet", "URL", "TEXT")))
    assert [row.fault or row.caption for row in found] == ["ok", "bad_encoding", "no_url"]


@pytest.mark.parametrize(("data", "layout", "said"), [
    (b"PAR1 no", Layout("parquet"), "cannot be read as parquet"), (b"a,b\n1,2\n", Layout("csv"), "it has a, b"),
    (b"", Layout("csv"), "there is no column 'url'"), (b'{"captions": []', Layout("sbu"), "'image_urls'"),
    (b'{"image_urls": ["u1"', Layout("sbu"), "'captions'")])
def test_what_is_no_such_table_is_one_clear_line(tmp_path: pathlib.Path, data: bytes, layout: Layout,
                                                said: str) -> None:
    (tmp_path / "t").write_bytes(data)
    with pytest.raises(UsageError, match=said):
        list(read_rows(str(tmp_path / "t"), layout))
    (tmp_path / "t.gz").write_bytes(gzip.compress(b"a\tb\n" * 10_000)[:60])
    with pytest.raises(UsageError, match=r"t\.gz"):
        list(read_rows(str(tmp_path / "t.gz"), Layout("cc3m")))


def test_a_large_json_is_read_in_pieces(tmp_path: pathlib.Path) -> None:
    with open(tmp_path / "t", "w", encoding="utf-8") as file:
        words = "é\\\" " * 250
        file.write('{"captions": [' + ", ".join([f'"{words}"'] * 12_000) + '], "image_urls": ["'
                   + '", "'.join(f"u{n}" for n in range(12_000)) + '"]}')
    tracemalloc.start()
    found = sum(1 for row in read_rows(str(tmp_path / "t"), Layout("sbu")) if not row.fault)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == 12_000 and peak < 15_000_000 < (tmp_path / "t").stat().st_size
