"""A name is written once."""
import os

import pytest

from crawl import storage


@pytest.fixture(params=["local", "memory"])
def root(request, tmp_path):
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_commit_is_create_only(root):
    path = storage.join(root, "a", "b.bin")
    assert not storage.exists(path)
    assert storage.commit_bytes(path, b"one") is True
    assert storage.commit_bytes(path, b"one") is False
    with pytest.raises(storage.CommitConflict, match="b.bin"):
        storage.commit_bytes(path, b"two")
    assert storage.read_bytes(path) == b"one"
    assert storage.size(path) == 3


def test_read_range_is_exact(root):
    path = storage.join(root, "r.bin")
    storage.commit_bytes(path, b"0123456789")
    assert storage.read_range(path, 3, 4) == b"3456"
    with pytest.raises(EOFError, match="wanted 4 bytes at 8"):
        storage.read_range(path, 8, 4)


def test_replace_is_for_pointers(root):
    path = storage.join(root, "dataset.json")
    storage.replace_bytes(path, b"1")
    storage.replace_bytes(path, b"2")
    assert storage.read_bytes(path) == b"2"


def test_no_temporary_file_is_left(tmp_path):
    storage.commit_bytes(str(tmp_path / "x"), b"1")
    storage.commit_bytes(str(tmp_path / "x"), b"1")
    storage.replace_bytes(str(tmp_path / "y"), b"1")
    assert sorted(os.listdir(tmp_path)) == ["x", "y"]
