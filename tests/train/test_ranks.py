import copy
from pathlib import Path

import pytest
import torch

from crawl.errors import UsageError
from tests.model.packs import samples, tiny_model, training_pack
from tests.train.made_shards import make_shards, small_config
from train.checkpoint import find_checkpoint
from train.loop import train
from train.ranks import FlatGradients


def test_flat_gradients_are_the_parameters_own_and_clip_as_torch_does():
    model = tiny_model().float()
    plain = copy.deepcopy(model)
    flat = FlatGradients(model, extra=2)
    pack = training_pack(samples(4))
    for one in (model, plain):
        one.match(pack).sum().backward()
        one.encode(pack)[:, 0].sum().backward()       # gradients add up
    flat.extra[:] = torch.tensor([5.0, 7.0])
    norm = flat.clip(0.25)
    for parameter in plain.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    expected = torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.25)
    torch.testing.assert_close(norm, expected)
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-7)
    assert flat.extra.tolist() == [5.0, 7.0]          # not clipped
    flat.clear()
    assert not any(parameter.grad.any() for parameter in model.parameters())


def test_damage_that_one_rank_meets_is_one_clear_line(tmp_path):
    shards = make_shards(tmp_path / "shards", shards=2)
    path = Path(shards, "train/lait-jpg-000001.regions.tar")
    data = bytearray(path.read_bytes())
    for offset in range(700, len(data), 1024):
        data[offset] ^= 0xFF
    path.write_bytes(data)
    out = str(tmp_path / "out")
    with pytest.raises(UsageError, match=r"train/lait-jpg-000001.regions.tar: [0-9a-f]{32}: .*another checksum"):
        train(small_config(), str(shards), out, ranks=2)
    assert find_checkpoint(out) is None
