import json
import os
import tarfile
from pathlib import Path

import pytest

from crawl.errors import UsageError
from shards.inspect import find, listed, stats
from shards.manifest import load_shards
from tests.shards.made_root import add_member, commit_shards, drawn, made_sample
from tests.shards.test_inspect import parsed


@pytest.fixture()
def tars(tmp_path: Path) -> list[str]:
    """Two tars as img2dataset writes them: equal names in two folders, one sample without JSON."""
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(str(tmp_path / folder / "00000.tar"))
        with tarfile.open(paths[-1], "w") as tar:
            for number in range(3):
                key = f"00000{number:04d}{folder}"
                add_member(tar, f"{key}.jpg", drawn(number))
                add_member(tar, f"{key}.txt", f"a cat, number {number} of {folder}".encode())
                if number:
                    add_member(tar, f"{key}.json", json.dumps({"url": f"https://x.test/{number}.jpg"}).encode())
    return paths


def test_tars_of_others_open_like_ours(tars: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "index")
    assert parsed("index", *tars, "--out", out) == 0 and "6 samples" in capsys.readouterr().out
    shards = load_shards(out)
    found = stats(shards)
    assert found["all"]["samples"] == 6 and found["all"]["image_bytes"] == 2 * sum(len(drawn(n)) for n in range(3))
    assert found["all"]["distinct_groups"] == 3
    captions = [line.caption for line in listed(shards, contains="2 of")]
    assert captions == ["a cat, number 2 of a", "a cat, number 2 of b"]
    assert find(shards, "000000001b").json == {"url": "https://x.test/1.jpg"} and find(shards, "000000000a").json == {}
    for words in (["stats", out], ["ls", out], ["show", out, "000000001b"], ["sample", out, "--out", f"{out}/s.html"],
                  ["diff", out, out], ["index", *tars, "--out", out], ["remove", out, "--sha256", "0" * 64]):
        assert parsed(*words) == 0, words
    assert parsed("validate", out) == 0


def test_a_foreign_set_is_validated(tars: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, broken = str(tmp_path / "index"), str(tmp_path / "broken.tar")
    with tarfile.open(broken, "w") as tar:
        add_member(tar, "cut.jpg", drawn(1)[:-900])
        add_member(tar, "good.jpg", drawn(2))
    parsed("index", *tars, broken, "--out", out)
    capsys.readouterr()
    assert parsed("validate", out) == 1
    told = capsys.readouterr().out
    assert "cut at byte 512: the image does not decode (truncated_image)" in told and "1 faults in 3 shards" in told
    assert parsed("validate", out, "--no-decode") == 0
    data = Path(tars[0]).read_bytes()
    Path(tars[0]).write_bytes(data.replace(b"a cat, number 1", b"a dog, number 1"))     # changed after it was indexed
    capsys.readouterr()
    assert parsed("validate", out, "--no-decode") == 1
    told = capsys.readouterr().out
    assert "is not the manifest's" in told and "000000001a: txt_crc is" in told and "index it again" in told


def test_a_removed_key_of_a_foreign_set_is_skipped(tars: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "index")
    parsed("index", *tars, "--out", out, "--split", "test")
    file = Path(out, "removed.json")
    name = load_shards(out).shards[0].name
    file.write_text(json.dumps({"keys": {name: ["000000001a"]}}))
    assert stats(load_shards(out))["all"]["samples"] == 5 and load_shards(out).samples("test") == 5


def test_a_folder_with_its_tars_can_move(tars: list[str], tmp_path: Path) -> None:
    folder = os.path.dirname(tars[0])
    parsed("index", tars[0], "--out", folder)
    os.rename(folder, tmp_path / "moved")
    assert stats(load_shards(str(tmp_path / "moved")))["all"]["samples"] == 3


def test_a_tar_that_changed_or_is_none_is_one_clear_line(tars: list[str], tmp_path: Path) -> None:
    out = str(tmp_path / "index")
    parsed("index", *tars, "--out", out)
    with open(tars[0], "ab") as file:
        file.write(bytes(512))
    with pytest.raises(UsageError, match="the manifest says"):
        load_shards(out)
    Path(tars[1]).write_bytes(b"no tar" * 200)
    for words, says in ((["index", tars[1], "--out", str(tmp_path / "x")], "not a whole tar"),
                        (["index", "/nowhere.tar", "--out", out], "no such tar")):
        with pytest.raises(UsageError, match=says):
            parsed(*words)
    assert not Path(tmp_path, "x", "manifest.json").exists()


def test_a_finished_stage_is_not_overwritten(tars: list[str], tmp_path: Path) -> None:
    commit_shards(str(tmp_path / "root"), [made_sample(1)])
    with pytest.raises(UsageError, match="a finished stage lies here"):
        parsed("index", tars[0], "--out", load_shards(str(tmp_path / "root")).directory)


def test_a_repeated_key_and_a_key_with_dots_are_named(tmp_path: Path) -> None:
    for name, members, says in (
            ("twice", ("a.jpg", "a.txt", "b.jpg", "a.jpg"), "a has a second image member .jpg. at offset"),
            ("two", ("a.jpg", "a.png"), "a has a second image member .png."),
            ("dots", ("my.photo.jpg", "my.photo.txt"), "a key has no dot")):
        path = str(tmp_path / f"{name}.tar")
        with tarfile.open(path, "w") as tar:
            for member in members:
                add_member(tar, member, drawn(1))
        with pytest.raises(UsageError, match=says):
            parsed("index", path, "--out", str(tmp_path / name))
        assert not Path(tmp_path, name, "manifest.json").exists()
