import dataclasses
import math

import pytest
import torch
from torch._dynamo.utils import counters

from crawl.errors import UsageError
from model.imagebert import ImageBert
from model.losses import LOSSES, LossWeights
from shards.manifest import load_shards
from tests.train.dying import dying_after
from tests.train.made_shards import make_shards, small_config
from train.checkpoint import find_checkpoint, read_state
from train.data import TrainingData
from train.loop import train
from train.metrics import read_metrics
from train.ranks import run_ranks
from train.step import LOGGED, StepGradient
from train.step_budget import StepBudget
from train.stream import PackStream, StageStart

CONFIG = small_config(lanes=4, pretrain=192)
PRETRAIN = 1


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return str(make_shards(tmp_path_factory.mktemp("shards")))


def steps(shards, rank=0, world=1, config=CONFIG):
    data = TrainingData({"data": load_shards(shards)}, config.regions)
    try:
        yield from PackStream(data, config, PRETRAIN, StageStart(), rank, world)
    finally:
        data.close()


def one_step(shards, rank=0, world=1, config=CONFIG):
    return next(iter(steps(shards, rank, world, config)))


def gradient_of(ranks, shards, config=CONFIG, weights=None, change=lambda step: step, **options):
    """Returns the summed gradient of one step in float64, and what it says."""
    torch.manual_seed(3)
    model = ImageBert(config.model).double().train()
    gradient = StepGradient(model, weights or config.stage("pretrain").weights, (1, PRETRAIN), **options)
    step = change(one_step(shards, ranks.rank, ranks.world, config))
    gradient.run(step, ranks, 1.0, 0, StepBudget(torch.device("cpu")))
    result = gradient.finish(1e9, 1.0)
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}, result


class One:
    rank, world = 0, 1
    total = staticmethod(lambda counts: counts)
    gather = staticmethod(list)
    add_up = staticmethod(lambda tensor: None)


def write_gradient(ranks, job):
    shards, out = job
    found = gradient_of(ranks, shards)
    if ranks.first:
        torch.save(found, out)


@pytest.mark.parametrize("world", [2, 4])
def test_gradients_agree_for_one_two_and_four_ranks(shards, tmp_path, world):
    alone, said = gradient_of(One(), shards)
    out = str(tmp_path / "gradient")
    run_ranks(write_gradient, (shards, out), world)
    shared, said_together = torch.load(out, weights_only=False)
    for name, gradient in alone.items():
        assert (gradient - shared[name]).abs().max() <= 1e-10 * max(1.0, float(gradient.abs().max())), name
    assert said_together.means == pytest.approx(said.means, rel=1e-10)
    assert said.norm > 0 and said.means[LOSSES.index("mlm")] > 1


def test_a_pack_that_a_loss_does_not_cover_is_not_in_its_mean(shards):
    """With the masked regions of one lane's pack gone, MOC is the mean over the three others."""
    first = one_step(shards)
    assert first.covered == (4, 4, 4, 4, 4, 0)
    bare = dataclasses.replace(first.packs[0][1], masked_region_weights=torch.zeros_like(
        first.packs[0][1].masked_region_weights))

    def without(step):
        return dataclasses.replace(step, packs=((0, bare), *step.packs[1:]), covered=(4, 3, 3, 4, 4, 0))

    only = LossWeights(0, 1, 0, 0)
    _, said = gradient_of(One(), shards, weights=only, change=without)
    each = [gradient_of(One(), shards, weights=only, change=lambda step, lane=lane: dataclasses.replace(
        step, packs=(step.packs[lane],), covered=(1,) * 6))[1].means[1] for lane in (1, 2, 3)]
    assert said.means[1] == pytest.approx(sum(each) / 3, rel=1e-12)
    assert 0 <= said.means[LOGGED.index("moc_accuracy")] <= 1


def test_recomputed_layers_give_the_same_gradient(shards):
    config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, dropout=0.1, attention_dropout=0.1))
    kept, _ = gradient_of(One(), shards, config)
    real = ImageBert.encode
    calls = []

    def recomputed(model, pack):
        model.recompute = True
        calls.append(1)
        return real(model, pack)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageBert, "encode", recomputed)
        again, _ = gradient_of(One(), shards, config)
    assert calls and all(torch.equal(kept[name], again[name]) for name in kept)


def test_one_graph_without_breaks_over_an_epoch_and_a_stage_tail(shards):
    """Packs of different contents, the short last ones too: compiled once, and the same losses."""
    config = CONFIG.with_stage(dataclasses.replace(CONFIG.stage("pretrain"), samples=107))
    torch.manual_seed(3)
    model = ImageBert(dataclasses.replace(config.model, dropout=0.0)).train()
    torch._dynamo.reset()
    counters.clear()
    compiled = StepGradient(model, config.stage("pretrain").weights, (1, PRETRAIN))
    compiled._fixed = True
    compiled._forward = torch.compile(compiled._losses, backend="eager", fullgraph=True, dynamic=False)
    plain = StepGradient(ImageBert(model.config).train(), config.stage("pretrain").weights, (1, PRETRAIN))
    plain._model.load_state_dict(model.state_dict())
    sizes = set()
    for step in steps(shards, config=config):
        sizes |= {(pack.masked_words, pack.masked_regions) for _, pack in step.packs}
        for one in (compiled, plain):
            one.run(step, One(), 1.0, 0, StepBudget(torch.device("cpu")))
        ours, theirs = compiled.finish(1e9, 1.0), plain.finish(1e9, 1.0)
        assert ours.means == pytest.approx(theirs.means, rel=1e-4)
    assert len(sizes) > 3
    assert counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"], counters


