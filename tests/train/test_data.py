import dataclasses
import hashlib

import pytest
import torch
from torch import Tensor

from crawl.errors import UsageError
from shards.manifest import load_shards
from tests.train.made_shards import REGIONS, VOCAB, make_shards, small_config
from train.data import TrainingData
from train.plan import check_facts
from train.stream import PackStream, StageStart


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


@pytest.fixture(scope="module")
def data(shards):
    opened = TrainingData({"data": load_shards(shards)}, REGIONS)
    yield opened
    opened.close()


def digest(pack):
    """Returns the sha256 over every tensor and count of a pack."""
    total = hashlib.sha256()
    for field in dataclasses.fields(pack):
        value = getattr(pack, field.name)
        total.update(value.numpy().tobytes() if isinstance(value, Tensor) else str(value).encode())
    return total.hexdigest()


def steps(data, config, stage, rank=0, world=1, threads=1, start=None):
    start = start or StageStart()
    return [({lane: digest(pack) for lane, pack in step.packs}, step.samples_before, step.after)
            for step in PackStream(data, config, stage, start, rank, world, threads)]


@pytest.mark.parametrize("stage", [0, 1])
def test_packs_do_not_depend_on_ranks_or_threads(data, stage):
    config = small_config(pretrain=240)
    alone = steps(data, config, stage)
    assert len(alone) > 3 and len({pack for packs, _, _ in alone for pack in packs.values()}) == 2 * len(alone)
    assert steps(data, config, stage, threads=5) == alone
    first, second = (steps(data, config, stage, rank, world=2, threads=rank + 1) for rank in range(2))
    merged = [(one | two, samples, after) for (one, samples, after), (two, _, _) in zip(first, second, strict=True)]
    assert merged == alone
    cached = TrainingData(data.sets, REGIONS, cache_mib=8)
    assert steps(cached, config, stage) == alone
    cached.close()


def test_going_on_in_the_middle_gives_the_same_packs(data):
    config = small_config(pretrain=240)
    whole = steps(data, config, 1)
    for step in (1, 7, len(whole) - 1):
        start = StageStart(step, whole[step][1], whole[step - 1][2])
        assert steps(data, config, 1, start=start) == whole[step:]


def test_masks_and_orders_differ_by_seed_stage_and_step(data):
    packs = [pack for seed in (1, 2) for packs, _, _ in steps(data, small_config(seed=seed), 1)
             for pack in packs.values()]
    assert len(set(packs)) == len(packs)


def test_sequences_of_a_pack(data):
    config = small_config()
    align, = (step.packs[0][1] for step in list(PackStream(data, config, 0, StageStart()))[:1])
    assert (align.sequences, align.contrasts, int(align.itm_weights.sum()), align.masked_words) == (12, 6, 0, 0)
    joint, = (step.packs[0][1] for step in list(PackStream(data, config, 1, StageStart()))[:1])
    assert (joint.sequences, joint.contrasts, int(joint.itm_weights.sum())) == (18, 6, 6)
    assert joint.masked_words > 0 and joint.features.dtype == torch.uint8
    triple = config.with_stage(dataclasses.replace(config.stage("pretrain"), itm="triple"))
    three = next(iter(PackStream(data, triple, 1, StageStart()))).packs[0][1]
    assert (three.sequences, int(three.matched.sum()), int(three.itm_weights.sum())) == (30, 6, 18)
    assert three.distinct == joint.distinct         # three sequences share one load of a sample's features
    # image-only and text-only sequences are never masked
    assert (joint.masked_word_tokens[:joint.masked_words] < joint.first_tokens[6]).all()


def test_without_the_gate_a_pack_has_room_for_what_mismatched_pairs_predict(data):
    config = small_config()
    stage = dataclasses.replace(config.stage("pretrain"), itm="triple")
    counts = []
    for gated in (True, False):
        masking = dataclasses.replace(stage.masking, words=0.5, gated=gated)
        run = config.with_stage(dataclasses.replace(stage, masking=masking))
        packs = [pack for step in PackStream(data, run, 1, StageStart()) for _, pack in step.packs]
        counts.append(sum(pack.masked_words for pack in packs))
    assert 2.5 * counts[0] < counts[1] < 3.5 * counts[0]


def test_what_cannot_be_trained_on_is_refused(shards, tmp_path):
    found = load_shards(shards)
    with pytest.raises(UsageError, match="no training samples"):
        TrainingData({"data": dataclasses.replace(found, shards=found.of_split("test"))}, REGIONS)
    with pytest.raises(UsageError, match="stored as raw"):
        TrainingData({"data": dataclasses.replace(found, quantisation="raw")}, REGIONS)
    bare = tuple(dataclasses.replace(shard, regions="") for shard in found.shards)
    with pytest.raises(UsageError, match="has no regions"):
        TrainingData({"data": dataclasses.replace(found, shards=bare)}, REGIONS)
    with pytest.raises(UsageError, match="not the vocabulary"):
        TrainingData({"data": dataclasses.replace(found, tokenizer_digest="00")}, REGIONS)


def test_facts_are_those_of_the_shards(data):
    assert (data.facts.vocab_size, data.facts.max_regions) == (len(VOCAB), REGIONS)


def test_an_image_without_regions_is_not_trained_on(shards):
    opened = TrainingData({"data": load_shards(shards)}, REGIONS)
    opened.sizes.regions[::3] = 0
    planned = {int(number) for lane in opened.lanes(small_config(), 1) for piece in lane._pieces
               for number in piece.numbers}
    assert planned == {number for number in range(len(opened.sizes.regions)) if number % 3}
    opened.sizes.regions[2:] = 0
    with pytest.raises(UsageError, match="1 training samples for 2 lanes"):
        opened.lanes(small_config(), 1)
    opened.close()


def test_regions_without_classes_are_trained_on_without_moc_only(shards):
    opened = TrainingData({"data": dataclasses.replace(load_shards(shards), num_classes=0)}, REGIONS)
    opened.close()
    config = small_config()
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, num_classes=1))
    with pytest.raises(UsageError, match="no classes, which MOC predicts .stage pretrain.*pretrain.weights.moc=0"):
        check_facts(config, opened.facts)
    stage = config.stage("pretrain")
    without = dataclasses.replace(stage, weights=dataclasses.replace(stage.weights, moc=0))
    check_facts(config.with_stage(without), opened.facts)
