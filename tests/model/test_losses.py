import dataclasses
import math

import numpy as np
import pytest
import torch

from model.losses import LOSSES, LossWeights, contrastive_loss, losses_of, weighted_sum
from tests.model.packs import samples, tiny_model, training_pack


def test_masked_losses_learn_from_matched_pairs_only():
    """Paper.md 12.7: on negatives only, MLM, MOC and MRFR have no gradient, ITM has."""
    pack = training_pack(samples(4), matched=np.zeros(4))
    model = tiny_model()
    losses = losses_of(model(pack), pack)
    for name, head in (("mlm", model.mlm.transform), ("moc", model.moc), ("mrfr", model.mrfr)):
        gradient = torch.autograd.grad(losses[name], head.weight, retain_graph=True)[0]
        assert losses[name] == 0 and not gradient.any(), name
    assert torch.autograd.grad(losses["itm"], model.itm.weight)[0].any()


def matched_places(pack, tokens):
    """Returns for each token of the stream whether its sequence is a matched pair."""
    return pack.matched[torch.searchsorted(pack.cu_seqlens, tokens, right=True) - 1] == 1


def test_masked_losses_are_means_over_matched_places():
    pack, model = training_pack(samples(4), matched=np.array([1, 0, 1, 0])), tiny_model()
    outputs = model(pack)
    losses = losses_of(outputs, pack)
    keep = matched_places(pack, pack.masked_word_tokens)
    assert keep.all() and len(keep) == 2         # heads are not even computed on mismatched pairs
    each = -outputs.mlm_logits.log_softmax(-1)[torch.arange(len(keep)), pack.masked_word_targets]
    torch.testing.assert_close(losses["mlm"], each[keep].mean())
    keep = matched_places(pack, pack.masked_region_tokens)
    rows = pack.masked_region_rows
    values = (pack.features[rows].float() - pack.zero[rows, None]) * pack.scale[rows, None]
    torch.testing.assert_close(losses["mrfr"], (outputs.mrfr_features - values)[keep].square().mean())
    each = -outputs.moc_logits.log_softmax(-1)[torch.arange(len(keep)), pack.classes[rows]]
    torch.testing.assert_close(losses["moc"], each[keep].mean())


def test_without_the_gate_mismatched_pairs_are_predicted_too():
    """Section 3.5 off: twice the places where half of the pairs are mismatched, and other losses."""
    matched = np.array([1, 0, 1, 0])
    found = {}
    for gated in (True, False):
        pack = training_pack(samples(4), matched, gated)
        losses = losses_of(tiny_model()(pack), pack)
        found[gated] = (pack.masked_words, pack.masked_regions, *(float(losses[name].detach()) for name in LOSSES[:3]))
    assert found[True][:2] == (2, 2) and found[False][:2] == (4, 4)
    assert all(ours != theirs for ours, theirs in zip(found[True][2:], found[False][2:], strict=True))
    only_wrong = training_pack(samples(4), np.zeros(4), gated=False)
    model = tiny_model()
    assert torch.autograd.grad(losses_of(model(only_wrong), only_wrong)["mlm"], model.mlm.transform.weight)[0].any()


def test_image_only_and_text_only_sequences_carry_no_itm_label():
    pack = training_pack(samples(4))
    assert pack.itm_weights.tolist() == [1.0] * 4 + [0.0] * 8


def test_a_twin_is_no_contrastive_negative():
    chosen = samples(3)
    twins = [dataclasses.replace(one, group_hash=7) for one in chosen]
    model = tiny_model()
    plain, twinned = (contrastive_loss(model(pack), pack) for pack in map(training_pack, (chosen, twins)))
    assert plain > 0.01 and twinned < 1e-6


def test_contrastive_loss_of_a_model_that_knows_nothing_is_log_k():
    pack, model = training_pack(samples(4)), tiny_model()
    same = torch.nn.functional.normalize(torch.ones(4, 8), dim=-1)
    outputs = dataclasses.replace(model(pack), contrast_images=same, contrast_texts=same)
    assert float(contrastive_loss(outputs, pack).detach()) == pytest.approx(math.log(4), rel=1e-6)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "mrc_kl"])      # that one: test_mrc_kl.py
def test_each_weight_scales_its_own_loss(name):
    pack, model = training_pack(samples(4), np.array([1, 1, 0, 0])), tiny_model()
    losses = losses_of(model(pack), pack)
    once, twice = (weighted_sum(losses, LossWeights(**(dict.fromkeys(LOSSES, 0.0) | {name: weight})))
                   for weight in (1.0, 2.0))
    torch.testing.assert_close(once, losses[name], rtol=1e-12, atol=0)
    assert float(once.detach()) > 0
    torch.testing.assert_close(twice, 2 * once, rtol=1e-12, atol=0)


def test_every_parameter_has_a_gradient_whatever_the_weights():
    pack, model = training_pack(samples(4)), tiny_model()
    weighted_sum(losses_of(model(pack), pack), LossWeights(0, 0, 0, 0, 1)).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not model.itm.weight.grad.any() and model.contrast.images.weight.grad.any()


def test_a_pack_without_masked_places_has_losses_of_zero():
    pack = training_pack(samples(2))
    none = {name: getattr(pack, name)[:0] for name in (
        "masked_word_tokens", "masked_word_targets", "masked_word_weights", "masked_region_tokens",
        "masked_region_rows", "masked_region_weights")}
    empty = dataclasses.replace(pack, masked_words=0, masked_regions=0, **none)
    losses = losses_of(tiny_model()(empty), empty)
    assert set(losses) == set(LOSSES) and [float(losses[name].detach()) for name in ("mlm", "moc", "mrfr")] == [0, 0, 0]


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match="weight of mlm is -1"):
        LossWeights(mlm=-1)
