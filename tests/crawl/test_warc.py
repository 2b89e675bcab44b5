import dataclasses
import gzip
import io
import subprocess
import sys
import tracemalloc

import fastwarc
import pytest
from warcio.archiveiterator import ArchiveIterator

from crawl import warc
from crawl.answers import Answer
from crawl.records import FetchLog, Signal
from crawl.warc_reader import read_records

DATE = "2026-11-23T00:00:00.000000Z"
BODY = b"<p>\xe4\r\n\r\nWARC/1.1\r\n" * 50


def answer(body=BODY, entity=None, headers=(("Content-Type", "text/html"), ("Transfer-Encoding", "chunked")), cut=""):
    return Answer("http://a.test/x?y", "ok", 200, "HTTP/1.1 200 OK", tuple(headers),
                  body if entity is None else entity, body,
                  cut, bool(cut), "192.0.2.1", 0.0, 0.1, 0.1)


@pytest.fixture()
def file(tmp_path):
    zipped = answer(entity=gzip.compress(BODY, mtime=0), headers=(("Content-Encoding", "gzip"), ("X-\xe4", "\xfc")))
    answers = [answer(), zipped, answer(body=b"", cut="length")]
    records = [warc.warcinfo("part-00000.warc.gz", DATE, "imagebert-lait/0.1"),
               warc.request(b"GET /x?y HTTP/1.1\r\nHost: a.test\r\n\r\n", "http://a.test/x?y",
                            warc.record_id(f"{0:032x}", 3), DATE),
               *(warc.response(each, warc.record_id(f"{n:032x}", 3), DATE) for n, each in enumerate(answers))]
    path = tmp_path / "part-00000.warc.gz"
    path.write_bytes(b"".join(records))
    return path, records


