import io
import mmap
import tarfile

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.index import INDEX_DTYPE, index_tar, load_index, write_index
from shards.manifest import ShardFile
from shards.reader import ShardReader
from shards.regions import pack
from tests.shards.test_regions import made


def foreign_tar(path, members):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mtime, member.uname = len(data), 1234567890.5, "someone"
            tar.addfile(member, io.BytesIO(data))


LONG = "a/very/long/key/of/somebody/else/000000001"


def test_any_webdataset_tar_can_be_indexed_and_read(tmp_path):
    path = str(tmp_path / "cc3m-00000.tar")
    foreign_tar(path, [("000.jpg", b"JPEG" * 99), ("000.txt", "Ein Café".encode()), ("000.json", b'{"url": null}'),
                       (f"{LONG}.jpeg", b"x"), (f"{LONG}.txt", b"two  words"), (f"{LONG}.cls", b"7"),
                       ("000.regions.safetensors", pack(made()))])
    index = index_tar(path, count_pieces=lambda caption: 50 if "two" in caption else 2)
    assert [bytes(key) for key in index["key"]] == [b"000", index["key"][1]] and len(index["key"][1]) == 32
    assert index["num_regions"].tolist() == [5, 0]
    assert index["num_tokens"].tolist() == [2, 41] and index["num_cut"].tolist() == [0, 9]
    assert len(set(index["image_hash"].tolist())) == 2 and (index["group_hash"] == index["image_hash"]).all()
    write_index(path + ".idx.npy", index)
    shard = ShardFile("cc3m-00000.tar", "train", "jpg", 2, 0, "", "cc3m-00000.tar", "cc3m-00000.tar.idx.npy", "")
    with ShardReader(str(tmp_path), shard) as reader:
        assert reader.caption(0) == "Ein Café" and reader.image(0) == b"JPEG" * 99
        assert reader.sample_json(0) == {"url": None}
        assert (reader.regions(0).feat == made().feat).all()
        assert reader.caption(1) == "two  words"
        with pytest.raises(UsageError, match="has no regions member"):
            reader.regions(1)


def test_regions_may_lie_in_a_sibling_tar(tmp_path):
    path, regions_path = str(tmp_path / "a.tar"), str(tmp_path / "a.regions.tar")
    foreign_tar(path, [("k.jpg", b"x"), ("k.txt", b"a dog")])
    foreign_tar(regions_path, [("k.regions.safetensors", pack(made())), ("other.regions.safetensors", b"skipped")])
    assert index_tar(path, regions_path)["num_regions"].tolist() == [5]


def test_captions_that_differ_in_case_and_spaces_have_one_hash(tmp_path):
    path = str(tmp_path / "a.tar")
    foreign_tar(path, [("0.txt", b"A  Dog\n"), ("1.txt", b"a dog"), ("2.txt", b"a cat")])
    hashes = index_tar(path)["caption_hash"]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("cut", [1, 600, 3000])
def test_a_tar_cut_anywhere_is_one_clear_line(tmp_path, cut):
    path = str(tmp_path / "a.tar")
    foreign_tar(path, [("0.jpg", bytes(5000)), ("0.txt", b"a dog")])
    with open(path, "rb+") as file:
        file.truncate(cut)
    with pytest.raises(UsageError, match="a.tar: "):
        index_tar(path)


def test_a_tar_without_samples_is_refused(tmp_path):
    foreign_tar(str(tmp_path / "a.tar"), [("README", b"hello")])
    with pytest.raises(UsageError, match="no sample"):
        index_tar(str(tmp_path / "a.tar"))


def test_an_index_comes_back_memory_mapped(tmp_path):
    rows = np.zeros(3, INDEX_DTYPE)
    rows["num_tokens"] = [1, 2, 3]
    path = str(tmp_path / "a.idx.npy")
    write_index(path, rows)
    assert isinstance(load_index(path).base.obj, mmap.mmap) and load_index(path)["num_tokens"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", b"not numpy at all", b"\x80\x04."])
def test_what_is_no_index_is_refused(tmp_path, data):
    path = tmp_path / "a.idx.npy"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="a.idx.npy: not an index"):
        load_index(str(path))


def test_an_index_of_another_version_is_refused(tmp_path):
    path = tmp_path / "a.idx.npy"
    np.save(path, np.zeros(3))
    with pytest.raises(UsageError, match="another version"):
        load_index(str(path))
