"""Samples that are read together are those that are read one by one; a damaged one takes no place."""
import dataclasses

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.manifest import load_shards
from tests.train.made_shards import FEATURES, REGIONS, make_shards
from train.data import TrainingData
from train.sequences import Sample


def opened(path, **more):
    return TrainingData({"data": load_shards(str(path))}, **({"regions": REGIONS} | more))


def same(one, other):
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name))
               for field in dataclasses.fields(Sample))


@pytest.mark.parametrize("kind", ["u8", "f16", "soft"])
@pytest.mark.parametrize("regions", [REGIONS, 3])
def test_together_is_one_by_one(tmp_path, kind, regions):
    data = opened(make_shards(tmp_path, kind=kind), regions=regions, cache_mib=1)
    numbers = np.random.default_rng(1).permutation(96)[:40].tolist()
    into = np.full((400, FEATURES), 9, np.float16 if kind == "f16" else np.uint8)
    for _ in range(3):                                  # headers are learned, then all is straight, then from memory
        found = data.samples(numbers, into)
        assert all(same(one, data.sample(number)) for one, number in zip(found, numbers, strict=True))
        used = sum(len(one.classes) for one in found)
        np.testing.assert_array_equal(into[:used], np.concatenate([one.features for one in found]))
        assert (into[used:] == 9).all()
        into[:] = 9
    data.close()


@pytest.mark.parametrize("place", [3, -1])             # in the header, in the features
def test_what_is_damaged_takes_no_place(tmp_path, place):
    data = opened(make_shards(tmp_path))
    numbers = list(range(8))
    into = np.empty((100, FEATURES), np.uint8)
    plain = data.samples(numbers, into)
    entry = data.readers[0].index[5]
    data.close()
    tar = tmp_path / "train/lait-jpg-000000.regions.tar"
    raw = bytearray(tar.read_bytes())
    raw[int(entry["regions_offset"]) + place % int(entry["regions_size"])] ^= 1
    tar.write_bytes(raw)
    data = opened(tmp_path)
    found = data.samples(numbers, np.empty_like(into))
    assert isinstance(found[5], UsageError) and "another checksum" in str(found[5])
    left = [one for number, one in enumerate(plain) if number != 5]
    assert all(same(one, other) for one, other in zip([*found[:5], *found[6:]], left, strict=True))
    data.close()


def test_a_wrong_value_with_the_right_checksum_is_found_too(tmp_path):
    data = opened(make_shards(tmp_path))
    into = np.empty((100, FEATURES), np.uint8)
    data.samples([0], into)
    reader = data.readers[0]
    offset, size, _ = reader._places["regions"].of(3)
    tar = tmp_path / "train/lait-jpg-000000.regions.tar"
    raw = bytearray(tar.read_bytes())
    member = bytes(raw[offset:offset + size])
    confidences = np.ones(4, np.float16).tobytes()
    assert member.count(confidences)
    place = offset + member.rindex(confidences)        # behind the boxes, of which an edge is all ones, too
    raw[place:place + 8] = np.float16([0, 0, 0, 1]).tobytes()
    tar.write_bytes(raw)
    reader._checked["regions"][3] = 1                  # as where the index was made of the wrong bytes
    found = data.samples([2, 3, 4], into)
    assert "not sorted by confidence" in str(found[1])
    assert same(found[0], data.sample(2)) and same(found[2], data.sample(4))
    data.close()