def test_warcio_check_finds_nothing_to_complain_of(file):
    done = subprocess.run([sys.executable, "-m", "warcio.cli", "check", "-v", str(file[0])], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("digest pass") == 5 and "digest not present" not in done.stdout


def test_warcio_and_fastwarc_read_the_same_as_we_do(file):
    path, records = file
    offset = len(records[0]) + len(records[1])
    ours = []
    for record in records[2:]:
        ours.append(warc.read_response(str(path), offset, len(record), 10**6))
        offset += len(record)
    assert [each.body for each in ours] == [BODY, BODY, b""]
    assert [each.truncated for each in ours] == [False, False, True]
    assert ours[0].headers == (("Content-Type", "text/html"), ("X-Crawl-Transfer-Encoding", "chunked"))
    with open(path, "rb") as stream:
        theirs = [(record.rec_headers.get_header("WARC-Record-ID"), record.content_stream().read())
                  for record in ArchiveIterator(stream) if record.rec_type == "response"]
    assert theirs == [(f"<{each.record_id}>", each.body) for each in ours]
    seen = {}
    for parsed in (False, True):
        for record in fastwarc.ArchiveIterator(io.BytesIO(path.read_bytes()), parse_http=parsed, auto_decode="none",
                                               record_types=fastwarc.WarcRecordType.response):
            record.freeze()
            assert record.verify_payload_digest() if parsed else record.verify_block_digest()
            seen[record.record_id] = record.reader.read()
    assert seen == {f"<{ours[0].record_id}>": BODY, f"<{ours[1].record_id}>": gzip.compress(BODY, mtime=0),
                    f"<{ours[2].record_id}>": b""}


def test_a_request_stands_before_its_answer_and_names_it(file):
    with open(file[0], "rb") as stream:
        found = [(record.rec_type, record.rec_headers.get_header("WARC-Concurrent-To"),
                  record.http_headers and record.http_headers.get_header("Host")) for record in ArchiveIterator(stream)]
        stream.seek(0)
        types = [record.rec_headers.get_header("WARC-Identified-Payload-Type") for record in ArchiveIterator(stream)]
    assert types == [None, None, "text/html", "text/html", None]
    assert found[1] == ("request", f"<{warc.record_id(f'{0:032x}', 3)}>", "a.test") and found[2][0] == "response"


def test_the_same_answer_gives_the_same_bytes_and_ids_differ_by_url_and_round():
    assert warc.response(answer(), warc.record_id("a", 0), DATE) == warc.response(answer(), warc.record_id("a", 0),
                                                                                  DATE)
    assert len({warc.record_id(key, n) for key in "ab" for n in (0, 1)}) == 4


def test_revisit_and_metadata_records_are_read_by_others_and_by_us(file, tmp_path):
    stored = warc.read_response(str(file[0]), sum(map(len, file[1][:2])), len(file[1][2]), 10**6)
    told = dataclasses.replace(answer(), status=304, status_line="HTTP/1.1 304 Not Modified", entity=b"", body=b"",
                               headers=(("ETag", '"1"'),))
    signal = Signal("x_robots_tag", "a\r\nWARC-Type: b\x00", "unknown", "header")
    log = FetchLog("k", "http://a.test/from", "page", 2, "not_modified", 304, "http://a.test/x?y",
                   ("http://a.test/from", "http://a.test/via"), "", DATE, 0, False, (signal,), "unknown", "p", 0, 1, "",
                   stored.record_id, 4)
    records = [warc.warcinfo("x", DATE, "bot"), warc.metadata(log),
               warc.revisit(told, warc.record_id("k", 4), DATE, stored, True),
               warc.revisit(answer(), warc.record_id("k", 5), DATE, stored, False)]
    path = tmp_path / "revisits.warc.gz"
    path.write_bytes(b"".join(records))
    done = subprocess.run([sys.executable, "-m", "warcio.cli", "check", "-v", str(path)], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with open(path, "rb") as stream:
        ours = list(read_records(stream))
    assert [record.fields["warc-type"] for record in ours] == ["warcinfo", "metadata", "revisit", "revisit"]
    assert not any(record.fault for record in ours)
    theirs = {}
    for record in fastwarc.ArchiveIterator(io.BytesIO(path.read_bytes()), parse_http=False):
        record.freeze()
        assert record.verify_block_digest()
        theirs[record.record_id] = record.reader.read()
    assert theirs == {record.fields["warc-record-id"]: record.block for record in ours}
    _, said, not_modified, same = ours
    assert said.block == (b"via: http://a.test/via\r\nhopsFromSeed: LLRR\r\nredirect: http://a.test/from\r\n"
                          b"redirect: http://a.test/via\r\noutcome: not_modified\r\npermission: unknown\r\n"
                          b"signal: x_robots_tag unknown (header): a  WARC-Type: b \r\n")
    assert said.fields["warc-concurrent-to"] == not_modified.fields["warc-record-id"]
    assert not_modified.block == b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    assert [record.fields["warc-profile"].rpartition("/")[2] for record in (not_modified, same)] == [
        "server-not-modified", "identical-payload-digest"]
    for record in (not_modified, same):
        assert record.fields["warc-refers-to"] == f"<{stored.record_id}>"
        assert record.fields["warc-payload-digest"] == stored.payload_digest == warc.digest(BODY)
    assert same.block.endswith(b"X-Crawl-Transfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(warc.BadRecord):                       # it has no body of its own
        warc.read_response(str(path), sum(map(len, records[:2])), len(records[2]), 10**6)


def test_a_wrong_address_or_a_damaged_file_is_a_bad_record(file, tmp_path):
    path, records = file
    for offset, length in ((0, len(records[0])), (1, 100), (len(records[0]), len(records[1])),
                           (len(records[0]) + len(records[1]), len(records[2]) - 1)):
        with pytest.raises(warc.BadRecord):
            warc.read_response(str(path), offset, length, 10**6)
    other = gzip.compress(gzip.decompress(records[2]).replace(b"<p>", b"<b>"))
    (tmp_path / "x").write_bytes(other)
    with pytest.raises(warc.BadRecord, match="digest"):
        warc.read_response(str(tmp_path / "x"), 0, len(other), 10**6)
    with pytest.raises(EOFError):
        warc.read_response(str(path), path.stat().st_size - 5, 100, 10**6)


def test_the_body_is_bounded_when_it_is_read(file):
    path, records = file
    offset = len(records[0]) + len(records[1])
    found = warc.read_response(str(path), offset, len(records[2]), 100)
    assert (found.body, found.truncated) == (BODY[:100], True)


def test_a_member_that_unfolds_to_more_than_a_record_may_be_is_a_bad_record(tmp_path, monkeypatch):
    """Of 64 MiB, with a bound of one: our own records come nowhere near the bound, so its size does not matter here."""
    monkeypatch.setattr(warc, "_MAX_RECORD", 1 << 20)
    bomb = gzip.compress(bytes(64 << 20), 1)
    (tmp_path / "bomb.warc.gz").write_bytes(bomb)
    tracemalloc.start()
    with pytest.raises(warc.BadRecord, match="not one whole response record"):
        warc.read_response(str(tmp_path / "bomb.warc.gz"), 0, len(bomb), 100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
