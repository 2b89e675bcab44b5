import numpy as np
import pytest

from model.config import base
from tests.model.packs import FEATURES, SPECIAL, masked_first, samples, tiny_model
from train.flops import forward_flops, training_flops
from train.packing import Rows, build_pack, capacity_for


class Sizes:
    """The numbers of a pack of one pair: 100 regions and 20 word tokens, heads on 15 % of the places."""

    tokens, sequences, distinct, contrasts = 120, 1, 100, 0
    masked_words, masked_regions = 3, 15

    class cu_seqlens:
        def __class_getitem__(cls, place):
            return cls

        @staticmethod
        def cpu():
            class Host:
                @staticmethod
                def numpy():
                    return np.array([0, 120], np.int32)
            return Host


def test_a_pair_of_the_paper_costs_what_the_table_says():
    """64.2 GFLOP forward and backward at 100 regions and 20 words (training.md 2.1)."""
    assert training_flops(base(), Sizes) / 1e9 == pytest.approx(64.2, rel=0.01)


def test_padding_is_no_work():
    chosen = samples(4)
    rows = Rows.pairs(np.arange(4), np.arange(4), np.ones(4), masked=True)
    pack = build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), masked_first(chosen))
    config = tiny_model().config
    assert forward_flops(config, pack) == forward_flops(config, pack.cropped()) > 2 * pack.tokens * FEATURES
