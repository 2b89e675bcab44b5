import pytest

from model import config


@pytest.mark.parametrize("change, words", [
    ({"hidden": 100, "heads": 12}, "hidden 100 is not a multiple of heads 12"),
    ({"layers": 0}, "layers is 0"),
    ({"max_tokens": 600}, "max_tokens 600 is outside"),
    ({"dropout": 1.0}, "dropout is 1.0"),
    ({"contrastive_dim": -1}, "contrastive_dim is -1"),
    ({"initial_temperature": 0.0}, "initial_temperature is 0.0"),
])
def test_impossible_sizes_are_refused_by_name(change, words):
    with pytest.raises(ValueError, match=words):
        config.ModelConfig(**change)


def test_named_models():
    assert (config.base().layers, config.base().hidden, config.base().max_tokens) == (12, 768, 144)
    small = config.demo(vocab_size=70, feature_dim=192, num_classes=64)
    assert (small.vocab_size, small.feature_dim, small.num_classes) == (70, 192, 64)
