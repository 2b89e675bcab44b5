"""Hard negatives: chosen by the contrastive head, not before ITM tells random ones, exact over resumes and ranks."""
import dataclasses

import numpy as np
import pytest
import torch

from model.imagebert import ImageBert
from model.losses import LossWeights
from shards.manifest import load_shards
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from tests.train.synthetic import collection
from train.checkpoint import find_checkpoint, load_model, read_state
from train.data import TrainingData
from train.hard_negatives import harder_pack
from train.loop import train
from train.metrics import read_metrics
from train.negatives import harder_pairs, pairs_for_itm
from train.packing import identities
from train.plan import StageConfig
from train.stream import PackStream, StageStart

SAMPLES = list(collection(images=24).samples)
OWN = np.arange(24)


def config(threshold=0.02, hard=1.0, itm="half", **changes):
    """The mean rises from 0: of 0.5 it passes 0.02 after 82 samples."""
    made = small_config(align=0, pretrain=144, lanes=2, **changes)
    return made.with_stage(dataclasses.replace(made.stage("pretrain"), hard=hard, hard_after=threshold, itm=itm))


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.mark.parametrize("itm", ["half", "triple"])
def test_hard_pairs_are_the_likeliest_ones_and_move_no_label(itm):
    rows, _ = pairs_for_itm(SAMPLES, itm, 0.5, 1, 3)
    logits = np.random.default_rng(4).normal(size=(24, 24)) * 200      # so large that the softmax is a maximum
    harder = harder_pairs(rows, SAMPLES, itm, 1.0, logits, 1, 3)
    assert (harder.matched == rows.matched).all() and (harder.images[:24] == rows.images[:24]).all()
    assert sorted(harder.images) == sorted(rows.images) and sorted(harder.captions) == sorted(rows.captions)
    assert ((harder.images == harder.captions) == (rows.matched == 1)).all()
    wrong = rows.matched == 0
    before, after = (logits[one.images[wrong], one.captions[wrong]] for one in (rows, harder))
    assert after.mean() > before.mean() + 150 and (harder.captions != rows.captions).any()
    if itm == "triple":      # wrong images of the third part too, its captions in their order
        assert (harder.captions[48:] == OWN).all() and (harder.images[48:] != rows.images[48:]).sum() > 12


def test_a_share_of_the_wrong_pairs_is_hard_and_the_draw_is_a_softmax():
    rows, _ = pairs_for_itm(SAMPLES, "half", 1.0, 1)
    assert (harder_pairs(rows, SAMPLES, "half", 0.0, np.ones((24, 24)), 1).captions == rows.captions).all()
    shares = {}
    for weight in (1, 22):             # caption 7 is as likely as each of the 22 others, and as all of them together
        logits = np.zeros((24, 24))
        logits[:, 7] = np.log(weight)
        drawn = [harder_pairs(rows, SAMPLES, "half", 0.02, logits, 5, pack).captions for pack in range(4000)]
        changed = [one[OWN != 7][(one != rows.captions)[OWN != 7]] for one in drawn
                   if (one != rows.captions).sum() == 2 and one[7] == rows.captions[7]]
        shares[weight] = np.mean([7 in captions for captions in changed])
    assert shares[1] < 0.15 and abs(shares[22] - 0.5) < 0.1


@pytest.mark.parametrize("name", ["image_hash", "group_hash", "caption_hash"])
def test_no_hard_pair_is_a_right_one(name):
    alike = [dataclasses.replace(sample, **{name: 1000 + place % 3}) for place, sample in enumerate(SAMPLES)]
    ids = identities(alike)
    logits = np.where((ids[:, None] == ids[None]).any(-1), 1000.0, 0.0)
    for pack in range(50):
        rows, _ = pairs_for_itm(alike, "triple", 0.5, 2, pack)
        harder = harder_pairs(rows, alike, "triple", 1.0, logits, 2, pack)
        wrong = rows.matched == 0
        assert wrong.sum() == 48 and (harder.images[wrong] % 3 != harder.captions[wrong] % 3).all()


