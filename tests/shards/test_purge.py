import dataclasses
import gzip
import io
import json
import os
import random
import shutil
import tarfile
from pathlib import Path

import pytest

from crawl import warc
from crawl.cdxj import INDEX
from crawl.errors import UsageError
from crawl.stages import Stage, current, current_manifest, read_manifest
from crawl.suppress import PURGE, Suppression, parse_rule
from crawl.tables import read_plain, read_table, write_table
from filter.records import Best
from shards.addresses import read_addresses
from shards.files import commit_small, sha256_of
from shards.inspect import listed
from shards.manifest import load_shards
from shards.purge_bytes import overwritten
from shards.purge_rows import RowRule, Targets
from shards.records import RegionAddress, image_address
from shards.validate import validate
from tests.shards.bytes_of import files_with
from tests.shards.killing import num_changes, run_killed
from tests.shards.made_root import Config, Made, made_root
from tests.shards.test_inspect import parsed

IMAGEBERT = ("shards", "remove")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, list[Made]]:
    folder = str(tmp_path_factory.mktemp("made") / "root")
    return folder, made_root(folder, 24)


@pytest.fixture()
def root(made: tuple[str, list[Made]], tmp_path: Path) -> str:
    shutil.copytree(made[0], tmp_path / "root")
    return str(tmp_path / "root")


def needles(gone: list[Made]) -> list[bytes]:
    return [needle for one in gone for needle in (
        one.image, one.best.image_sha256.encode(), one.best.caption.encode(), one.best.image_url.encode())]


def is_whole(root: str) -> None:
    """Everything that a manifest names is there, with the bytes it says."""
    for folder in current(root).values():
        manifest = read_manifest(root, folder)
        assert manifest is not None
        for entries in manifest.tables.values():
            for entry in entries:
                assert sha256_of(f"{manifest.directory}/{entry.name}") == entry.sha256
    assert [str(fault) for fault in validate(load_shards(root, check_sizes=False))] == []
    upstream = {read_manifest(root, folder).digest for folder in current(root).values()}      # type: ignore[union-attr]
    assert set(current_manifest(root, "filter").inputs.values()) <= upstream


def test_what_is_purged_is_in_no_byte_and_the_rest_at_its_address(root: str, made: tuple[str, list[Made]]) -> None:
    gone = [made[1][3], made[1][10]]
    assert {needle for _, needle in files_with(root, needles(gone))} == set(needles(gone))
    Path(root, INDEX).write_bytes(b"test,a)/ 20261123000000 " + needles(gone)[-1])
    old = current(root)
    words = [word for one in gone for word in ("--key", one.best.key)]
    assert parsed(*IMAGEBERT[1:], root, *words, "--purge") == 0
    assert files_with(root, needles(gone)) == set() and not {INDEX, PURGE} & set(os.listdir(root))
    assert {one.key for one in listed(load_shards(root))} == {one.best.key for one in made[1]} - {
        one.best.key for one in gone}
    is_whole(root)
    assert {name: folder for name, folder in current(root).items() if name != "shards"} == {
        name: folder for name, folder in old.items() if name != "shards"} and len(os.listdir(f"{root}/shards")) == 1
    best = [Best(**{name: tuple(value) if isinstance(value, list) else value for name, value in row.items()})
            for path in current_manifest(root, "filter").paths("best") for row in read_plain(path)]
    assert len(best) == 22 and len(list(read_addresses(root, [image_address(row) for row in best]))) == 22
    record = json.loads(Path(root, "purged.jsonl").read_text())
    assert record["images"] == 2 and record["left"] == 0 and record["overwritten"] == sum(
        one.best.length for one in gone)
    history = current_manifest(root, "filter").extra["purged"]
    assert [line["rows"] for line in history] == [4]                           # of best and of pairs


