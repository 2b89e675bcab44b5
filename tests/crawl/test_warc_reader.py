"""Archives of others: every record whole or named as broken, and the file goes on."""
from __future__ import annotations

import collections
import gzip
import io
import os
import pathlib
import random
import time
import tracemalloc

import pytest

from crawl.warc_reader import MAX_BLOCK, read_records
from tests.crawl.archives import gzipped, page, record

WARCS = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / "warc"
PAGES = [record("response", f"http://a.test/{n}", random.Random(n).randbytes(3000)) for n in range(6)]
ALL = [(f"http://a.test/{n}", "") for n in range(6)]


def told(data: bytes) -> list[tuple[str, str]]:
    return [(one.fields.get("warc-target-uri", ""), one.fault) for one in read_records(io.BytesIO(data))]


@pytest.mark.parametrize("data", [gzipped(*PAGES), b"".join(PAGES), gzip.compress(b"".join(PAGES)),
                                  b"".join(one.replace(b"\r\n", b"\n", 5) for one in PAGES)],
                         ids=["members", "plain", "one", "lf"])
def test_sound_files_in_every_form(data: bytes) -> None:
    assert told(data) == ALL


def test_offsets_address_records() -> None:
    for data in (gzipped(*PAGES), b"".join(PAGES)):
        for number, one in enumerate(read_records(io.BytesIO(data))):
            again = next(iter(read_records(io.BytesIO(data[one.offset:]))))
            assert again.block == one.block == random.Random(number).randbytes(3000)


@pytest.mark.parametrize(("second", "fault", "target"), [
    (gzipped(PAGES[2])[:1500] + b"\xff\xff\xff" + gzipped(PAGES[2])[1503:], "damaged_gzip", ""),
    (gzipped(PAGES[2])[:900], "damaged_gzip", ""),
    (b"not gzip at all", "damaged_gzip", ""),
    (gzipped(b"no record at all" * 9), "bad_header", ""),
    (gzipped(PAGES[2].replace(b"Content-Length: 3000", b"Content-Length: -1")), "bad_header", ""),
    (gzipped(PAGES[2].replace(b"Content-Length: 3000", b"Content-Length: 9999")), "truncated_record", "http://a.test/2"),
    (gzipped(PAGES[2].replace(b"Content-Length: 3000", b"Content-Length: 300")), "bad_length", "http://a.test/2"),
    (gzipped(PAGES[2].replace(b"Content-Length: 3000", b"Content-Length: 99999999999")), "too_long", "http://a.test/2"),
])
def test_one_bad_record_costs_one_record(second: bytes, fault: str, target: str) -> None:
    data = gzipped(*PAGES[:2]) + second + gzipped(*PAGES[3:])
    found = told(data)
    assert found[:2] == ALL[:2] and (target, fault) in found[2:]
    if fault != "too_long":
        assert found[-3:] == ALL[3:] and len(found) == 6
    offsets = [one.offset for one in read_records(io.BytesIO(data)) if one.fault]
    assert offsets[0] == len(gzipped(*PAGES[:2]))


@pytest.mark.parametrize("length", [b"9999", b"300", b"x"])
def test_lengths_that_lie_in_a_plain_file(length: bytes) -> None:
    data = b"".join([*PAGES[:2], PAGES[2].replace(b"Content-Length: 3000", b"Content-Length: " + length), *PAGES[3:]])
    found = told(data)
    assert found[:2] == ALL[:2] and found[-3:] == ALL[3:] and found[2][1] in ("bad_length", "bad_header")


def test_a_file_that_ends_early_says_so() -> None:
    assert told(gzipped(*PAGES)[:-500])[-2:] == [ALL[4], ("", "truncated_record")]
    assert told(b"".join(PAGES)[:-500])[-2:] == [ALL[4], ("http://a.test/5", "truncated_record")]


def test_no_warc_is_said_once() -> None:
    assert told(b"%PDF-1.7 and so on" * 99) == told(gzipped(b"filedesc://x.arc", b"http://a.test 1.1.1.1")) == [
        ("", "no_warc")]
    assert told(b"") == []


def test_a_line_break_in_a_field_does_not_make_another() -> None:
    one = next(iter(read_records(io.BytesIO(record("response", "http://a.test/\r\n X-Evil: 1\x0b", b"")))))
    assert one.fields["warc-target-uri"] == "http://a.test/ X-Evil: 1" and "x-evil" not in one.fields


def test_bombs_take_no_memory_and_little_time() -> None:
    bomb = gzip.compress(record("response", "http://a.test/b", b"", length=2 << 30) + bytes(300 << 20), 9)
    lying = gzip.compress(record("response", "http://a.test/l", b"x" * 50, length=40) + bytes(300 << 20), 9)
    data = gzipped(PAGES[0]) + bomb + lying + gzipped(PAGES[1])
    began = time.process_time()
    tracemalloc.start()
    found = told(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found[0] == ALL[0] and found[-1] == ALL[1] and ("http://a.test/b", "too_long") in found
    assert peak < 2 * MAX_BLOCK and time.process_time() - began < 30


def test_random_damage_never_stops_a_file() -> None:
    draw = random.Random(7)
    small = [page(str(n)) for n in range(40)]
    for data in (gzipped(*small), b"".join(small)):
        for _ in range(40):
            bad = bytearray(data)
            for _ in range(draw.randrange(1, 4)):
                at = draw.randrange(200, len(bad) - 200)
                bad[at:at + draw.randrange(20)] = draw.randbytes(draw.randrange(20))
            whole = [one for one in read_records(io.BytesIO(bytes(bad))) if not one.fault]
            assert len(whole) >= 40 - 3 * 2


def test_files_met_in_the_wild() -> None:
    if not WARCS.is_dir():
        pytest.skip("the developers' data is not here")
    found = {name: collections.Counter(one.fault or one.fields["warc-type"]
                                       for one in read_records(io.BytesIO((WARCS / name).read_bytes())))
             for name in sorted(os.listdir(WARCS)) if name != "SOURCE.txt"}
    assert found["example.warc.gz"] == {"warcinfo": 2, "response": 1, "request": 2, "revisit": 1}
    assert found["example.warc"] == found["example.warc.gz"]
    assert found["example.arc"] == found["example.arc.gz"] == {"no_warc": 1}
    assert found["example-trunc.warc"]["bad_length"] == 1
    assert found["single-page-test.warc"]["response"] == 52
