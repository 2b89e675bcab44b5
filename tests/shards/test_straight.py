"""Features that go straight to where they are wanted are those of a member read whole, and damage is found in both."""
import os

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.index import load_index
from shards.manifest import load_shards
from shards.reader import ShardReader
from tests.train.made_shards import FEATURES, make_shards


def reader_of(path):
    found = load_shards(str(path))
    return ShardReader(found.directory, found.of_split("train")[0])


@pytest.mark.parametrize("kind", ["u8", "f16"])
@pytest.mark.parametrize("limit", [None, 2, 0])
def test_straight_is_what_a_whole_read_is(tmp_path, kind, limit):
    dtype = np.uint8 if kind == "u8" else np.float16
    make_shards(tmp_path, shards=1, kind=kind)
    with reader_of(tmp_path) as whole, reader_of(tmp_path) as straight:
        assert whole.index["num_regions"].max() > 2
        used, into = 0, np.full((200, FEATURES), 7, dtype)
        for row in range(len(whole)):
            expected, found = whole.regions(row, limit), straight.regions(row, limit, into[used:])
            assert found.feat.shape == expected.feat.shape and np.shares_memory(found.feat, into) == (limit != 0)
            for name in ("feat", "box", "cls", "conf", "scale"):
                np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
            used += len(found)
        assert (into[used:] == 7).all()              # nothing beyond the wanted rows is touched


def test_u8_features_fit_into_f16_rows(tmp_path):
    make_shards(tmp_path, shards=1)
    with reader_of(tmp_path) as reader:
        into = np.empty((50, FEATURES), np.float16)
        for row in (0, 1):
            np.testing.assert_array_equal(reader.regions(row, None, into).feat, reader.regions(row).feat)
        with pytest.raises(UsageError, match="4 regions of 12 uint8 values, its set promises at most 50 of 11 uint8"):
            reader.regions(2, None, np.empty((50, FEATURES - 1), np.uint8))
        with pytest.raises(UsageError, match="4 regions .* at most 3 of"):
            reader.regions(2, None, np.empty((3, FEATURES), np.uint8))


@pytest.mark.parametrize("place", ["head", "middle", "last"])
def test_a_damaged_member_is_found_wherever_the_damage_is(tmp_path, place):
    make_shards(tmp_path, shards=1)
    tar = tmp_path / "train/lait-jpg-000000.regions.tar"
    entry = load_index(str(tmp_path / "train/lait-jpg-000000.idx.npy"))[3]
    data, begin, size = bytearray(tar.read_bytes()), int(entry["regions_offset"]), int(entry["regions_size"])
    data[begin + {"head": 3, "middle": size - 20, "last": size - 1}[place]] ^= 1
    tar.write_bytes(data)
    with reader_of(tmp_path) as reader:
        into = np.empty((50, FEATURES), np.uint8)
        for row in (0, 1, 2, 4):
            reader.regions(row, None, into)
        with pytest.raises(UsageError, match=f"{entry['key'].decode()}.* another checksum"):
            reader.regions(3, None, into)
    with reader_of(tmp_path) as reader:
        reader.regions(0, None, into)
        os.truncate(tar, begin + size - 5)
        with pytest.raises(UsageError, match="the file ends after"):
            reader.regions(3, None, into)
