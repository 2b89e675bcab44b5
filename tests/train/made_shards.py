"""A small, quick set of shards on disk whose captions name what the regions show: what tests of the trainer read."""
from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from model.config import ModelConfig
from model.losses import LossWeights
from shards.index import encode_index, index_tar
from shards.regions import Regions, pack
from train.plan import StageConfig, TrainConfig
from train.schedule import OptimizerConfig

THINGS = ("cat", "dog", "bus", "cup", "hat", "key", "map", "pen")
COLOURS = ("red", "blue", "green", "pink")
VOCAB = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "left", "of", *THINGS, *COLOURS)
CLASSES, FEATURES, REGIONS = 32, 12, 4


def words_and_classes(number: int) -> tuple[str, list[int]]:
    """Returns a caption and the classes of the regions it speaks of."""
    rng = np.random.default_rng(number)
    things, colours = rng.integers(0, 8, 2), rng.integers(0, 4, 2)
    caption = f"a {COLOURS[colours[0]]} {THINGS[things[0]]} left of the {COLOURS[colours[1]]} {THINGS[things[1]]}"
    first, second = (int(things[i] * 4 + colours[i]) for i in range(2))
    return caption, [first, first, second, second][:REGIONS]


def regions_of(classes: list[int], number: int, kind: str = "u8") -> Regions:
    """Returns regions whose features say their class, with some noise; f16 ones are nearly those that u8 stands for.

    `kind` is u8, f16, or soft: u8 with the 8 most likely classes.
    """
    look = np.random.default_rng(999).integers(40, 216, (CLASSES, FEATURES))
    noise = np.random.default_rng(number).integers(-20, 20, (len(classes), FEATURES))
    left = np.arange(len(classes)) / len(classes)
    box = np.stack([left, np.zeros_like(left), left + 1 / len(classes), np.ones_like(left)], axis=1)
    stored = (look[classes] + noise).astype(np.uint8)
    scale = np.full(len(classes), 1 / 255, np.float16)
    feat = stored if kind != "f16" else (stored * scale[:, None].astype(np.float32)).astype(np.float16)
    return Regions(feat=feat, box=box.astype(np.float16),
                   cls=np.array(classes, np.int16), conf=np.ones(len(classes), np.float16),
                   scale=scale if kind != "f16" else None, **(_soft(classes) if kind == "soft" else {}))


def _soft(classes: list[int]) -> dict[str, np.ndarray]:
    likely = (np.array(classes)[:, None] + np.arange(8)) % CLASSES
    return {"soft_id": likely.astype(np.int16),
            "soft_p": np.tile(0.4 * 0.5 ** np.arange(8), (len(classes), 1)).astype(np.float16)}


def make_shards(directory: Path, shards: int = 4, samples: int = 24, first: int = 0, kind: str = "u8") -> Path:
    """Writes a finished shards folder: `shards` training and one test shard of `samples` each, u8, f16 or soft.

    Its samples are numbered from `first`; there are no tables.
    """
    directory.mkdir(parents=True, exist_ok=True)
    vocab = "".join(f"{piece}\n" for piece in VOCAB).encode()
    (directory / "vocab.txt").write_bytes(vocab)
    files = [_write(directory, "test" if place == shards else "train", place, samples, first, kind)
             for place in range(shards + 1)]
    extra = {"shards": files, "feature_dim": FEATURES, "num_classes": CLASSES, "max_regions": REGIONS,
             "quantisation": "u8_scale" if kind != "f16" else kind, "extractor": "made", "extractor_digest": "cd" * 32,
             "codebook": "", "tokenizer_digest": hashlib.sha256(vocab).hexdigest(), "vocab": "vocab.txt"}
    entries = [{"name": file[kind], "bytes": (directory / file[kind]).stat().st_size}
               for file in files for kind in ("name", "regions", "index")]
    (directory / "manifest.json").write_text(json.dumps({"stage": "shards", "tables": {"shards": entries},
                                                         "extra": extra}))
    return directory


def _write(directory: Path, split: str, place: int, samples: int, first: int,
           kind: str) -> dict[str, object]:
    names = {kind: f"{split}/lait-jpg-{place:06d}{suffix}" for kind, suffix in
             (("name", ".tar"), ("regions", ".regions.tar"), ("index", ".idx.npy"))}
    (directory / split).mkdir(exist_ok=True)
    pairs = [(number, *words_and_classes(number))
             for number in range(first + place * samples, first + (place + 1) * samples)]
    with tarfile.open(directory / names["name"], "w") as tar:
        for number, caption, _ in pairs:
            _add(tar, f"{_key(number)}.jpg", f"image {number}".encode())
            _add(tar, f"{_key(number)}.txt", caption.encode())
            _add(tar, f"{_key(number)}.json", b"{}")
    with tarfile.open(directory / names["regions"], "w") as tar:
        for number, _, classes in pairs:
            _add(tar, f"{_key(number)}.regions.safetensors", pack(regions_of(classes, number, kind)))
    index = index_tar(str(directory / names["name"]), str(directory / names["regions"]), lambda text: len(text.split()))
    (directory / names["index"]).write_bytes(encode_index(index))
    tar_bytes = (directory / names["name"]).read_bytes()
    return {**names, "table": "", "split": split, "ext": "jpg", "samples": samples, "bytes": len(tar_bytes),
            "sha256": hashlib.sha256(tar_bytes).hexdigest()}


def _key(number: int) -> str:
    return hashlib.sha256(f"image {number}".encode()).hexdigest()[:32]


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def small_config(align: int = 48, pretrain: int = 96, **changes: object) -> TrainConfig:
    """Returns a run of a few steps over made shards: 2 lanes of 6 pairs."""
    model = ModelConfig(vocab_size=len(VOCAB), hidden=16, layers=2, heads=2, intermediate=32, dropout=0.1,
                        attention_dropout=0.0, feature_dim=FEATURES, num_classes=CLASSES, max_tokens=48,
                        max_positions=48, contrastive_dim=8)
    optimizer = OptimizerConfig(learning_rate=3e-3)
    config = TrainConfig(
        name="small", model=model, regions=REGIONS, lanes=2, window=1, log_samples=36, checkpoint_samples=12_000,
        plan=(StageConfig("align", samples=align, pairs=6, optimizer=optimizer, weights=LossWeights(0, 0, 0, 0, 1)),
              StageConfig("pretrain", samples=pretrain, pairs=6, optimizer=optimizer,
                          weights=LossWeights(contrastive=1))),
        compute_threads=1)
    return dataclasses.replace(config, **changes)  # type: ignore[arg-type]
