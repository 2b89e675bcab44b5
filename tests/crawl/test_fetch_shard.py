import collections
import io
import os
import signal
import socket
import subprocess
import sys
import time
import tracemalloc

import pytest
from PIL import Image
from warcio.archiveiterator import ArchiveIterator

from crawl import storage, tables, warc
from crawl.answers import Answer, Fetched
from crawl.errors import UsageError
from crawl.fetch_shard import fetch_shard, image_of
from crawl.fetch_transforms import FetchShards
from crawl.parts import PartLimits, committed
from crawl.records import FetchLog, FetchRow, Host, ImageLog
from crawl.robots_access import host_of
from crawl.visits import Visits
from tests.crawl.loopback import PAGE, SITE_FILES, quick, serving, write_list

GIVEN = [f"http://h{n % 7}.test/{n}" for n in range(60)]


@pytest.fixture()
def web():
    with serving() as found:
        yield found


def run(web, tmp_path, list_path, kind="page", **options):
    return fetch_shard(list_path, f"{tmp_path}/out/s/abc", f"{tmp_path}/out", quick(), web.network(), 2, kind,
                       **options)


def log_of(tmp_path, parts, record_type=FetchLog):
    return [row for part in parts for row in tables.read_table(f"{tmp_path}/out/s/abc/{part.log.name}", record_type)]


def test_every_row_of_the_list_has_one_log_row_and_a_body_where_it_says(web, tmp_path):
    web.on("http://h0.test/0", 404)
    web.on("http://h1.test/1", headers={"X-Robots-Tag": "noai"})
    web.on("http://h2.test/robots.txt", body=b"User-agent: *\nDisallow: /2\nCrawl-delay: 0.01")
    seen = []
    parts = list(run(web, tmp_path, write_list(str(tmp_path), GIVEN), limits=PartLimits(rows=25),
                     progress=lambda tally: seen.append((tally.done, tally.total))))
    rows = log_of(tmp_path, parts)
    assert sorted(row.url for row in rows) == sorted(GIVEN)
    outcomes = {row.url: row.outcome for row in rows}
    assert [outcomes.pop(GIVEN[n]) for n in (0, 1, 2, 23)] == ["http_404", "optout_header", "robots_denied",
                                                               "robots_denied"]
    assert set(outcomes.values()) == {"ok"}
    for row in rows:
        if row.outcome == "ok":
            found = warc.read_response(f"{tmp_path}/out/{row.part}", row.offset, row.length, 10**6)
            assert (found.url, found.body, found.record_id, found.fetched_at) == (
                row.url, PAGE, row.warc_record_id, row.fetched_at)
        else:
            assert (row.part, row.warc_record_id) == ("", "")
    with open(f"{tmp_path}/out/s/abc/{parts[0].bytes.name}", "rb") as stream:
        kept = [(record.rec_type, record.rec_headers.get_header("WARC-Concurrent-To") or
                 record.rec_headers.get_header("WARC-Record-ID")) for record in ArchiveIterator(stream)][1:]
    asked, said, answered = kept[::3], kept[1::3], kept[2::3]
    assert [{name for name, _ in some} for some in (asked, said, answered)] == [{"request"}, {"metadata"}, {"response"}]
    identities = [identity for _, identity in answered]
    assert [identity for _, identity in asked] == [identity for _, identity in said] == identities
    assert [part.log.rows for part in parts] == [25, 25, 10]
    assert sum(count for part in parts for _, count in part.log.outcomes) == len(GIVEN)
    assert seen[-1] == (60, 60)
    hosts = [host for part in parts for host in tables.read_table(f"{tmp_path}/out/s/abc/{part.hosts.name}", Host)]
    assert collections.Counter(host.authority for host in hosts) == {f"http://h{n}.test:80": 1 for n in range(7)}
    assert {host.crawl_delay_s for host in hosts} == {0.0, 0.01}


def test_a_finished_shard_is_not_fetched_again(web, tmp_path):
    path = write_list(str(tmp_path), GIVEN)
    first = list(run(web, tmp_path, path))
    asked = len(web.log)
    assert list(run(web, tmp_path, path)) == first == list(committed(f"{tmp_path}/out/s/abc", 7))
    assert len(web.log) == asked


