"""Small collections with random features, and a small model: what the tests of train/ evaluation share."""
import numpy as np
import torch

from model.config import ModelConfig
from model.imagebert import ImageBert
from train.items import Collection
from train.packing import Sample, SpecialTokens

torch.set_num_threads(1)      # two engineers' tests on two cores: spinning threads cost more than they give

SPECIAL = SpecialTokens(cls=2, sep=3, mask=4, vocab_size=60, never_drawn=(0, 1, 2, 3, 4))
CLASSES, FEATURES = 7, 24


def model(seed=0, layers=2, contrastive_dim=8, dropout=0.0):
    """Returns a small model with random weights, large enough that scores differ."""
    torch.manual_seed(seed)
    made = ImageBert(ModelConfig(vocab_size=60, hidden=32, layers=layers, heads=2, intermediate=64, dropout=dropout,
                                 attention_dropout=0.0, feature_dim=FEATURES, num_classes=CLASSES, max_tokens=40,
                                 max_positions=40, contrastive_dim=contrastive_dim, initial_range=0.1))
    return made


def collection(images=12, captions=1, seed=0, min_regions=3, max_regions=5):
    """Returns images of random regions with random captions; nothing relates the two."""
    generator = np.random.default_rng(seed)
    samples, texts = [], []
    for number in range(images):
        regions = int(generator.integers(min_regions, max_regions + 1))
        words = tuple(generator.integers(5, 60, size=generator.integers(4, 9)) for _ in range(captions))
        corner = generator.uniform(0, 0.5, size=(regions, 2))
        boxes = np.concatenate([corner, corner + generator.uniform(0.1, 0.5, size=(regions, 2))], axis=1)
        samples.append(Sample(
            key=f"{seed:016x}{number:016x}", key_hash=1000 * seed + number, words=words[0],
            features=generator.integers(0, 256, size=(regions, FEATURES), dtype=np.uint8),
            scale=np.full(regions, 0.02, np.float32), zero=np.full(regions, 128, np.float32),
            boxes=boxes.astype(np.float32), classes=generator.integers(0, CLASSES, size=regions),
            image_hash=number, group_hash=number, caption_hash=number))
        texts.append(words)
    return Collection("synthetic", tuple(samples), tuple(texts))
