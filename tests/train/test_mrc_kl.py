"""MRC-kl: by hand, only where probabilities are known, refused without them; the switch changes what is learnt."""
import dataclasses

import numpy as np
import pytest
import torch

from crawl.errors import UsageError
from model.losses import LossWeights, losses_of
from tests.model.packs import SPECIAL, masked_first, samples, tiny_model
from tests.train.made_shards import make_shards, small_config
from train.checkpoint import find_checkpoint
from train.loop import train
from train.metrics import read_metrics
from train.packing import Rows, build_pack, capacity_for


def _pack(chosen, matched):
    own = np.arange(len(chosen))
    rows = Rows.pairs(own, own, matched, masked=True)
    capacity = dataclasses.replace(capacity_for(chosen, rows, SPECIAL), soft=8)
    return build_pack(chosen, rows, SPECIAL, capacity, masked_first(chosen)).cropped()


def _soft(sample):
    regions = len(sample.classes)
    ids = np.tile(np.array([3, 1, 0, 0, 0, 0, 0, 0]), (regions, 1))
    p = np.zeros((regions, 8), np.float32)
    p[:, :2] = 0.6, 0.2                  # of 1: the rest was not stored
    return dataclasses.replace(sample, soft_ids=ids, soft_p=p)


def test_by_hand_and_only_over_matched_regions_with_probabilities():
    first, second, third = samples(3)
    pack = _pack([_soft(first), second, _soft(third)], [1, 1, 0])       # the third is no pair, the second has none
    outputs = tiny_model()(pack)
    log_q = outputs.moc_logits[0].log_softmax(-1)
    expected = 0.75 * (np.log(0.75) - log_q[3]) + 0.25 * (np.log(0.25) - log_q[1])
    torch.testing.assert_close(losses_of(outputs, pack)["mrc_kl"], expected)


def test_no_probabilities_no_loss_and_no_nan():
    pack = _pack(samples(3)[:2], [1, 1])
    loss = losses_of(tiny_model()(pack), pack)["mrc_kl"]
    loss.backward()
    assert float(loss.detach()) == 0


def test_refused_without_probabilities_and_a_switch_that_changes_the_weights(tmp_path):
    config = small_config(align=0, pretrain=24)
    on = config.with_stage(dataclasses.replace(config.stage("pretrain"), weights=LossWeights(mrc_kl=1.0)))
    with pytest.raises(UsageError, match="no class probabilities, which MRC-kl is about"):
        train(on, str(make_shards(tmp_path / "plain", shards=2)), str(tmp_path / "refused"))
    assert not (tmp_path / "refused").exists()
    shards, weights = str(make_shards(tmp_path / "soft", shards=2, kind="soft")), []
    for name, run in (("on", on), ("off", config.with_stage(dataclasses.replace(
            config.stage("pretrain"), weights=LossWeights())))):
        train(run, shards, str(tmp_path / name))
        with open(f"{find_checkpoint(str(tmp_path / name))}/model.safetensors", "rb") as file:
            weights.append(file.read())
        logged = read_metrics(str(tmp_path / name))[-1]
        assert ("mrc_kl" in logged) == (name == "on") and logged.get("mrc_kl", 1.0) > 0
    assert weights[0] != weights[1]