def test_a_run_that_breaks_off_goes_on_where_it_was(web, tmp_path):
    path = write_list(str(tmp_path), GIVEN)
    with pytest.raises(ZeroDivisionError):
        for n, _ in enumerate(run(web, tmp_path, path, limits=PartLimits(rows=10))):
            1 // (2 - n)
    kept = {row.url for row in log_of(tmp_path, committed(f"{tmp_path}/out/s/abc", 7))}
    assert len(kept) == 30
    web.log.clear()
    parts = list(run(web, tmp_path, path, limits=PartLimits(rows=10)))
    assert sorted(row.url for row in log_of(tmp_path, parts)) == sorted(GIVEN)
    again = {f"http://{host}{path}" for _, host, path in web.log}
    assert not again & kept
    # Committed robots answers are used again too: nobody is asked for more than what is left.
    assert not any(url.endswith(SITE_FILES) for url in again)


def test_a_part_removed_between_others_is_one_clear_line_and_the_way_out_leads_on(web, tmp_path):
    path, limits, folder = write_list(str(tmp_path), GIVEN), PartLimits(rows=10), f"{tmp_path}/out/s/abc/shard-0007"
    before = list(run(web, tmp_path, path, limits=limits))
    assert len(before) > 3
    os.unlink(f"{folder}/part-00001.json")
    web.log.clear()
    with pytest.raises(UsageError, match=r"part-00001.json: it is missing, and part-00002.json, part-00003.json"):
        list(run(web, tmp_path, path, limits=limits))
    assert not web.log and not os.path.exists(f"{folder}/part-00001.json")
    for part in before[2:]:
        os.unlink(f"{folder}/part-{part.index:05d}.json")
    parts = list(run(web, tmp_path, path, limits=limits))
    assert parts[0] == before[0] and sorted(row.url for row in log_of(tmp_path, parts)) == sorted(GIVEN)


CHILD = """
import sys
from crawl.fetch_shard import fetch_shard
from crawl.parts import PartLimits
from tests.crawl.loopback import Web, quick
web = Web()
web.port = int(sys.argv[1])
for part in fetch_shard(sys.argv[2], sys.argv[3], sys.argv[4], quick(), web.network(min_delay_s=0.01), 2, "page",
                        limits=PartLimits(rows=7)):
    print(part.index, flush=True)
"""


def test_kill_9_loses_only_the_open_part(web, tmp_path):
    path = write_list(str(tmp_path), GIVEN)
    directory = f"{tmp_path}/out/s/abc"
    for wanted in (1, 3):                        # killed after the first new part, then after some more
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(web.port), path, directory, f"{tmp_path}/out"],
                                 stdout=subprocess.PIPE, text=True)
        for _ in range(wanted):
            assert child.stdout.readline()
        time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()
        kept = {row.url for row in log_of(tmp_path, committed(directory, 7))}
        assert 7 <= len(kept) < 60
        web.log.clear()
    parts = list(run(web, tmp_path, path))
    rows = log_of(tmp_path, parts)
    assert sorted(row.url for row in rows) == sorted(GIVEN) and {row.outcome for row in rows} == {"ok"}
    assert not {f"http://{host}{path}" for _, host, path in web.log} & kept
    assert not [name for name in os.listdir(f"{directory}/shard-0007") if name.endswith(".tmp")]


def test_images_are_judged_by_their_header_before_they_are_stored(web, tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 60).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    png = bytearray()
    png += b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (20_000).to_bytes(4, "big") * 2
    bodies = {"a.jpg": jpeg, "same.jpg": jpeg, "page.jpg": PAGE, "empty.jpg": b"", "bomb.png": bytes(png),
              "x.svg": b"<svg/>"}
    for name, body in bodies.items():
        web.on(f"http://i.test/{name}", body=body, headers={"Content-Type": "image/jpeg"})
    given = [f"http://i.test/{name}" for name in bodies] + ["http://i.test/robots.txt"]
    parts = list(run(web, tmp_path, write_list(str(tmp_path), given, "image"), "image"))
    rows = {row.url.rpartition("/")[2]: row for row in log_of(tmp_path, parts, ImageLog)}
    assert {name: row.outcome for name, row in rows.items()} == {
        "a.jpg": "ok", "same.jpg": "ok", "page.jpg": "not_an_image", "empty.jpg": "empty_body",
        "bomb.png": "too_many_pixels",
        "x.svg": "unsupported_format", "robots.txt": "http_404"}
    for name in ("a.jpg", "same.jpg"):
        image = image_of(rows[name])
        assert storage.read_range(f"{tmp_path}/out/{image.part}", image.offset, image.length) == jpeg
        assert (image.format, image.width, image.height, image.num_bytes) == ("jpg", 40, 30, len(jpeg))
    assert sum(row.part != "" for row in rows.values()) == 2


