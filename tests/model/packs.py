"""Random samples and a tiny model: what the tests of model/ share."""
import numpy as np
import torch

from model.config import ModelConfig
from model.imagebert import ImageBert
from train.packing import Masks, Rows, Sample, SpecialTokens, build_pack, capacity_for, no_masks

SPECIAL = SpecialTokens(cls=2, sep=3, mask=4, vocab_size=50, never_drawn=(0, 1, 2, 3, 4))
FEATURES, CLASSES = 10, 7


def tiny_model(**changes):
    """Returns a model with random weights and no dropout, in float64."""
    torch.manual_seed(1)
    sizes = {"vocab_size": 50, "hidden": 16, "layers": 2, "heads": 2, "intermediate": 32, "dropout": 0.0,
             "attention_dropout": 0.0, "feature_dim": FEATURES, "num_classes": CLASSES, "max_tokens": 32,
             "max_positions": 32, "contrastive_dim": 8, "initial_range": 0.2}
    return ImageBert(ModelConfig(**(sizes | changes))).double()


def sample(number, regions=4, words=5):
    """Returns a sample of random regions and words."""
    rng = np.random.default_rng(number)
    corner = rng.uniform(0, 0.5, (regions, 2))
    return Sample(
        key=f"{number:032x}", key_hash=number, words=rng.integers(5, 50, words),
        features=rng.integers(0, 256, (regions, FEATURES), dtype=np.uint8),
        scale=rng.uniform(0.01, 0.02, regions).astype(np.float32), zero=np.full(regions, 100, np.float32),
        boxes=np.concatenate([corner, corner + 0.3], axis=1).astype(np.float32),
        classes=rng.integers(0, CLASSES, regions), image_hash=number, group_hash=number, caption_hash=number)


def samples(count=5):
    """Returns samples of different sizes."""
    return [sample(number, regions=2 + number % 4, words=3 + number % 5) for number in range(count)]


def masked_first(chosen, gated=True):
    """Returns masks that hide the first word piece and the first region of each sample."""
    plain = no_masks(chosen)
    words = np.concatenate([np.arange(len(one.words)) == 0 for one in chosen])
    regions = np.concatenate([np.arange(len(one.classes)) == 0 for one in chosen])
    return Masks(np.where(words, SPECIAL.mask, plain.word_inputs), words, ~regions, regions, gated)


def training_pack(chosen, matched=None, gated=True):
    """Returns a cropped pack of joint, image-only and text-only sequences, masked at the first places."""
    own = np.arange(len(chosen))
    rows = Rows.pairs(own, own, np.ones(len(chosen)) if matched is None else matched, masked=True)
    rows = rows.and_then(Rows.singles(len(chosen)))
    return build_pack(chosen, rows, SPECIAL, capacity_for(chosen, rows, SPECIAL), masked_first(chosen, gated)).cropped()