@pytest.mark.parametrize("itm", ["half", "triple"])
def test_a_harder_pack_has_the_sizes_labels_and_masks_of_the_planned_one(shards, itm):
    run = config(itm=itm)
    run = run.with_stage(dataclasses.replace(run.stage("pretrain"), pairs=12))
    data = TrainingData({"data": load_shards(shards)}, run.regions)
    step = next(iter(PackStream(data, run, 0, StageStart())))
    torch.manual_seed(5)
    model = ImageBert(run.model).train()
    changed = []
    for lane, planned in step.packs:
        packs = [harder_pack(model, step.recipes[lane], torch.float32) for _ in range(2)]
        assert model.training and all(torch.equal(packs[0].token_source, one.token_source) for one in packs)
        for name in ("tokens", "sequences", "words", "regions", "masked_words", "masked_regions"):
            assert getattr(packs[0], name) == getattr(planned, name), name
        for name in ("matched", "itm_weights", "features", "contrast_ids", "masked_word_targets"):
            assert torch.equal(getattr(packs[0], name), getattr(planned, name)), name
        changed.append(not torch.equal(packs[0].word_ids, planned.word_ids))
    assert any(changed)            # few wrong pairs may have no other partner
    data.close()


def weights_of(out):
    with open(f"{find_checkpoint(out)}/model.safetensors", "rb") as file:
        return file.read()


def test_the_switch_does_nothing_before_the_gate_opens_and_something_after(shards, tmp_path):
    runs = {"off": config(hard=0.0), "closed": config(threshold=1.0), "open": config()}
    for name, run in runs.items():
        train(run, shards, str(tmp_path / name))
    weights = {name: weights_of(str(tmp_path / name)) for name in runs}
    assert weights["off"] == weights["closed"] != weights["open"]
    gates = {name: read_state(find_checkpoint(str(tmp_path / name))).gate for name in runs}
    assert gates["open"].open and not gates["closed"].open and gates["closed"].accuracy > 0 == gates["off"].accuracy
    told = {name: [row.get("hard_negatives") for row in read_metrics(str(tmp_path / name))] for name in runs}
    assert set(told["off"]) == {None} and set(told["closed"]) == {False} and told["open"][-1] is True


def test_a_kill_before_or_after_the_gate_opened_changes_nothing(shards, tmp_path):
    """The gate is in the checkpoint: without it the resumed run would go back to random negatives for a while."""
    run = config(checkpoint_samples=12)
    whole = str(tmp_path / "whole")
    train(run, shards, whole)
    rows = [{**row, "time": 0} for row in read_metrics(whole)]
    assert read_state(find_checkpoint(whole)).gate.open
    opened = set()
    for after in (3, 11, 19):
        out = str(tmp_path / f"killed {after}")
        with dying_after(after):
            train(run, shards, out)
        opened.add(read_state(find_checkpoint(out)).gate.open)
        train(run, shards, out, resume=True)
        assert weights_of(out) == weights_of(whole)
        assert [{**row, "time": 0} for row in read_metrics(out)] == rows
    assert True in opened


def test_two_ranks_open_the_gate_after_the_same_step_and_learn_the_same(shards, tmp_path):
    run = config(log_samples=12)
    for ranks in (1, 2):
        train(run, shards, str(tmp_path / str(ranks)), ranks=ranks)
    one, two = (read_metrics(str(tmp_path / str(ranks))) for ranks in (1, 2))
    assert [row["hard_negatives"] for row in one] == [row["hard_negatives"] for row in two]
    assert [row["itm"] for row in one] == pytest.approx([row["itm"] for row in two], rel=1e-4)
    models = [load_model(str(tmp_path / str(ranks)))[0] for ranks in (1, 2)]
    assert all(torch.allclose(first, second, atol=1e-4) for first, second in
               zip(*(model.parameters() for model in models), strict=True))


def test_the_head_that_chooses_must_be_there():
    with pytest.raises(ValueError, match="weights.contrastive and weights.itm must be above 0 .stage 'a'"):
        StageConfig("a", samples=1, hard=0.5, weights=LossWeights())
    with pytest.raises(ValueError, match="hard is 1.5; it is a share"):
        StageConfig("a", samples=1, hard=1.5, weights=LossWeights(contrastive=1))
