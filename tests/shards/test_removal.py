import json
import os
import shutil
from pathlib import Path

import pytest

from crawl.errors import UsageError
from crawl.stages import current
from crawl.suppress import SUPPRESS, Suppression, parse_rule, read_list, suppression
from shards import rewrite as rewriting
from shards.inspect import find, listed, stats
from shards.manifest import TOMBSTONES, load_shards
from shards.removal import plan, remove
from shards.rewrite import rewrite
from shards.upstream import root_of
from shards.validate import validate
from tests.shards.made_root import Made, commit_many, drawn, made_root, sample_fields, small_sample
from tests.shards.test_inspect import parsed


@pytest.fixture()
def root(tmp_path: Path) -> str:
    made_root(str(tmp_path / "root"), 24)
    return str(tmp_path / "root")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Made]:
    return made_root(str(tmp_path_factory.mktemp("samples")), 24)


def keys_of(root: str) -> set[str]:
    return {line.key for line in listed(load_shards(root))}


def faults(root: str) -> list[str]:
    return [str(fault) for fault in validate(load_shards(root, check_sizes=False))]


@pytest.mark.parametrize("kind, text, says", [
    ("key", "abc", "32 hex digits"), ("sha256", "zz", "64 hex digits"), ("phash", "00ff00ff00ff00ff:40", "radius"),
    ("phash", "00", "16 hex digits"), ("url", "ftp://a.example/", "http"), ("domain", "https://a.example", "host name"),
    ("domain", "", "host name"), ("site", "a", "one of")])