def test_fp16_skips_an_overflow_halves_its_scale_and_goes_on_exactly(shards, tmp_path):
    config = small_config(align=0, pretrain=96, precision="fp16", checkpoint_samples=24)
    stage = dataclasses.replace(config.stage("pretrain"), weights=LossWeights(mlm=3000.0, contrastive=1))
    config = config.with_stage(stage)     # 3000 * 65536 overflows fp16
    whole = str(tmp_path / "whole")
    train(config, shards, whole)
    state = read_state(find_checkpoint(whole))
    assert state.finished and state.loss_scale < 2.0 ** 16
    rows = read_metrics(whole)
    assert all(math.isfinite(row["mlm"]) for row in rows)

    out = str(tmp_path / "out")

    with dying_after(7):
        train(config, shards, out)
    assert read_state(find_checkpoint(out)).loss_scale < 2.0 ** 16       # the scale is part of the state
    train(config, shards, out, resume=True)
    assert read_state(find_checkpoint(out)).loss_scale == state.loss_scale
    assert [row["mlm"] for row in read_metrics(out)] == [row["mlm"] for row in rows]


def test_bf16_on_the_cpu_is_near_f32(shards, tmp_path):
    found = {}
    for precision in ("f32", "bf16"):
        train(small_config(precision=precision), shards, str(tmp_path / precision))
        found[precision] = read_metrics(str(tmp_path / precision))[-1]["mlm"]
    assert found["bf16"] != found["f32"] and found["bf16"] == pytest.approx(found["f32"], rel=0.05)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_loss_that_is_not_finite_stops_with_step_task_and_keys(shards, tmp_path, ranks, monkeypatch):
    """A learning rate that throws the weights far away: the line names what and where, the last checkpoint stays."""
    config = small_config(align=0, pretrain=960, checkpoint_samples=12)
    wild = dataclasses.replace(config.stage("pretrain").optimizer, learning_rate=1e38, warmup=0.0)
    config = config.with_stage(dataclasses.replace(config.stage("pretrain"), optimizer=wild))
    out = str(tmp_path / "out")
    with pytest.raises(UsageError, match=r"stage pretrain, step \d+: the loss \w+ is (nan|inf) in lane [01], whose "
                                         r"samples are [0-9a-f]{32}, .* and 2 more; the last checkpoint is .*0000000"):
        train(config, shards, out, ranks=ranks)
    kept = find_checkpoint(out)
    assert kept and read_state(kept).step >= 1


def test_averaged_weights_lie_beside_the_last_ones(shards, tmp_path):
    from safetensors.torch import load_file

    from train.opening import open_checkpoint
    config = small_config(ema_samples=40, checkpoint_samples=24)
    whole, out = str(tmp_path / "whole"), str(tmp_path / "out")
    train(config, shards, whole)
    folder = find_checkpoint(whole)
    average, last = load_file(f"{folder}/average.safetensors"), load_file(f"{folder}/model.safetensors")
    assert average.keys() == last.keys() and not torch.equal(average["itm.weight"], last["itm.weight"])
    opened = open_checkpoint(whole, averaged=True)
    assert torch.equal(opened.model.itm.weight, average["itm.weight"])
    assert opened.weights_digest != open_checkpoint(whole).weights_digest

    with dying_after(9):
        train(config, shards, out)
    train(config, shards, out, resume=True)
    again = load_file(f"{find_checkpoint(out)}/average.safetensors")
    assert all(torch.equal(again[name], average[name]) for name in average)
    train(small_config(), shards, str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no averaged weights; train with --set ema_samples"):
        open_checkpoint(str(tmp_path / "none"), averaged=True)


def test_the_log_says_where_the_time_went(shards, tmp_path):
    train(small_config(device_tflops=1.0), shards, str(tmp_path))
    row = read_metrics(str(tmp_path))[-1]
    time = row["time"]
    assert {"wait", "copy", "compute", "reduce", "update", "save", "reading", "packing"} <= time.keys()
    assert time["samples_per_second"] > 0 and 0 <= time["padding"] < 1 and time["held_up_by"]
    assert time["mfu"] == pytest.approx(time["tflops"], abs=1e-4)
    assert 0 <= row["itm_accuracy"] <= 1 and 0 <= row["mlm_accuracy"] <= 1


def test_f16_features_are_trained_on_and_say_what_u8_ones_say(shards, tmp_path):
    halves = str(make_shards(tmp_path / "f16", kind="f16"))
    pack = one_step(halves, config=small_config()).packs[0][1]
    assert pack.features.dtype == torch.float16 and set(pack.scale[:pack.distinct].tolist()) == {1.0}
    assert not pack.zero.any()
    train(small_config(), halves, str(tmp_path / "halves"))
    train(small_config(), shards, str(tmp_path / "bytes"))
    for ours, theirs in zip(read_metrics(str(tmp_path / "halves")), read_metrics(str(tmp_path / "bytes")), strict=True):
        assert {ours.pop("stage"), theirs.pop("stage")} <= {"align", "pretrain"}
        for line in (ours, theirs):
            line.pop("time")
        assert ours == pytest.approx(theirs, rel=2e-3)