def test_again_it_does_nothing_and_old_sets_are_purged_too(root: str, made: tuple[str, list[Made]]) -> None:
    gone = [made[1][3]]
    first = load_shards(root).directory
    shutil.copytree(first, f"{root}/shards/{'0' * 12}")                        # an old set beside the current one
    older = Path(f"{root}/shards/{'0' * 12}/manifest.json")
    older.write_text(json.dumps(json.loads(older.read_text()) | {"notes": ["an older one"]}))
    assert parsed("remove", root, "--key", gone[0].best.key) == 0
    assert parsed("remove", root, "--purge") == 0
    assert files_with(root, needles(gone)) == set()
    sets = {f"shards/{name}" for name in os.listdir(f"{root}/shards")}
    assert len(sets) == 2 and f"shards/{'0' * 12}" not in sets and current(root)["shards"] in sets
    before = {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
    assert parsed("remove", root, "--purge") == 0
    after = {str(path): path.read_bytes() for path in Path(root).rglob("*") if path.is_file()}
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {
        f"{root}/purged.jsonl"}


def test_the_notes_of_a_detector_on_a_removed_image_go_too(root: str, made: tuple[str, list[Made]]) -> None:
    gone, stays = made[1][3].best, made[1][4].best
    stage = Stage.open(root, "regions", 2, Config(), {"filter": current_manifest(root, "filter").digest})
    part = commit_small(stage.directory, "chunk-00000-00000-abc.bin", b"regions of two")
    rows = [RegionAddress(one.key, "extracted", f"{stage.folder}/{part.name}", 7 * place, 7, "ab" * 32, 1)
            for place, one in enumerate((gone, stays))]
    commit_small(stage.directory, "chunk-00000-00000.json", json.dumps({
        "part": dataclasses.asdict(part), "rows": [dataclasses.astuple(row) for row in rows]}).encode())
    table = write_table(stage.directory, "regions-00000-of-00001.parquet", RegionAddress, rows)
    stage.commit({"regions": [table], "parts": [part]}, ())
    assert parsed("remove", root, "--key", gone.key, "--purge") == 0
    held = {name for name, _ in files_with(root, [gone.key.encode()])}
    assert not any(name.startswith("regions/") for name in held), held
    manifest = current_manifest(root, "regions")
    assert [row.key for path in manifest.paths("regions") for row in read_table(path, RegionAddress)] == [stays.key]
    assert Path(root, stage.folder, part.name).read_bytes() == bytes(7) + b" of two"


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_killed_a_purge_goes_on(root: str, made: tuple[str, list[Made]], share: float, tmp_path: Path) -> None:
    kill_and_go_on(root, made, tmp_path, share)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_killed_anywhere_a_purge_goes_on(root: str, made: tuple[str, list[Made]], seed: int, tmp_path: Path) -> None:
    kill_and_go_on(root, made, tmp_path, random.Random(seed).random())


def kill_and_go_on(root: str, made: tuple[str, list[Made]], tmp_path: Path, share: float) -> None:
    gone = [made[1][3], made[1][10]]
    words = [word for one in gone for word in ("--key", one.best.key)]
    whole = str(tmp_path / "whole")
    shutil.copytree(root, whole)
    changes = num_changes(whole, *IMAGEBERT, whole, *words, "--purge")
    assert run_killed(int(changes * share), root, *IMAGEBERT, root, *words, "--purge")
    for folder in {*current(root).values()}:
        assert read_manifest(root, folder) is not None                         # as it was, or as it shall be
    assert [str(fault) for fault in validate(load_shards(root, check_sizes=False))] == []
    if os.path.exists(f"{root}/{PURGE}"):
        with pytest.raises(UsageError, match="--purge` to end it"):
            Stage.open(root, "filter", 1, Config(), {})
    assert parsed("remove", root, *words, "--purge") == 0
    assert files_with(root, needles(gone)) == set() and not os.path.exists(f"{root}/{PURGE}")
    is_whole(root)
    assert current(root)["filter"] == current(whole)["filter"]
    assert len({current_manifest(one, "filter").table_digest("best") for one in (root, whole)}) == 1
    assert _tars(root) == _tars(whole)


def _tars(root: str) -> dict[str, bytes]:
    folder = Path(load_shards(root).directory)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.tar")}


def test_a_half_finished_stage_is_refused(root: str) -> None:
    os.makedirs(f"{root}/images/{'a' * 12}/shard-0000")
    Path(f"{root}/images/{'a' * 12}/shard-0000/part-00000.json").write_text("{}")
    with pytest.raises(UsageError, match=f"half-finished stages lie in the root .images/{'a' * 12}."):
        parsed("remove", root, "--domain", "site1.example", "--purge")


def test_without_a_root_there_is_nothing_to_purge(root: str, tmp_path: Path) -> None:
    taken = str(tmp_path / "far" / "away" / "taken")
    shutil.copytree(load_shards(root).directory, taken)
    with pytest.raises(UsageError, match="no dataset's root; --purge"):
        parsed("remove", taken, "--purge")


def test_a_tar_keeps_its_members_at_their_places(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("a", "b", "c"):
            info = tarfile.TarInfo(name * 64 + ".jpg")
            info.size = 700
            tar.addfile(info, io.BytesIO(name.encode() * 700))
    path = tmp_path / "part.tar"
    path.write_bytes(buffer.getvalue())
    temporary, entry = overwritten(str(path), "part.tar", [(1536 + 512, 700)])
    assert path.read_bytes() == buffer.getvalue()                              # a copy was written
    with tarfile.open(temporary) as tar:
        assert [member.name[:7] for member in tar] == ["aaaaaaa", "removed", "ccccccc"]
        assert tar.extractfile("c" * 64 + ".jpg").read() == b"c" * 700         # type: ignore[union-attr]
    assert entry.bytes == len(buffer.getvalue()) and b"bbbb" not in Path(temporary).read_bytes()


@pytest.mark.parametrize("length", [22, 150, 211, 212, 400, 65_559, 65_560, 131_100, 200_000])
def test_a_filler_is_a_member_of_that_length(length: int) -> None:
    member = warc.filler(length)
    text = gzip.decompress(member)
    assert len(member) == length
    head, _, rest = text.partition(b"\r\n\r\n")
    assert text == b"" or len(rest) == int(head.split(b"Content-Length: ")[1]) + 4


def test_of_a_warc_answer_and_request_go(tmp_path: Path) -> None:
    answers = []
    data = warc.warcinfo("x", "2026-01-01T00:00:00Z", "agent")
    for number in range(3):
        head = f"GET /secret{number} HTTP/1.1\r\n\r\n".encode()
        data += warc.request(head, f"http://a.test/secret{number}", warc.record_id(f"{number:032x}", 0),
                             "2026-01-01T00:00:00Z")
        body = gzip.compress(f"WARC/1.1 page {number}".encode() * 50, mtime=0)
        answers.append((len(data), len(body)))
        data += body
    path = tmp_path / "part.warc.gz"
    path.write_bytes(data)
    temporary, _ = overwritten(str(path), "part.warc.gz", [answers[1]])
    new = Path(temporary).read_bytes()
    assert len(new) == len(data)
    for number in (0, 2):
        start, length = answers[number]
        assert new[start:start + length] == data[start:start + length]
    text = gzip.decompress(new)
    assert b"secret0" in text and b"secret2" in text and b"secret1" not in text and b"page 1" not in text
    assert text.count(b"removed") >= 1


def test_rules_of_rows() -> None:
    suppressed = Suppression([parse_rule("domain", "gone.example")], keys=["ab" * 16])
    rule = RowRule(Targets(suppressed, frozenset({"cd" * 32}), frozenset({"https://a.example/x.jpg"}),
                           frozenset({"1" * 32}), {"2" * 32: frozenset({"a cat on the sofa"})}))
    assert rule.goes({"key": "ab" * 16}) and rule.goes({"image_sha256": "cd" * 32}) and rule.goes({"src_key": "1" * 32})
    assert rule.goes({"page_url": "https://www.gone.example/p"}) and rule.goes({"image_url": "https://a.example/x.jpg"})
    assert rule.goes({"authority": "https://gone.example:443"})
    stays = {"page_key": "2" * 32, "image_url": "https://a.example/y.jpg", "alternatives": [
        "https://a.example/x.jpg", "https://a.example/y2.jpg"], "link_href": "https://gone.example/",
        "page_text": "See a cat on the sofa (https://a.example/x.jpg).", "n": 3, "texts": [{"text": "a dog"}]}
    assert not rule.goes(stays)
    assert rule.cleaned(stays) == {
        "page_key": "2" * 32, "image_url": "https://a.example/y.jpg", "alternatives": ["https://a.example/y2.jpg"],
        "link_href": "", "page_text": "See  (", "n": 3, "texts": [{"text": "a dog"}]}
    answer = {"url_key": "2" * 32, "warc_record_id": "urn:uuid:1", "part": "p", "offset": 5, "length": 6}
    assert rule.loses_bytes(answer) and rule.cleaned(answer)["part"] == "" and not rule.loses_bytes({"key": "x"})