def test_a_rule_that_is_none_is_one_clear_line(kind: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_rule(kind, text)


@pytest.mark.parametrize("kind, text, hit", [
    ("key", "AB" * 16, True), ("key", "cd" * 16, False), ("sha256", "12" * 32, True), ("sha256", "13" * 32, False),
    ("domain", "example.org", True), ("domain", "www.example.org", True), ("domain", "ample.org", False),
    ("domain", "org", True), ("url", "HTTPS://www.example.org:443/a/../p.html#x", True),
    ("url", "https://www.example.org/", False), ("phash", "00000000000000f0:4", True),
    ("phash", "00000000000000f0:3", False), ("phash", "0" * 16, True)])
def test_what_a_rule_hits(kind: str, text: str, hit: bool) -> None:
    asked = Suppression([parse_rule(kind, text)])
    assert asked.suppresses("ab" * 16, "12" * 32, ["https://img.test/1.jpg", "https://www.example.org/p.html"],
                            "0" * 16) is hit


def test_removal_holds_at_once_and_is_recorded(root: str, samples: list[Made],
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    before, tars = load_shards(root), _tars(root)
    gone = {samples[2].best.key} | {made.best.key for made in samples if made.best.page_url.startswith(
        "https://www.site3.example")}
    assert parsed("remove", root, "--key", samples[2].best.key, "--domain", "site3.example") == 0
    after = load_shards(root)
    assert keys_of(root) == {made.best.key for made in samples} - gone and len(gone) == 4
    assert after.digest != before.digest and stats(after)["all"]["samples"] == 24 - 4
    assert sum(map(after.samples, ("train", "test"))) == 24 - 4 and stats(after)["removed"] == 4
    with pytest.raises(UsageError, match="no sample"):
        find(after, samples[2].best.key)
    assert _tars(root) == tars and faults(root) == []                     # the bytes stay until a rewrite
    lines = read_list(root)
    assert {str(line.rule): len(line.keys) for line in lines} == {
        f"key {samples[2].best.key}": 1, "domain site3.example": 3}
    assert {line.when for line in lines} == {"2023-11-14T22:13:20.000000Z"}


def test_removing_twice_changes_nothing(root: str, samples: list[Made]) -> None:
    files = [Path(root, SUPPRESS), Path(load_shards(root).path(TOMBSTONES))]
    assert parsed("remove", root, "--url", samples[4].best.image_url) == 0
    first = [file.read_bytes() for file in files]
    assert parsed("remove", root, "--url", samples[4].best.image_url) == 0
    assert [file.read_bytes() for file in files] == first


def test_a_rewrite_touches_only_the_shards_that_hold_it(root: str, samples: list[Made],
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    test_sample = samples[10]
    old = load_shards(root)
    untouched = Path(old.path("train/lait-jpg-000000.tar")).read_bytes()
    old_manifest = Path(old.path("manifest.json")).read_bytes()
    inode = os.stat(old.path("train/lait-jpg-000000.tar")).st_ino
    assert test_sample.best.split == "test"
    assert parsed("remove", root, "--sha256", test_sample.best.image_sha256, "--rewrite", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["shards"], told["of_shards"]) == (1, 1, 2)
    assert told["read"] == told["rewrite_reads"] and 0 < told["written"] < told["read"]
    new = load_shards(root)
    assert new.directory != old.directory and not os.path.exists(old.directory) and faults(root) == []
    assert Path(new.path("train/lait-jpg-000000.tar")).read_bytes() == untouched
    assert os.stat(new.path("train/lait-jpg-000000.tar")).st_ino == inode
    assert keys_of(root) == {made.best.key for made in samples} - {test_sample.best.key} and not new.removed
    found = find(new, samples[20].best.key)
    assert (found.image, found.json) == (samples[20].image, sample_fields(samples[20]))
    assert not any(test_sample.best.key.encode() in path.read_bytes() for path in Path(new.directory).rglob("*.tar"))
    manifest = json.loads(Path(new.path("manifest.json")).read_bytes())
    assert manifest["extra"]["tombstones"] == [test_sample.best.key]
    line = manifest["extra"]["lineage"][0]
    assert line["manifest"] == old.digest and Path(new.path(line["file"])).read_bytes() == old_manifest
    assert manifest["funnel"][-1]["outcomes"] == [["kept", 23], ["removed", 1]]


def test_a_second_rewrite_keeps_the_lineage_and_an_empty_shard_goes(root: str, samples: list[Made]) -> None:
    train = [made.best.key for made in samples if made.best.split == "train"]
    assert parsed("remove", root, "--key", train[0], "--rewrite") == 0
    test = [word for made in samples if made.best.split == "test" for word in ("--key", made.best.key)]
    assert parsed("remove", root, *test) == 0 and parsed("remove", root, "--rewrite") == 0
    shards = load_shards(root)
    assert [shard.split for shard in shards.shards] == ["train"] and keys_of(root) == set(train[1:])
    assert faults(root) == [] and len(os.listdir(Path(root, "shards"))) == 1
    manifest = json.loads(Path(shards.path("manifest.json")).read_bytes())
    assert len(manifest["extra"]["lineage"]) == 2 and len(manifest["extra"]["tombstones"]) == 4
    assert all(os.path.isfile(shards.path(line["file"])) for line in manifest["extra"]["lineage"])


class Killed(Exception):
    pass


@pytest.mark.parametrize("name, moment", [("_write_shard", 1), ("_write_shard", 2), ("second_names", 1),
                                          ("_commit", 1), ("_commit", 2), ("_sweep", 1), ("_sweep", 2)])
def test_killed_at_any_step_the_set_stays_whole(root: str, samples: list[Made], name: str, moment: int, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    gone = [samples[3].best.key, samples[10].best.key]                      # one of each split
    whole = str(tmp_path / "whole")
    shutil.copytree(root, whole)
    words = [word for key in gone for word in ("--key", key)]
    assert parsed("remove", whole, *words, "--rewrite") == 0
    real, calls = getattr(rewriting, name), []

    def killing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == moment:
            raise Killed
        result = real(*arguments)
        if name == "_commit":
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, name, killing)
        with pytest.raises(Killed):
            parsed("remove", root, *words, "--rewrite")
    assert keys_of(root) == {made.best.key for made in samples} - set(gone) and faults(root) == []
    assert parsed("remove", root, *words, "--rewrite") == 0
    assert current(root)["shards"] == current(whole)["shards"] and len(os.listdir(Path(root, "shards"))) == 1
    assert _tars(root) == _tars(whole) and load_shards(root).digest == load_shards(whole).digest


def test_a_folder_without_its_root_has_tombstones_and_no_list(root: str, samples: list[Made], tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    taken = str(tmp_path / "far" / "away" / "taken")
    shutil.copytree(load_shards(root).directory, taken)
    assert root_of(taken) == "" and parsed("remove", taken, "--key", samples[3].best.key) == 0
    assert "outside a dataset's root" in capsys.readouterr().out
    assert len(keys_of(taken)) == 23 and len(keys_of(root)) == 24
    with pytest.raises(UsageError, match="--rewrite is for the current shards"):
        parsed("remove", taken, "--rewrite")


def test_a_dry_run_changes_nothing(root: str, samples: list[Made], capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("remove", root, "--domain", "example", "--dry-run") == 0
    assert "24 samples to remove" in capsys.readouterr().err and len(keys_of(root)) == 24
    assert not Path(root, SUPPRESS).exists()


def test_rules_come_from_a_file(root: str, samples: list[Made], tmp_path: Path) -> None:
    file = tmp_path / "rules.txt"
    file.write_text(f"# asked for on Monday\nkey {samples[5].best.key}\n\ndomain site2.example\nphash {'f' * 16}:2\n")
    assert parsed("remove", root, "--from", str(file)) == 0
    assert len(keys_of(root)) == 24 - 1 - sum(number % 7 == 2 for number in range(24)) + (5 % 7 == 2)
    assert [str(line.rule) for line in read_list(root)][-1] == f"phash {'f' * 16}:2"      # hits nothing yet, and holds
    file.write_text("key nonsense\n")
    with pytest.raises(UsageError, match=r"rules.txt, line 1: key 'nonsense'"):
        parsed("remove", root, "--from", str(file))
    with pytest.raises(UsageError, match="nothing to remove"):
        parsed("remove", root)


def test_a_damaged_list_is_never_an_empty_one(root: str, samples: list[Made]) -> None:
    shards = load_shards(root)
    remove(shards, root, plan(shards, [parse_rule("key", samples[3].best.key)]))
    Path(shards.path(TOMBSTONES)).write_text('{"keys": ["x"]}')
    with pytest.raises(UsageError, match="not the list of removed samples"):
        load_shards(root)
    Path(root, SUPPRESS).write_text("{}\n")
    with pytest.raises(UsageError, match="line 1: damaged"):
        suppression(root)


def test_a_removed_key_that_is_back_is_a_fault(root: str, samples: list[Made]) -> None:
    key = samples[3].best.key
    file = Path(load_shards(root).path("manifest.json"))
    value = json.loads(file.read_bytes())
    value["extra"]["tombstones"] = [key]
    file.write_text(json.dumps(value))
    assert any(key in line and "was removed" in line for line in faults(root))
    assert rewrite(load_shards(root), root) is None


def _tars(root: str) -> dict[str, bytes]:
    folder = Path(load_shards(root).directory)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.tar"))}


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[list[Made]]]:
    """A root with 100 shards of 4 samples; every fourth sample is of site0.example."""
    root = str(tmp_path_factory.mktemp("hundred") / "root")
    image = drawn(1, 64, 48)
    shards = []
    for number in range(100):
        made = [small_sample(image, 4 * number + place, f"https://www.site{place}.example/{number}")
                for place in range(4)]
        shards.append(made)
    commit_many(root, shards)
    return root, shards


def test_ten_keys_in_three_of_a_hundred_shards_touch_three(hundred: tuple[str, list[list[Made]]], tmp_path: Path,
                                                           capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "root")
    shutil.copytree(hundred[0], root)
    gone = [made.best.key for made in (*hundred[1][7], *hundred[1][50][:3], *hundred[1][99][:3])]
    words = [word for key in gone for word in ("--key", key)]
    old = load_shards(root)
    inodes = {shard.name: os.stat(old.path(shard.name)).st_ino for shard in old.shards}
    assert parsed("remove", root, *words, "--rewrite", "--json") == 0
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["samples"], told["shards"], told["of_shards"]) == (10, 3, 100)
    assert "most of the set" not in captured.err
    new = load_shards(root)
    again = {shard.name for shard in new.shards if os.stat(new.path(shard.name)).st_ino != inodes[shard.name]}
    gone_shard, *touched = (f"train/lait-jpg-{number:06d}.tar" for number in (7, 50, 99))
    assert again == set(touched) and gone_shard not in {shard.name for shard in new.shards}     # it was left empty
    assert told["read"] == told["rewrite_reads"]
    assert 0.9 < told["written"] / told["rewrite_writes"] <= 1 and faults(root) == []


def test_a_domain_that_is_spread_over_all_says_so_before(hundred: tuple[str, list[list[Made]]],
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    assert parsed("remove", hundred[0], "--domain", "site3.example", "--dry-run") == 0
    told = capsys.readouterr().err
    assert "100 samples to remove" in told and "in 100 of 100 shards" in told and "that is most of the set" in told
