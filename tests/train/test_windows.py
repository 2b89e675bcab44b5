"""Remote shards are read in contiguous ranges, and a run over them sees the packs of a run over the folder."""
from __future__ import annotations

import dataclasses
import hashlib
import os
import threading

import pytest

from crawl import storage
from crawl.errors import UsageError
from shards.manifest import load_shards
from shards.window_cache import WindowCache
from tests.train.made_shards import REGIONS, make_shards, small_config
from train.data import TrainingData
from train.stream import PackStream, StageStart


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("windows") / "shards"
    make_shards(root, shards=6, samples=40)
    for name in storage.names_below(str(root)):
        storage.commit_bytes(f"memory://windows/shards/{name}", (root / name).read_bytes())
    return root


def packs_of(path, rank=0, world=1, threads=1, mib=64, window=2):
    config = dataclasses.replace(small_config(align=0, pretrain=600), window=window)
    data = TrainingData({"it": load_shards(str(path))}, REGIONS, 0, mib)
    try:
        found = {}
        for step in PackStream(data, data.resolved(config), 0, StageStart(), rank, world, threads):
            for lane, pack in step.packs:
                arrays = {field.name: getattr(pack, field.name) for field in dataclasses.fields(pack)}
                words = hashlib.sha256()
                for name, array in sorted(arrays.items()):
                    words.update(name.encode() + (array.numpy().tobytes() if hasattr(array, "numpy") else
                                                  str(array).encode()))
                found[step.number, lane] = words.hexdigest(), step.keys[lane]
        return found, data.windows
    finally:
        data.close()


@pytest.mark.parametrize("world, threads", [(1, 1), (1, 3), (2, 1)])
def test_packs_are_those_of_the_folder(folder, world, threads):
    expected, no_windows = packs_of(folder)
    found = {}
    for rank in range(world):
        own, windows = packs_of("memory://windows/shards", rank, world, threads)
        found |= own
        assert windows.reads > 0
    assert found == expected and len(expected) > 50 and no_windows is None


def test_each_block_is_asked_for_once_while_there_is_room(folder):
    _, windows = packs_of("memory://windows/shards", threads=2)
    assert windows.reads == 2 * 6      # the image tar, as there is no table, and regions


def test_what_does_not_fit_gives_way_and_comes_back(folder, monkeypatch):
    monkeypatch.setattr("train.windows.WindowCache", lambda limit: WindowCache(200_000, 4096))
    monkeypatch.setattr("train.windows.Windows.__init__", _without_check(monkeypatch))
    expected, _ = packs_of(folder)
    found, windows = packs_of("memory://windows/shards", threads=2)
    assert found == expected
    assert windows.reads > 100 and windows.held <= 200_000 + 4096 * 40


def _without_check(monkeypatch):
    from train.windows import Windows
    init = Windows.__init__

    def unchecked(self, cache, *others):
        limit, cache.limit = cache.limit, 1 << 40
        init(self, cache, *others)
        cache.limit = limit
    return unchecked


def test_windows_that_do_not_fit_are_refused_with_the_size_that_does(folder):
    with pytest.raises(UsageError, match=r"take up to [\d,]+ MiB.*--set window_cache_mib="):
        big = TrainingData({"it": load_shards("memory://windows/shards")}, REGIONS, 0, 1)
        big.windows.limit = 10_000
        try:
            next(iter(PackStream(big, big.resolved(small_config(align=0)), 0, StageStart())))
        finally:
            big.close()


def test_many_threads_share_one_cache(tmp_path):
    data = os.urandom(300_000)
    storage.commit_bytes("memory://windows/many.tar", data)
    cache = WindowCache(1 << 20, 8192)
    tar, wrong = cache.tar("memory://windows/many.tar", len(data)), []

    def read(seed):
        for turn in range(60):
            offset = (seed * 7919 + turn * 104_729) % (len(data) - 3000)
            if turn % 7 == 0:
                tar.expect()
            if tar.pread(3000, offset) != data[offset:offset + 3000]:
                wrong.append(offset)
    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert not wrong and cache.reads == -(-len(data) // 8192)
    assert tar.pread(100, len(data) - 40) == data[-40:]
    cache.close()


def test_a_tar_that_is_gone_is_named(tmp_path):
    cache = WindowCache(1 << 20, 8192)
    with pytest.raises(UsageError, match=r"gone\.tar: no such shard"):
        cache.tar("memory://windows/gone.tar", 100).pread(10, 0)
    assert cache.held == 0
    cache.close()
