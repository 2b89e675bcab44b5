import contextlib
import hashlib
import os
import tarfile
import time
import types

import pytest

from crawl import storage, tables
from crawl.lease import LeaseLost
from crawl.parts import PartLimits, PartWriter, committed, member_header
from crawl.records import FetchLog, ImageLog


def image_row(name, data=b"", outcome="ok"):
    return ImageLog(name, f"http://a.test/{name}", "image", 0, outcome, 200, "", (), "", "", len(data), False, (),
                    "allow", "",
                    0, 0, hashlib.sha256(data).hexdigest(), "", 0, "jpg", 1, 1)


def writer(tmp_path, index=0, kind="image", **limits):
    return PartWriter(str(tmp_path / "images" / "x"), str(tmp_path), 7, index, kind, PartLimits(**limits),
                      (lambda name: b"") if kind == "image" else str.encode)


def test_an_image_is_found_at_its_address_in_a_plain_tar(tmp_path):
    with writer(tmp_path) as parts:
        parts.add(image_row("a", b"one"), [], b"one")
        parts.add(image_row("b", outcome="http_404"), [])
        parts.add(image_row("c", b"two" * 1000), [], b"two" * 1000)
        parts.add(image_row("d", b"one"), [], b"one")
        part = parts.commit()
    rows = list(tables.read_table(f"{tmp_path}/images/x/{part.log.name}", ImageLog))
    assert [row.url_key for row in rows] == list("abcd")
    found = [storage.read_range(f"{tmp_path}/{row.part}", row.offset, row.length) if row.part else None for row in rows]
    assert found == [b"one", None, b"two" * 1000, b"one"]
    assert rows[0].offset == rows[3].offset                    # equal bytes are stored once in a part
    with tarfile.open(tmp_path / rows[0].part) as tar:
        members = tar.getmembers()
        assert [tar.extractfile(member).read() for member in members] == [b"one", b"two" * 1000]
    assert [member.name for member in members] == [f"{rows[n].sha256}.jpg" for n in (0, 2)]
    assert {member.mtime for member in members} == {0} and members[0].offset_data == rows[0].offset
    assert part.log.outcomes == (("http_404", 1), ("ok", 3))
    stored = (tmp_path / "images" / "x" / part.bytes.name).read_bytes()
    assert (part.bytes.bytes, part.bytes.sha256) == (len(stored), hashlib.sha256(stored).hexdigest())


def test_parts_are_numbered_and_found_again_by_number(tmp_path):
    with writer(tmp_path) as parts:
        made = []
        for name in "ab":
            parts.add(image_row(name), [])
            made.append(parts.commit())
        assert parts.commit() is None
    assert list(committed(str(tmp_path / "images" / "x"), 7)) == made
    assert [part.index for part in made] == [0, 1]
    assert list(committed(str(tmp_path / "images" / "x"), 8)) == []


@pytest.mark.parametrize("limits, full_after", [({"rows": 3}, 3), ({"bytes": 5000}, 5), ({"seconds": 1e-9}, 1)])
def test_a_part_is_full_by_rows_bytes_or_time(tmp_path, limits, full_after):
    with writer(tmp_path, **limits) as parts:
        assert not parts.is_full()
        for n in range(full_after):
            assert not parts.is_full() or n == 0
            parts.add(image_row(str(n), b"%d" % n), [], b"%d" % n)
        assert parts.is_full()


@pytest.mark.parametrize("file", ["body", "tdm_body", "ai_body"])
def test_a_part_is_full_by_the_files_of_its_hosts(tmp_path, monkeypatch, file):
    monkeypatch.setattr("crawl.parts._HELD", 1000)
    small = {"authority": "http://a.test:80", "body": b"", "tdm_body": b"", "ai_body": b""}
    with writer(tmp_path) as parts:
        parts.add(image_row("a"), [types.SimpleNamespace(**small | {file: b"x" * 999})])
        assert not parts.is_full()
        parts.add(image_row("b"), [types.SimpleNamespace(**small | {file: b"x"})])
        assert parts.is_full()


def test_a_part_that_is_not_committed_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), writer(tmp_path) as parts:
        parts.add(image_row("a", b"one"), [], b"one")
        assert len(os.listdir(tmp_path / "images" / "x" / "shard-0007")) == 1
        raise RuntimeError
    assert os.listdir(tmp_path / "images" / "x" / "shard-0007") == []


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_are_not(tmp_path):
    with writer(tmp_path) as parts:
        folder = tmp_path / "images" / "x" / "shard-0007"
        folder.mkdir(parents=True)
        dead = folder / f"{parts._prefix}{2**22 + 1}-00.tmp"
        alive = folder / f"{parts._prefix}{os.getpid()}-00.tmp"
        dead.touch()
        alive.touch()
        with writer(tmp_path):
            assert not dead.exists() and alive.exists()


