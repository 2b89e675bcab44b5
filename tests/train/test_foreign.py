"""Tars of others with region features in them are trained on like our own."""
import io
import tarfile

import numpy as np
import pytest

from crawl.errors import UsageError
from shards.manifest import load_shards
from shards.reader import ShardReader
from tests.shards.made_root import VOCAB, add_member, drawn
from tests.shards.test_inspect import parsed
from train.data import TrainingData


def npz(number, count=5, dim=16, classes=8, **changes):
    draw = np.random.default_rng(number)
    corners = np.sort(draw.random((count, 2, 2)), axis=1).reshape(count, 4).astype(np.float32)
    soft = draw.dirichlet(np.ones(classes), count).astype(np.float32)
    arrays = {"features": draw.random((count, dim), np.float32), "soft_labels": soft, "conf": soft.max(axis=1),
              "norm_bb": np.concatenate([corners, corners[:, 2:] - corners[:, :2]], axis=1)} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


class Evil:
    def __reduce__(self):
        return print, ("unpickled",)


@pytest.fixture()
def indexed(tmp_path, capsys):
    path = str(tmp_path / "00000.tar")
    with tarfile.open(path, "w") as tar:
        for number in range(6):
            key = f"00000{number:04d}"
            add_member(tar, f"{key}.jpg", drawn(number))
            add_member(tar, f"{key}.txt", b"a red square")
            add_member(tar, f"{key}.npz", {4: npz(4, features=np.ones((5, 7), np.float32)),
                                           5: npz(5, conf=np.array([Evil()] * 5, object))}.get(number, npz(number)))
    (tmp_path / "vocab.txt").write_bytes(VOCAB)
    assert parsed("index", path, "--out", str(tmp_path / "set"), "--vocab", str(tmp_path / "vocab.txt"),
                  "--feature-dim", "16", "--num-classes", "8") == 0
    return str(tmp_path / "set"), capsys.readouterr()


def test_a_foreign_set_with_features_is_trained_on(indexed):
    out, told = indexed
    assert "bad_npz" in told.err and "wrong_width" in told.err and "unpickled" not in told.out + told.err
    shards = load_shards(out)
    assert (shards.feature_dim, shards.num_classes, shards.max_regions) == (16, 8, 5) and shards.foreign
    data = TrainingData({"theirs": shards}, 3)
    sample = data.sample(0)
    assert sample.features.shape == (3, 16) and sample.features.dtype == np.uint8 and len(sample.words) == 3
    assert list(data.sizes.regions) == [3, 3, 3, 3, 0, 0] and list(data.sizes.words) == [3] * 6
    found = np.load(io.BytesIO(npz(0)))
    best = np.argsort(-found["conf"], kind="stable")[:3]
    values = sample.scale[:, None] * (sample.features.astype(np.float32) - sample.zero[:, None])
    assert np.abs(values - found["features"][best]).max() < 0.01
    data.close()
    for words in (["stats", out], ["validate", out], ["ls", out]):
        assert parsed(*words) == 0


def test_without_features_the_trainer_says_so(tmp_path):
    path = str(tmp_path / "00000.tar")
    with tarfile.open(path, "w") as tar:
        add_member(tar, "a.jpg", drawn(1))
        add_member(tar, "a.txt", b"a red square")
    (tmp_path / "vocab.txt").write_bytes(VOCAB)
    assert parsed("index", path, "--out", str(tmp_path / "set"), "--vocab", str(tmp_path / "vocab.txt")) == 0
    with pytest.raises(UsageError, match="has no regions"):
        TrainingData({"theirs": load_shards(str(tmp_path / "set"))}, 3)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_arrays_without_boxes_are_the_picture_or_a_grid(tmp_path, capsys):
    path, grid = str(tmp_path / "00000.tar"), np.random.default_rng(1).random((2, 3, 16), np.float32)
    arrays = [npy(grid), npy(grid[0, 0].astype(np.float16)), npy(grid[0]), npy(grid[:, :, :7]), npy(grid)[:-4],
              npy(np.array([Evil()] * 5, object)), npz(6), npy(grid * np.nan), b"no array", npy(np.zeros((40, 40, 16)))]
    with tarfile.open(path, "w") as tar:
        for number, data in enumerate(arrays):
            add_member(tar, f"{number}.jpg", drawn(number))
            add_member(tar, f"{number}.txt", b"a red square")
            add_member(tar, f"{number}.{'npz' if number == 6 else 'npy'}", data)
    (tmp_path / "vocab.txt").write_bytes(VOCAB)
    assert parsed("index", path, "--out", str(tmp_path / "set"), "--vocab", str(tmp_path / "vocab.txt"),
                  "--feature-dim", "16", "--num-classes", "8") == 0
    told = capsys.readouterr().err
    for reason in ("no_places", "wrong_width", "bad_npy", "another_kind", "not_finite", "too_many"):
        assert reason in told, (reason, told)
    assert "unpickled" not in told and "3 members are no regions: npy: bad_npy" in told
    shards = load_shards(str(tmp_path / "set"))
    assert (shards.feature_dim, shards.num_classes, shards.max_regions) == (16, 0, 6)
    data = TrainingData({"theirs": shards}, 100)
    assert list(data.sizes.regions) == [6, 1] + [0] * 8 and not data.facts.has_classes
    sample = data.sample(0)
    assert np.abs(sample.scale[:, None] * sample.features.astype(np.float32) - grid.reshape(6, 16)).max() < 0.01
    with ShardReader(shards.directory, shards.shards[0]) as reader:
        assert reader.regions(1).box.tolist() == [[0, 0, 1, 1]]
        assert np.allclose(reader.regions(0).box[4], [1 / 3, 0.5, 2 / 3, 1], atol=1e-3)
    data.close()
    assert parsed("validate", str(tmp_path / "set")) == 0
