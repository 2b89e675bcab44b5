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

from crawl.gzip_members import MAX_BLOCK
from crawl.warc_reader import read_records
from tests.crawl.archives import arc, arc_head, gzipped, page, record

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


def test_addresses_are_of_records() -> None:
    large = record("response", "http://a.test/large", random.Random(9).randbytes(3 << 20))
    for data in (gzipped(*PAGES, large), b"".join((*PAGES, large))):
        found = list(read_records(io.BytesIO(data)))
        assert len(found) == 7 and [one.block for one in found[:6]] == [
            random.Random(number).randbytes(3000) for number in range(6)]
        for one in found:
            again, = read_records(io.BytesIO(data[one.offset:one.offset + one.length]))
            assert (again.block, again.fault) == (one.block, "")
    for data in (gzip.compress(b"".join(PAGES)), gzip.compress(b"".join((large, large)))):
        assert {(one.offset, one.length) for one in read_records(io.BytesIO(data))} == {(0, 0)}


ARCS = [arc_head(), *(arc(f"http://a.test/{n} x", random.Random(n).randbytes(3000)) for n in range(6))]
IN_ARC = [("filedesc://x.arc.gz", ""), *((f"http://a.test/{n} x", "") for n in range(6))]


@pytest.mark.parametrize("data", [
    gzipped(*ARCS), b"".join(ARCS), gzip.compress(b"".join(ARCS)),
    gzipped(arc_head(2), *(arc(url, random.Random(n).randbytes(3000), version=2)
                           for n, (url, _) in enumerate(IN_ARC[1:])))])
def test_arc_files_in_every_form(data: bytes) -> None:
    assert told(data) == IN_ARC
    one = list(read_records(io.BytesIO(data)))[1]
    assert one.block == random.Random(0).randbytes(3000) and one.fields["warc-date"] == "2001-02-03T04:05:06Z"


@pytest.mark.parametrize(("second", "faults"), [
    (arc("http://a.test/1 x", b"y" * 3000, length=2000), ["bad_length"]),
    (arc("http://a.test/1 x", b"y" * 3000, length=-1), ["bad_header"]),
    (arc("http://a.test/1 x", b"y" * 3000, length="abc"), ["bad_header"]),
    (arc("http://a.test/1 x", b"y" * 3000, length=99_999_999_999), ["too_long"]),
    (b"no line of an arc\n" * 9, ["bad_header"])])
def test_one_bad_record_of_an_arc_file_costs_one_record(second: bytes, faults: list[str]) -> None:
    for whole in (gzipped, lambda *records: b"".join(records)):
        data = whole(*ARCS[:2], second, *ARCS[3:])
        found = told(data)
        assert [fault for _, fault in found if fault][:1] == faults and found[:2] == IN_ARC[:2]
        assert faults == ["too_long"] or (found[-4:] == IN_ARC[3:] and len(found) == 7)


def test_damage_of_arc_files_never_stops_them() -> None:
    draw = random.Random(8)
    for data in (gzipped(*ARCS), b"".join(ARCS)):
        for _ in range(40):
            bad = bytearray(data)
            at = draw.randrange(400, len(bad) - 200)
            bad[at:at + draw.randrange(20)] = draw.randbytes(draw.randrange(20))
            assert len([one for one in read_records(io.BytesIO(bytes(bad))) if not one.fault]) >= 5


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
    assert told(b"%PDF-1.7 and so on" * 99) == told(gzipped(b"some text", b"http://a.test 1.1.1.1")) == [
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
    assert found["example.arc"] == found["example.arc.gz"] == {"warcinfo": 1, "response": 1}
    assert found["bad.arc"] == {"bad_header": 3, "response": 1}
    assert found["example-space-in-url.arc"] == {"warcinfo": 1, "truncated_record": 1}      # its length is another's
    assert found["example-trunc.warc"]["bad_length"] == 1
    assert found["single-page-test.warc"]["response"] == 52
