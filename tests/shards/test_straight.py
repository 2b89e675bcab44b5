"""Features that go straight to where they are wanted are those of a member read whole, and damage is found in both."""
import os

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.index import load_index
from shards.manifest import load_shards
from shards.reader import ShardReader
from shards.regions import Regions, pack
from shards.straight import StraightRegions, stacked
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
            expected, found = whole.regions(row, limit), straight.straight(row, limit, into[used:])
            if found is None:
                assert row == 0 or limit == 0        # of the first of a size the header is learned
                assert np.shares_memory(straight.regions(row, limit, into[used:]).feat, into) == (limit != 0)
            else:
                arrays = stacked([found])
                assert np.shares_memory(found.features, into) and set(arrays) >= {"box", "cls", "conf"}
                for name, array in arrays.items():
                    np.testing.assert_array_equal(array[0], getattr(expected, name))
            np.testing.assert_array_equal(into[used:used + len(expected)], expected.feat)
            used += len(expected)
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
            assert reader.straight(row, None, into) is not None or reader.regions(row, None, into)
        assert reader.straight(3, None, into) is None
        with pytest.raises(UsageError, match=f"{entry['key'].decode()}.* another checksum"):
            reader.regions(3, None, into)
    with reader_of(tmp_path) as reader:
        reader.regions(0, None, into)
        os.truncate(tar, begin + size - 5)
        assert reader.straight(3, None, into) is None
        with pytest.raises(UsageError, match="the file ends after"):
            reader.regions(3, None, into)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("limit", [None, 3])
def test_members_of_one_shape_are_looked_at_together(tmp_path, limit, soft):
    draw = np.random.default_rng(1)

    def regions(first):
        extra = {"soft_id": draw.integers(0, 9, (6, 8)).astype(np.int16),
                 "soft_p": draw.random((6, 8)).astype(np.float16)} if soft else {}
        return Regions(feat=draw.integers(0, 256, (6, 5), np.uint8), box=np.tile(np.float16([0, 0, 1, 1]), (6, 1)),
                       cls=draw.integers(0, 9, 6).astype(np.int16), scale=draw.random(6).astype(np.float16),
                       conf=np.float16([first, .5, .4, .3, .2, .1]), **extra)

    made = [regions(.9), regions(.8), regions(.1)]            # the last is not sorted; no pack would write it
    packed = [pack(one) for one in made[:2]]
    packed.append(packed[0].replace(made[0].conf.tobytes(), made[2].conf.tobytes()))
    path = tmp_path / "members"
    path.write_bytes(b"".join(packed))
    with open(path, "rb") as file:
        members = StraightRegions(file.fileno())
        members.learn(packed[0])
        found = [members.read(place * len(packed[0]), len(packed[0]), None, limit, np.empty((6, 5), np.uint8))
                 for place in range(3)]
    arrays = stacked(found[:2])
    for name in ("box", "cls", "conf", "scale") + (("soft_id", "soft_p") if soft else ()):
        np.testing.assert_array_equal(arrays[name], [getattr(one, name)[:limit] for one in made[:2]])
    assert stacked(found) is None