def test_bytes_of_a_refused_image_are_nowhere(web, tmp_path):
    buffer = io.BytesIO()
    Image.effect_noise((40, 30), 60).save(buffer, "PNG")
    web.on("http://i.test/no.png", body=buffer.getvalue(), headers={"X-Robots-Tag": "noimageai"})
    part, = run(web, tmp_path, write_list(str(tmp_path), ["http://i.test/no.png"], "image"), "image")
    row, = log_of(tmp_path, [part], ImageLog)
    assert (row.outcome, row.permission, row.part) == ("optout_header", "deny", "")
    for folder, _, names in os.walk(tmp_path / "out"):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert buffer.getvalue()[:64] not in file.read()


def test_an_empty_list_has_no_parts_and_a_known_host_is_not_asked_again(web, tmp_path):
    empty = tables.write_table(str(tmp_path / "e"), "list.parquet", FetchRow, [])
    assert list(run(web, tmp_path, f"{tmp_path}/e/{empty.name}")) == []
    part, = run(web, tmp_path, write_list(str(tmp_path), ["http://a.test/1"]))
    web.log.clear()
    other = write_list(str(tmp_path / "second"), ["http://a.test/2"])
    list(fetch_shard(other, f"{tmp_path}/out/s/def", f"{tmp_path}/out", quick(), web.network(), 3, "page",
                     known_hosts=[f"{tmp_path}/out/s/abc/{part.hosts.name}"]))
    assert [path for _, _, path in web.log] == ["/2"]
    with pytest.raises(ValueError, match="kind"):
        list(run(web, tmp_path, other, "video"))


def test_a_shard_without_rows_is_cleared_of_what_others_left_there(web, tmp_path):
    directory = str(tmp_path / "out" / "s" / "abc")
    tables.write_table(directory, "fetch_list-00000-of-00001.parquet", FetchRow, [])
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    left = tmp_path / f"out/s/abc/shard-0000/dial.lease.{socket.gethostname()}-{gone.stdout.strip()}-0.tmp"
    left.parent.mkdir()
    left.touch()
    job = FetchShards(directory, directory, str(tmp_path / "out"), 1, quick(), web.network(), 0, "page", PartLimits())
    assert list(job._fetch(0)) == [] and os.listdir(left.parent) == []


def test_only_the_known_hosts_of_the_lists_own_sites_are_held(web, tmp_path, monkeypatch):
    hosts = [host_of(f"http://{name}.test:80", Fetched("u", "ok", (), "u", Answer(
        "u", "ok", 200, "", (), b"", b"User-agent: *\n#" + b"x" * 50_000, "", False, "", 0.0, 0.0, 0.0)),
        "2126-01-01T00:00:00Z", quick()) for name in ["www.a", "img.a", *(f"h{n}" for n in range(300))]]
    entry = tables.write_table(str(tmp_path / "k"), "hosts.parquet", Host, hosts)
    held = []

    class Watched(Visits):
        def __init__(self, policy, network, kind, known_hosts, **more):
            held.extend(known_hosts)
            super().__init__(policy, network, kind, known_hosts, **more)
    monkeypatch.setattr("crawl.fetch_shard.Visits", Watched)
    tracemalloc.start()
    part, = fetch_shard(write_list(str(tmp_path), ["http://www.a.test/1"]), f"{tmp_path}/out/s/def", f"{tmp_path}/out",
                        quick(ai_txt=False), web.network(), 3, "page",
                        known_hosts=[f"{tmp_path}/k/{entry.name}"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held == ["http://www.a.test:80", "http://img.a.test:80"] and part.log.rows == 1
    assert [path for _, _, path in web.log] == ["/1"]            # what is held is used
    assert peak < 10_000_000                                     # all bodies are 15 MB
