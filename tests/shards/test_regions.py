import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from shards.regions import Regions, pack, unpack


def made(n=5, dim=7, quantised=True):
    draw = np.random.Generator(np.random.Philox(key=n))
    corners = np.sort(draw.random((n, 2, 2)), axis=1).reshape(n, 4)
    feat = draw.integers(0, 256, (n, dim)).astype(np.uint8)
    return Regions(feat=feat if quantised else feat.astype(np.float16), box=corners.astype(np.float16),
                   cls=draw.integers(0, 9, n).astype(np.int16),
                   conf=np.sort(draw.random(n))[::-1].astype(np.float16),
                   scale=np.full(n, 1 / 255, np.float16) if quantised else None)


def with_soft(regions):
    n = len(regions)
    return dataclasses.replace(regions, zero=np.full(n, 3, np.uint8), soft_id=np.zeros((n, 8), np.int16),
                               soft_p=np.ones((n, 8), np.float16))


@pytest.mark.parametrize("regions", [made(), made(0), made(quantised=False), with_soft(made())])
def test_what_is_packed_is_unpacked(regions):
    back = unpack(pack(regions))
    for field in dataclasses.fields(Regions):
        wanted, found = getattr(regions, field.name), getattr(back, field.name)
        assert (wanted is None and found is None) or (wanted.dtype == found.dtype and (wanted == found).all())


def test_a_limit_is_a_prefix():
    regions = made(5)
    assert (unpack(pack(regions), 2).feat == regions.feat[:2]).all()
    assert len(unpack(pack(with_soft(regions)), 2).soft_p) == 2
    assert len(unpack(pack(regions), 36)) == 5


def test_features_are_dequantised_with_scale_and_zero():
    regions = with_soft(made())
    wanted = (regions.feat.astype(np.float32) - 3) * np.float32(np.float16(1 / 255))
    assert np.allclose(regions.features(), wanted) and regions.features().dtype == np.float32


@pytest.mark.parametrize("change", [
    {"scale": None}, {"box": np.ones((5, 3), np.float16)}, {"box": np.full((5, 4), 1.5, np.float16)},
    {"box": np.tile(np.array([1, 0, 0, 1], np.float16), (5, 1))}, {"box": np.full((5, 4), np.nan, np.float16)},
    {"conf": np.arange(5).astype(np.float16)}, {"conf": np.full(5, np.nan, np.float16)},
    {"cls": np.zeros(4, np.int16)}, {"cls": np.zeros(5, np.int64)}, {"soft_id": np.zeros((5, 8), np.int16)},
    {"feat": np.zeros((5, 7), np.float32)},
])
def test_broken_regions_are_refused(change):
    with pytest.raises(ValueError, match="regions: "):
        pack(dataclasses.replace(made(), **change))


@pytest.mark.parametrize("data", [b"", b"not safetensors", pack(made())[:-1], pack(made())[:40]])
def test_broken_bytes_are_refused(data):
    with pytest.raises(ValueError, match="regions: "):
        unpack(data)


def test_equal_regions_give_equal_bytes_in_another_process():
    code = ("import hashlib; from tests.shards.test_regions import made, with_soft; from shards.regions import pack; "
            "print(hashlib.sha256(pack(with_soft(made()))).hexdigest())")
    found = {subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
             for _ in range(2)}
    import hashlib
    assert found == {hashlib.sha256(pack(with_soft(made()))).hexdigest() + "\n"}


def test_bytes_that_are_no_region_file_are_one_error() -> None:
    good = pack(made())
    size = int.from_bytes(good[:8], "little")
    header = json.loads(good[8:8 + size])

    def with_header(value: object) -> bytes:
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        return len(text).to_bytes(8, "little") + text + good[8 + size:]

    moved = {name: dict(one) for name, one in header.items()}
    moved["feat"]["data_offsets"] = [0, 1 << 40]
    for data in (b"", good[:7], good[:-1], good + b"x", (1 << 60).to_bytes(8, "little") + good[8:], with_header([]),
                 with_header(b"{"), with_header(moved),
                 with_header(header | {"feat": header["feat"] | {"dtype": "F64"}}),
                 with_header(header | {"feat": header["feat"] | {"shape": [-1, 7]}}),
                 with_header(header | {"feat": header["feat"] | {"shape": [True, 7]}}),
                 with_header({name: one for name, one in header.items() if name != "box"}),
                 with_header(header | {"more": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}})):
        with pytest.raises(ValueError, match="regions: "):
            unpack(data)


def test_a_few_regions_do_not_keep_the_others() -> None:
    few = unpack(pack(made()), 2)
    assert len(few) == 2 and few.feat.base is None and not unpack(pack(made())).feat.flags.owndata
