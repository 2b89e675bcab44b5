import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from model.config import base
from model.imagebert import ImageBert, PaddedAttention, attention_over
from model.losses import LossWeights, losses_of, weighted_sum
from tests.model.packs import SPECIAL, masked_first, sample, samples, tiny_model, training_pack
from train.packing import Rows, build_pack, capacity_for


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("shared, total", [(False, 114_490_747), (True, 114_489_211)])
def test_parameter_counts_are_the_papers(shared, total):
    """Paper.md, section 2.7."""
    with torch.device("meta"):
        model = ImageBert(dataclasses.replace(base(), shared_layernorm=shared))
    assert count(model) == total
    projections = count(model.embeddings.features) + count(model.embeddings.location)
    heads = sum(map(count, (model.moc, model.mrfr, model.itm))) + count(model.mlm) - model.mlm.decoder.weight.numel()
    body = total - heads - (0 if shared else 2 * 768)
    assert (projections, body, body - projections) == (1_578_240, 111_060_480, 109_482_240)
    assert count(model.mlm) - model.embeddings.words.weight.numel() == 622_650
    assert (count(model.moc), count(model.mrfr), count(model.itm)) == (1_230_400, 1_574_912, 769)
    assert model.mlm.decoder.weight is model.embeddings.words.weight
    assert (model.embeddings.region_norm is model.embeddings.word_norm) == shared


def reference(model, pack):
    """Returns the hidden states [T, D] by dense attention under a block-diagonal mask: the oracle."""
    lengths = pack.cu_seqlens.diff()
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    allowed = owner[:, None] == owner[None, :]
    x = model.embeddings(pack)
    for layer in model.layers:
        q, k, v = layer.qkv(x).view(len(x), 3, layer.heads, -1).permute(1, 2, 0, 3)
        scores = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).masked_fill(~allowed, -torch.inf)
        mixed = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(x), -1)
        x = layer.attention_norm(x + layer.attention_out(mixed))
        x = layer.output_norm(x + layer.contract(F.gelu(layer.expand(x))))
    return x


def test_packed_equals_block_diagonal_in_float64():
    model, pack = tiny_model(), training_pack(samples(7))
    assert (model.encode(pack) - reference(model, pack)).abs().max() <= 1e-10
    ours, theirs = (torch.autograd.grad(hidden[:, :3].square().sum(), model.layers[0].qkv.weight)[0]
                    for hidden in (model.encode(pack), reference(model, pack)))
    assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


def test_sequences_do_not_see_each_other():
    model, chosen = tiny_model(), samples(3)
    rows = Rows.pairs([0, 1, 2], [0, 1, 2])
    together = model.match(build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL)))
    for place, one in enumerate(chosen):
        alone_rows = Rows.pairs([0], [0])
        alone = model.match(build_pack([one], alone_rows, SPECIAL, capacity_for([one], alone_rows, SPECIAL)))
        torch.testing.assert_close(together[place], alone[0], rtol=0, atol=1e-12)


def test_permuting_regions_does_not_change_the_first_token():
    model, one = tiny_model(), sample(1, regions=6)
    order = np.array([3, 0, 5, 1, 4, 2])
    names = ("features", "scale", "zero", "boxes", "classes")
    other = dataclasses.replace(one, **{name: getattr(one, name)[order] for name in names})
    rows = Rows.pairs([0, 1], [0, 1])
    pack = build_pack([one, other], rows, SPECIAL, capacity_for([one, other], rows, SPECIAL))
    first = model.encode(pack)[pack.first_tokens]
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=1e-12)


def test_projection_is_that_of_dequantised_features():
    model, pack = tiny_model(), training_pack(samples())
    values = (pack.features.double() - pack.zero[:, None]) * pack.scale[:, None]
    hidden = pack.region_visible.double()[:, None]
    expected = model.embeddings.features(values[pack.region_rows] * hidden)      # zeroed before the projection
    torch.testing.assert_close(model.embeddings.project(pack), expected, rtol=1e-9, atol=1e-9)


def test_a_masked_region_never_reaches_the_model():
    """Paper.md 12.6: the input does not change with the feature, the target does."""
    chosen = samples(3)
    changed = [dataclasses.replace(one, features=one.features.copy()) for one in chosen]
    for one in changed:
        one.features[0] = 255 - one.features[0]
    model, own = tiny_model(), np.arange(3)
    outputs, targets = [], []
    for listed in (chosen, changed):
        rows = Rows.pairs(own, own, np.ones(3), masked=True)
        pack = build_pack(listed, rows, SPECIAL, capacity_for(listed, rows, SPECIAL), masked_first(listed))
        hidden = model.encode(pack)
        outputs.append(hidden)
        targets.append(losses_of(model(pack), pack)["mrfr"])
        gradient = torch.autograd.grad(hidden.sum(), model.embeddings.features.weight)[0]
        outputs.append(gradient)
    assert torch.equal(outputs[0], outputs[2]) and torch.equal(outputs[1], outputs[3])
    assert targets[0] != targets[1]


def test_match_and_contrast_vectors_are_those_of_the_forward():
    model, pack = tiny_model(), training_pack(samples())
    outputs = model(pack)
    assert torch.equal(model.match(pack), outputs.itm_logits)
    images, texts = model.contrast_vectors(pack)
    assert torch.equal(images, outputs.contrast_images) and torch.equal(texts, outputs.contrast_texts)
    with pytest.raises(ValueError, match="no contrastive projections"):
        tiny_model(contrastive_dim=0).contrast_vectors(pack)


def test_one_batch_is_learned_by_heart():
    torch.manual_seed(0)
    model = tiny_model(hidden=32, intermediate=64, initial_range=0.05).float()
    own = np.arange(6)
    chosen = samples(6)
    rows = Rows.pairs(own, [0, 1, 2, 4, 5, 3], [1, 1, 1, 0, 0, 0], masked=True).and_then(Rows.singles(6))
    pack = build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), masked_first(chosen)).cropped()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(150):
        losses = losses_of(model(pack), pack)
        weighted_sum(losses, LossWeights(contrastive=1)).backward()
        optimizer.step()
        optimizer.zero_grad()
    last = {name: float(value.detach()) for name, value in losses.items()}
    assert last["mlm"] < 0.05 and last["moc"] < 0.05 and last["itm"] < 0.05 and last["contrastive"] < 0.1, last
    assert last["mrfr"] < 0.05, last


@pytest.mark.gpu
def test_variable_length_kernel_equals_the_padded_view():
    """bfloat16 on a GPU: the kernel that needs no padding, against the view that has it."""
    chosen = samples(7)
    pack = training_pack(chosen).to(torch.device("cuda"))
    model = tiny_model(hidden=64).float().cuda()
    with torch.autocast("cuda", torch.bfloat16):
        qkv = model.layers[0].qkv(model.embeddings(pack)).view(pack.tokens, 3, 2, 32)
        ours = attention_over(pack, qkv)(qkv, 0.0)
        theirs = PaddedAttention(pack.cu_seqlens, pack.longest, pack.tokens)(qkv, 0.0)
    assert (ours - theirs).abs().max() <= 0.02 * theirs.abs().max()
