import pytest

from tests.train.synthetic import model
from train.schedule import OptimizerConfig, build_optimizer, learning_rate


def test_rate_rises_and_falls_with_samples_whatever_the_step():
    config = OptimizerConfig(learning_rate=2.0, warmup=0.1)
    rates = [learning_rate(config, samples, 1000) for samples in (0, 50, 100, 550, 1000, 1200)]
    assert rates == pytest.approx([0, 1, 2, 1, 0, 0])
    assert learning_rate(OptimizerConfig(warmup=0.0), 0, 10) == OptimizerConfig().learning_rate


def test_decay_spares_biases_norms_and_temperature():
    built = model()
    decayed, others = build_optimizer(built, OptimizerConfig(weight_decay=0.5)).param_groups
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.5, 0.0)
    names = {id(parameter): name for name, parameter in built.named_parameters()}
    spared = {names[id(parameter)] for parameter in others["params"]}
    assert {"contrast.log_scale", "embeddings.word_norm.weight", "moc.bias"} <= spared
    assert len(decayed["params"]) + len(others["params"]) == len(names)
    assert all(parameter.dim() > 1 for parameter in decayed["params"])


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="warmup 2"):
        OptimizerConfig(warmup=2.0)
    with pytest.raises(ValueError, match="beta2 is 1.0"):
        OptimizerConfig(beta2=1.0)