def test_the_second_of_two_runs_over_one_shard_stops(tmp_path):
    with writer(tmp_path) as first, writer(tmp_path) as second:
        first.add(image_row("a", b"one"), [], b"one")
        second.add(image_row("b", b"two"), [], b"two")
        kept = first.commit()
        with pytest.raises(storage.CommitConflict):
            second.commit()
    assert list(committed(str(tmp_path / "images" / "x"), 7)) == [kept]


def test_parts_on_an_object_store(tmp_path):
    with PartWriter("memory://bucket/out/pages", "memory://bucket/out", 1, 0, "page", PartLimits(),
                    str.encode) as parts:
        fields = {name: getattr(image_row("a"), name) for name in FetchLog.__slots__}
        parts.add(FetchLog(**fields), [], b"record")
        part = parts.commit()
    row, = tables.read_table(f"memory://bucket/out/pages/{part.log.name}", FetchLog)
    assert row.part == f"pages/{part.bytes.name}"
    assert storage.read_range(f"memory://bucket/out/{row.part}", row.offset, row.length) == b"record"
    assert list(committed("memory://bucket/out/pages", 1)) == [part]


def test_bad_limits_are_refused():
    with pytest.raises(ValueError, match="rows"):
        PartLimits(rows=0)


def test_a_commit_that_fails_half_way_says_why_and_leaves_no_open_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(OSError, match="no space left"), writer(tmp_path) as parts:
        parts.add(image_row("a", b"one"), [], b"one")
        parts.commit()
    assert os.listdir(tmp_path / "images" / "x" / "shard-0007") == []


@pytest.mark.parametrize("size", [0, 1, 511, 54_321, 32 << 20, 2**33 - 1])
def test_the_header_of_a_member_is_the_one_tarfile_writes(size):
    member = tarfile.TarInfo("ab" * 32 + ".webp")
    member.size, member.mtime, member.mode = size, 0, 0o644
    assert member_header(member.name, size) == member.tobuf(tarfile.USTAR_FORMAT)


@pytest.fixture()
def slow_store(monkeypatch):
    """A storage that takes a second for the bytes of a part; its steps are noted."""
    steps, link_new = [], storage.link_new

    def slow(temporary, path):
        if path.endswith(".tar"):
            steps.append("begun")
            time.sleep(1.0)
            steps.append("stored")
        return link_new(temporary, path)
    monkeypatch.setattr(storage, "link_new", slow)
    return steps


def test_a_part_is_stored_beside_the_loop_and_one_at_a_time(tmp_path, slow_store):
    confirmed = []
    parts = PartWriter(str(tmp_path / "images" / "x"), str(tmp_path), 7, 0, "image", PartLimits(rows=1), str.encode,
                       confirm=lambda: confirmed.append(list(slow_store)))
    with parts:
        began = time.monotonic()
        parts.add(image_row("a", b"one"), [], b"one")
        assert parts.seal() is None and parts.settle() is None
        parts.add(image_row("b", b"two"), [], b"two")              # the loop goes on
        assert time.monotonic() - began < 0.9 and "stored" not in slow_store
        assert list(committed(str(tmp_path / "images" / "x"), 7)) == []
        first = parts.seal()                                       # waits: two are never on their way
        assert time.monotonic() - began > 0.9 and first.index == 0
        assert parts.commit().index == 1 and parts.commit() is None
    # The lease is asked before the bytes are stored and again when they are, before the part exists.
    assert [len(steps) for steps in confirmed] == [0, 2, 2, 4]
    found = list(committed(str(tmp_path / "images" / "x"), 7))
    assert found[0] == first and [part.log.rows for part in found] == [1, 1]


def test_a_part_on_its_way_is_not_committed_when_the_lease_is_lost_or_the_loop_ends(tmp_path, slow_store):
    lost = []

    def confirm():
        if lost:
            raise LeaseLost
    for ends in ("lost", "left"):
        with contextlib.suppress(LeaseLost, KeyboardInterrupt), PartWriter(
                str(tmp_path / "images" / "x"), str(tmp_path), 7, 0, "image", PartLimits(rows=1), str.encode,
                confirm=confirm) as parts:
            parts.add(image_row("a", b"one"), [], b"one")
            parts.seal()
            if ends == "left":
                raise KeyboardInterrupt
            lost.append(True)
            parts.commit()
        lost.clear()
        assert list(committed(str(tmp_path / "images" / "x"), 7)) == []
        assert not [name for name in os.listdir(tmp_path / "images" / "x" / "shard-0007") if name.endswith(".tmp")]


def test_what_fails_in_the_thread_is_raised_in_the_loop(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")
    monkeypatch.setattr(os, "link", full)
    with writer(tmp_path) as parts:
        parts.add(image_row("a", b"one"), [], b"one")
        parts.seal()
        with pytest.raises(OSError, match="no space left"):
            while parts.settle() is None:
                time.sleep(0.01)
    assert os.listdir(tmp_path / "images" / "x" / "shard-0007") == []
