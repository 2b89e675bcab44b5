"""A name is written once."""
import os

import pytest

from crawl import object_store, storage


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


def test_opened_and_folders(root):
    data = bytes(range(256)) * 100
    for name in ("a/one.bin", "b/two.bin", "three.bin"):
        storage.commit_bytes(storage.join(root, "o", name), data)
    assert storage.folders_in(storage.join(root, "o")) == ["a", "b"] and storage.folders_in(f"{root}/none") == []
    with storage.opened(storage.join(root, "o", "a/one.bin")) as file:
        assert file.read(3) == data[:3] and file.seek(-4, os.SEEK_END) == len(data) - 4
        assert file.read() == data[-4:] and file.seek(10) == 10 and file.read(2) == data[10:12]
    with pytest.raises(FileNotFoundError):
        storage.opened(storage.join(root, "o", "none"))


@pytest.mark.parametrize("happened", [True, False])
def test_a_swap_that_said_no_is_ours_if_our_value_is_there(happened, monkeypatch):
    from obstore.exceptions import PreconditionError
    path = f"memory://swap/{happened}"
    old = storage.swap_bytes(path, b"old", None)
    store, _ = object_store.located(path)

    class Denying:
        def put(self, name, data, mode):
            if happened:
                store.put(name, data)
            raise PreconditionError("412")

        def __getattr__(self, name):
            return getattr(store, name)

    monkeypatch.setattr(object_store, "_store", lambda url: Denying())
    new = storage.swap_bytes(path, b"new", old)
    assert (new is not None and new.data == b"new") if happened else new is None
