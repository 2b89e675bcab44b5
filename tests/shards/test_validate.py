import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from shards.faults import Fault
from shards.manifest import ShardSet, load_shards
from shards.validate import total_bytes, validate
from tests.shards.made_root import commit_shards, made_sample


@pytest.fixture
def root(tmp_path: Path) -> str:
    commit_shards(str(tmp_path), [made_sample(number) for number in range(12)])
    return str(tmp_path)


def faults_of(root: str) -> list[Fault]:
    return list(validate(load_shards(root, check_sizes=False)))


def train_shard(root: str) -> tuple[ShardSet, str]:
    shards = load_shards(root, check_sizes=False)
    return shards, shards.path("train/lait-jpg-000000.tar")


def with_sha256_of(root: str, name: str) -> None:
    """Makes the manifest agree with a file that a test changed, so that only the fault itself is found."""
    import hashlib
    shards = load_shards(root, check_sizes=False)
    path = shards.path("manifest.json")
    value = json.loads(Path(path).read_bytes())
    data = Path(shards.path(name)).read_bytes()
    for entry in value["tables"]["shards"]:
        if entry["name"] == name:
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    for shard in value["extra"]["shards"]:
        if shard["name"] == name:
            shard |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    Path(path).write_text(json.dumps(value))


def patch(path: str, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def row(root: str, number: int = 2) -> np.void:
    shards, _ = train_shard(root)
    return np.load(shards.path("train/lait-jpg-000000.idx.npy"))[number]


def test_whole_shards_have_no_fault_and_every_byte_is_read(root: str) -> None:
    shards = load_shards(root)
    counted: list[int] = []
    assert list(validate(shards, counted.append)) == []
    assert sum(counted) == total_bytes(shards) > 0


def test_a_shard_cut_in_half_is_a_fault_with_key_and_offset(root: str) -> None:
    _, path = train_shard(root)
    size = os.path.getsize(path)
    os.truncate(path, size // 2 + 100)
    faults = faults_of(root)
    cut = [fault for fault in faults if "it was cut" in fault.what]
    assert len(cut) == 1 and len(cut[0].key) == 32 and 0 < cut[0].offset <= size // 2 + 100
    assert any(fault.what == f"has {size // 2 + 100} bytes, the manifest says {size}" for fault in faults)
    assert any("whole samples, the manifest says 10" in fault.what for fault in faults)
    assert {fault.shard for fault in faults} == {"train/lait-jpg-000000.tar"}      # the regions are whole


@pytest.mark.parametrize("length", [0, 511, 512, 700, 1024])
def test_any_cut_is_a_fault(root: str, length: int) -> None:
    _, path = train_shard(root)
    os.truncate(path, length)
    assert any("cut" in fault.what for fault in faults_of(root))


def test_one_flipped_bit_of_an_image_is_named(root: str) -> None:
    _, path = train_shard(root)
    entry = row(root)
    at = int(entry["image_offset"]) + int(entry["image_size"]) // 2
    with open(path, "rb") as file:
        file.seek(at)
        byte = file.read(1)[0]
    patch(path, at, bytes([byte ^ 1]))
    found = {(fault.key, fault.shard) for fault in faults_of(root)}
    assert (entry["key"].decode(), "train/lait-jpg-000000.tar") in found       # its key is no longer its sha256
    assert (entry["key"].decode(), "train/lait-jpg-000000.idx.npy") in found   # nor its crc the index's
    assert ("", "train/lait-jpg-000000.tar") in found                          # nor the file's sha256 the manifest's


def test_a_broken_header_is_a_fault_with_its_offset(root: str) -> None:
    _, path = train_shard(root)
    header = int(row(root)["txt_offset"]) - 512
    patch(path, header, b"x")
    assert any(fault.offset == header and "no tar header" in fault.what for fault in faults_of(root))


def test_a_header_with_a_clock_in_it_is_a_fault(root: str) -> None:
    import tarfile
    _, path = train_shard(root)
    entry = row(root)
    info = tarfile.TarInfo(entry["key"].decode() + ".jpg")
    info.size, info.mtime = int(entry["image_size"]), 1700000000
    patch(path, int(entry["image_offset"]) - 512, info.tobuf(tarfile.USTAR_FORMAT))
    with_sha256_of(root, "train/lait-jpg-000000.tar")
    assert [fault.what for fault in faults_of(root)] == [f"{info.name} mtime is 1700000000, not 0"]


def test_a_caption_that_differs_from_its_json_is_a_fault(root: str) -> None:
    _, path = train_shard(root)
    entry = row(root)
    patch(path, int(entry["txt_offset"]), b"A")
    with_sha256_of(root, "train/lait-jpg-000000.tar")
    assert any("KEY.json says caption" in fault.what and fault.offset == int(entry["json_offset"])
               for fault in faults_of(root))


def test_json_without_a_field_is_a_fault(root: str) -> None:
    _, path = train_shard(root)
    entry = row(root)
    with open(path, "rb") as file:
        file.seek(int(entry["json_offset"]))
        data = file.read(int(entry["json_size"]))
    patch(path, int(entry["json_offset"]), data.replace(b'"natural"', b'"naturel"'))
    assert any("natural" in fault.what and "fields differ" in fault.what for fault in faults_of(root))


@pytest.mark.parametrize("name", ["num_tokens", "num_regions", "group_hash", "json_offset", "image_crc", "txt_size"])
def test_an_index_that_differs_from_the_tar_is_a_fault(root: str, name: str) -> None:
    shards, _ = train_shard(root)
    path = shards.path("train/lait-jpg-000000.idx.npy")
    index = np.load(path)
    index[3][name] += 1
    np.save(path, index)
    with_sha256_of(root, "train/lait-jpg-000000.idx.npy")
    faults = faults_of(root)
    assert [(fault.key, fault.what.startswith(name)) for fault in faults] == [(index[3]["key"].decode(), True)]


def test_regions_in_another_order_are_faults(root: str) -> None:
    import tarfile

    from tests.shards.made_root import add_member
    shards, _ = train_shard(root)
    path = shards.path("train/lait-jpg-000000.regions.tar")
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    members[0], members[1] = members[1], members[0]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            add_member(tar, name, data)
    assert sum("is number" in fault.what for fault in faults_of(root)) == 2


def test_a_missing_member_costs_one_sample_only(root: str) -> None:
    import tarfile

    from tests.shards.made_root import add_member
    _, path = train_shard(root)
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    lost = members.pop(4)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            add_member(tar, name, data)
    faults = faults_of(root)
    assert lost[0].endswith(".txt")
    assert [fault.key for fault in faults if "members are" in fault.what] == [lost[0][:32]]
    assert any(fault.what == "holds 9 whole samples, the manifest says 10" for fault in faults)


def test_missing_files_are_faults(root: str) -> None:
    shards, path = train_shard(root)
    os.remove(path)
    os.remove(shards.path("vocab.txt"))
    os.remove(shards.path("train/lait-jpg-000000.idx.npy"))
    assert {fault.shard for fault in faults_of(root) if "missing" in fault.what} == {
        "train/lait-jpg-000000.tar", "vocab.txt", "train/lait-jpg-000000.idx.npy"}


def test_a_key_in_two_shards_is_a_fault(tmp_path: Path) -> None:
    samples = [made_sample(number) for number in range(1, 5)]
    twin = dataclasses.replace(samples[0], best=dataclasses.replace(samples[0].best, split="test"))
    commit_shards(str(tmp_path), [*samples, twin])
    faults = faults_of(str(tmp_path))
    assert any(fault.what == "the key stands in test/lait-jpg-000000.tar too" for fault in faults)
    assert any("KEY.json says split 'train'" in fault.what for fault in faults)


def test_a_table_of_other_samples_is_a_fault(root: str) -> None:
    shards, _ = train_shard(root)
    Path(shards.path("train/lait-jpg-000000.parquet")).write_bytes(
        Path(shards.path("test/lait-jpg-000000.parquet")).read_bytes())
    assert any("keys are not the 10 of" in fault.what for fault in faults_of(root))
    Path(shards.path("train/lait-jpg-000000.parquet")).write_bytes(b"PAR1 and no more PAR1")
    assert any("not a table of samples" in fault.what for fault in faults_of(root))


def test_what_the_build_command_writes_has_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import argparse

    import shards.cli
    from shards.build import ShardsConfig
    from tests.shards.kept import BeamRun, image_bytes, kept
    formats = {0: ("PNG", "png"), 1: ("WEBP", "webp")}

    def make(number: int) -> tuple[bytes, str]:
        fmt, ext = formats.get(number % 9, ("JPEG", "jpg"))
        return image_bytes(number, fmt), ext

    out = str(tmp_path)
    kept(out, 30, make=make)
    parser = argparse.ArgumentParser(prog="imagebert")
    shards.cli.register(parser.add_subparsers())
    args = parser.parse_args(["shards", "build", "--out", out, "--set", "patches.num_classes=4", "--set",
                              "patches.codebook_images=8", "--set", "order.max_samples=8", "--json"])
    args.run, args.config = BeamRun(), argparse.Namespace(shards=ShardsConfig())       # as imagebert.py sets them
    assert args.command(args) == 0
    told = json.loads(capsys.readouterr().out)
    assert {shard.ext for shard in load_shards(out).shards} == {"jpg", "png", "webp"}
    assert told["shards"] == len(load_shards(out).shards) and sum(told["samples"].values()) == 30
    assert told["report"] == told["directory"] + "/report.html" and os.path.getsize(told["report"]) > 10_000
    assert faults_of(out) == []
