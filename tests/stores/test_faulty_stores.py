"""s3:// and gs:// that fail now and then: a name is written once, a lease held by one, a large file whole."""
from __future__ import annotations

import concurrent.futures
import hashlib
import json
import random

import pytest

from crawl import storage
from crawl.lease import Lease
from crawl.object_store import StoreUsageError
from shards.files import PartFile
from tests.stores.fault_proxy import FAULTS

pytestmark = pytest.mark.store


def test_names_are_written_once_whatever_the_store_says(store):
    for number in range(25):
        path = f"{store.root}/once/{number}"
        data = random.Random(number).randbytes(5000)
        storage.commit_bytes(path, data)
        storage.commit_bytes(path, data)
        with pytest.raises(storage.CommitConflict):
            storage.commit_bytes(path, b"other")
        assert storage.read_bytes(path) == data and storage.read_range(path, 10, 100) == data[10:110]
    assert store.proxy.done.keys() == set(FAULTS)


def test_a_list_swapped_by_many_has_each_word_once(store):
    path = f"{store.root}/words"

    def add(worker):
        for number in range(10):
            word = f"{worker}-{number}"
            while word not in (words := _words(found := storage.read_version(path))):
                storage.swap_bytes(path, json.dumps([*words, word]).encode(), found)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(4)))
    expected = sorted(f"{worker}-{number}" for worker in range(4) for number in range(10))
    assert sorted(_words(storage.read_version(path))) == expected


def _words(found):
    return json.loads(found.data) if found else []


def test_a_lease_is_held_by_one(store):
    first, second = (Lease(f"{store.root}/lease", 30.0) for _ in range(2))
    assert first.take() and not second.take()
    for _ in range(10):
        first.confirm()
    assert not second.take()
    first.release()
    assert second.take()


def test_a_large_file_goes_in_pieces(store, monkeypatch):
    monkeypatch.setattr("shards.files._ONE_PUT", 1 << 20)
    data = random.Random(3).randbytes(23 << 20)
    for _ in range(2):
        with PartFile(f"{store.root}/large") as part:
            part.append(data)
            entry = part.commit(lambda sha256: "large.tar")
    assert entry.sha256 == hashlib.sha256(data).hexdigest()
    assert storage.size(f"{store.root}/large/large.tar") == len(data)
    with PartFile(f"{store.root}/large") as part, pytest.raises(storage.CommitConflict):
        part.append(data[1:])
        part.commit(lambda sha256: "large.tar")


def test_no_bucket_is_one_line(store):
    with pytest.raises(StoreUsageError, match="no such bucket") as told:
        storage.commit_bytes(store.root.replace("a-bucket", "another-bucket") + "/x", b"1")
    assert not any(word in str(told.value).encode() for word in store.secrets)
