"""Which archives: a seeded sample without replacement, and listings that are what they say."""
from __future__ import annotations

import gzip
import pathlib
import uuid

import pytest

import imagebert
from crawl import storage
from crawl.archive_inputs import COMMON_CRAWL, Archive, listed_files, open_archive, these_files
from crawl.errors import UsageError
from crawl.trusted_http import Gone
from tests.crawl.archives import gzipped, page

PATHS = [f"crawl-data/CC-MAIN-2026-12/segments/{n % 7}/warc/CC-MAIN-{n:05d}.warc.gz" for n in range(200)]


@pytest.fixture
def listing(tmp_path: pathlib.Path) -> str:
    (tmp_path / "warc.paths.gz").write_bytes(gzip.compress("".join(f"{path}\n" for path in PATHS).encode()))
    return str(tmp_path / "warc.paths.gz")


def names(listing: str, sample: int | None, seed: int) -> list[str]:
    return [archive.name for archive in listed_files(listing, COMMON_CRAWL, "warc", sample, seed).archives]


def test_a_sample_is_seeded_without_replacement_and_grows(listing: str, tmp_path: pathlib.Path) -> None:
    some = names(listing, 50, 1)
    assert len(set(some)) == 50 and set(some) <= set(PATHS) and some == names(listing, 50, 1)
    assert names(listing, 120, 1)[:50] == some and some != names(listing, 50, 2) and some != PATHS[:50]
    assert sorted(names(listing, 200, 1)) == sorted(PATHS) and names(listing, None, 1) == PATHS
    (tmp_path / "other").write_text("\r\n".join(reversed(PATHS)))              # another order, the same sample
    assert names(str(tmp_path / "other"), 50, 1) == some
    drawn = [sum(PATHS[n] in names(listing, 50, seed) for seed in range(40)) for n in range(8)]
    assert min(drawn) > 0 and max(drawn) < 25                                   # 10 are expected


def test_what_chose_them_is_their_identity(listing: str) -> None:
    one = listed_files(listing, COMMON_CRAWL, "warc", 5, 1)
    assert one.archives[0].location == COMMON_CRAWL + one.archives[0].name
    others = [listed_files(listing, COMMON_CRAWL, "warc", *rest) for rest in ((6, 1), (5, 2), (None, 1))]
    assert len({chosen.identity for chosen in (one, *others)}) == 4
    assert one == listed_files(listing, COMMON_CRAWL.rstrip("/"), "warc", 5, 1)


@pytest.mark.parametrize(("text", "said"), [
    ("", "no path"), ("https://evil.test/x.warc.gz", "no path below"), ("/etc/passwd", "no path below"),
    ("a/../../x.warc.gz", "no path below"), ("a b", "no path below"), ("x/wat/x.warc.wat.gz", "no WARC file"),
    ("x/wet/x.warc.wet.gz", "no WARC file")])
def test_a_listing_that_is_none(text: str, said: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "list").write_text(text)
    with pytest.raises(UsageError, match=said):
        listed_files(str(tmp_path / "list"), COMMON_CRAWL, "warc", None, 0)


def test_a_listing_that_cannot_be_read(tmp_path: pathlib.Path, listing: str) -> None:
    (tmp_path / "cut.gz").write_bytes(pathlib.Path(listing).read_bytes()[:-20])
    (tmp_path / "bad.gz").write_bytes(b"\x1f\x8bnothing")
    for name in ("cut.gz", "bad.gz", "none.gz"):
        with pytest.raises(UsageError, match="--paths"):
            listed_files(str(tmp_path / name), COMMON_CRAWL, "warc", None, 0)
    for sample in (0, 201):
        with pytest.raises(UsageError, match="take 1 to 200"):
            listed_files(listing, COMMON_CRAWL, "warc", sample, 0)


def test_a_folder_of_files_is_read_and_a_missing_one_is_a_row(tmp_path: pathlib.Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "warc").mkdir()
    (tmp_path / "warc" / "a.warc.gz").write_bytes(gzipped(page("x")))
    (tmp_path / "my.warc.paths").write_text("warc/a.warc.gz\nwarc/b.warc.gz\n")
    words = ["candidates", "--paths", str(tmp_path / "my.warc.paths"), "--base", str(tmp_path), "--out",
             str(tmp_path / "out"), "--json"]
    assert imagebert.main(words) == 0
    assert '"file_http_404": 1' in capsys.readouterr().out


def test_objects_of_a_store_are_read_in_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawl.archive_inputs._STEP", 10)
    name = f"memory://{uuid.uuid4()}/a.warc"
    storage.commit_bytes(name, bytes(range(95)))
    archive = these_files([name], "--warc").archives[0]
    assert archive.identity == f"{name} 95"
    with open_archive(archive) as file:
        assert b"".join(iter(lambda: file.read(64), b"")) == bytes(range(95))
    with pytest.raises(Gone), open_archive(Archive(0, "", f"{name}x", "")):
        pass
    with pytest.raises(UsageError, match="cannot read it"):
        these_files([f"{name}x"], "--warc")


@pytest.mark.parametrize(("words", "said"), [
    (("--warc", "/no/such.warc"), "/no/such.warc"), (("--warc", "x", "--sample", "3"), "--sample"),
    (("--paths", "/no/list"), "--kind"), (("--paths", "/no/warc.paths.gz"), "cannot read it"),
    (("--paths", "{list}", "--base", "/no/folder"), "--base"), (("--paths", "{list}", "--kind", "wat"), "no WAT file")])
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, listing: str, tmp_path: pathlib.Path,
                               capsys: pytest.CaptureFixture[str]) -> None:
    given = [word.format(list=listing) for word in words]
    assert imagebert.main(["candidates", "--out", str(tmp_path / "out"), *given]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("imagebert: ") and said in line
