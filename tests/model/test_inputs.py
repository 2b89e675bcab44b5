import numpy as np
import pytest
import torch

from model.losses import losses_of
from tests.model.packs import SPECIAL, masked_first, sample, samples, tiny_model, training_pack
from train.packing import Capacity, PackOverflow, Rows, build_pack, capacity_for, no_masks

CLS, SEP = SPECIAL.cls, SPECIAL.sep


def stream(pack):
    """Returns the token stream as readable (kind, position, segment): ids of words, -1 - row for regions."""
    tokens = []
    for source in pack.token_source[:pack.tokens].tolist():
        if source < len(pack.word_ids):
            tokens.append((int(pack.word_ids[source]), int(pack.word_positions[source]),
                           int(pack.word_segments[source])))
        else:
            tokens.append((-1 - int(pack.region_rows[source - len(pack.word_ids)]), 1, 0))
    return tokens


@pytest.mark.parametrize("regions, words", [(1, 1), (4, 5), (7, 2)])
def test_layout_is_image_first_as_in_the_paper(regions, words):
    """Paper, section 2.3."""
    one = sample(3, regions, words)
    rows = Rows.pairs([0], [0])
    pack = build_pack([one], rows, SPECIAL, capacity_for([one], rows, SPECIAL))
    pieces = [(int(word), 3 + place, 1) for place, word in enumerate(one.words)]
    assert stream(pack) == [(CLS, 0, 0), *[(-1 - row, 1, 0) for row in range(regions)], (SEP, 2, 0), *pieces,
                            (SEP, words + 3, 1)]
    assert pack.cu_seqlens[:2].tolist() == [0, regions + words + 3]


def test_halves_alone_keep_their_positions():
    one = sample(3, regions=2, words=2)
    rows = Rows.singles(1)
    pack = build_pack([one], rows, SPECIAL, capacity_for([one], rows, SPECIAL))
    assert stream(pack) == [(CLS, 0, 0), (-1, 1, 0), (-2, 1, 0), (SEP, 2, 0),
                            (CLS, 0, 0), (int(one.words[0]), 3, 1), (int(one.words[1]), 4, 1), (SEP, 5, 1)]
    assert pack.contrast_images.tolist() == [0] and pack.contrast_texts.tolist() == [1]


def test_location_is_five_numbers_with_the_area_last():
    pack = training_pack(samples())
    width, height = (pack.geometry[:, 2] - pack.geometry[:, 0]), (pack.geometry[:, 3] - pack.geometry[:, 1])
    assert pack.geometry.shape[1] == 5 and ((pack.geometry >= 0) & (pack.geometry <= 1)).all()
    torch.testing.assert_close(pack.geometry[:, 4], width * height)


def test_capacities_change_nothing():
    """Fixed, larger tensors give the losses of exact ones, forward and backward, cropped or not."""
    chosen = samples()
    own = np.arange(len(chosen))
    rows = Rows.pairs(own, np.roll(own, 1), [1, 0, 1, 0, 1], masked=True).and_then(Rows.singles(5))
    roomy = Capacity(tokens=300, sequences=20, words=180, regions=90, distinct=40, masked_words=20, masked_regions=20,
                     contrasts=9, max_tokens=32)
    masks = masked_first(chosen)
    exact = build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), masks)
    large = build_pack(chosen, rows, SPECIAL, roomy, masks)
    results = []
    for pack in (exact, exact.cropped(), large, large.cropped()):
        model = tiny_model()
        losses = losses_of(model(pack), pack)
        sum(losses.values()).backward()
        results.append((losses, model.layers[0].qkv.weight.grad))
    for losses, gradient in results[1:]:
        for name, value in losses.items():
            torch.testing.assert_close(value, results[0][0][name], rtol=1e-6, atol=1e-7)
        assert torch.isfinite(gradient).all()
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-5, atol=1e-7)


def test_every_token_of_a_fixed_pack_lies_in_a_sequence():
    chosen = samples(2)
    rows = Rows.pairs([0, 1], [0, 1])
    capacity = Capacity(100, 6, 60, 60, 20, 4, 4, 2, max_tokens=32)
    pack = build_pack(chosen, rows, SPECIAL, capacity)
    lengths = pack.cu_seqlens.diff()
    assert pack.cu_seqlens[-1] == 100 and lengths.max() <= 32 and (lengths >= 0).all()
    assert len(pack.cu_seqlens) == 6 + 4 + 1


def test_too_small_a_pack_is_a_bug_but_masks_beyond_the_room_are_left_out():
    chosen = samples(3)
    rows = Rows.pairs([0, 1, 2], [0, 1, 2], masked=True)
    with pytest.raises(PackOverflow, match="sequences in a pack of 2"):
        build_pack(chosen, rows, SPECIAL, Capacity(100, 2, 60, 60, 20, 4, 4, 2, 32))
    pack = build_pack(chosen, rows, SPECIAL, Capacity(100, 3, 60, 60, 20, 2, 1, 0, 32), masked_first(chosen))
    assert (pack.masked_words, pack.masked_regions) == (2, 1)
    assert (pack.word_ids == SPECIAL.mask).sum() == 2 and (pack.region_visible[:pack.regions] == 0).sum() == 1


def test_a_shown_region_is_stored_once():
    chosen = samples(2)
    rows = Rows.pairs([0, 0, 1], [0, 1, 1])
    pack = build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), no_masks(chosen))
    assert pack.distinct == sum(len(one.classes) for one in chosen)
    assert pack.regions == 2 * len(chosen[0].classes) + len(chosen[1].classes)
