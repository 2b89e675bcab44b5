"""The world of the claims: drawn scenes with known truth, written as sets of shards that the trainer reads.

    web            many scenes, sentences of the second profile, a share of them about another scene: the raw crawl
    web_filtered   the same without the wrong pairs: what a perfect filter leaves
    public         fewer scenes, sentences of the first profile, all of them true
    target         the set that is ranked: fine-tuned on `train`, recall on `test`; sentences of the first profile

Each at two grids of cells: 3x3 (9 regions, as 36) and 5x5 (25 regions, as 100).  Regions are `patches`, whose classes
are a codebook fitted on `web`.  Pictures are drawn once; no image bytes are stored, a trainer reads none.
"""
from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import tarfile

import numpy as np

from crawl.tables import FileEntry
from demo.scenes import draw_scene, render
from shards.index import encode_index, index_tar
from shards.manifest import ShardFile
from shards.patches import PatchesConfig, cells_of, fit_codebook, regions_of
from shards.regions import Regions, pack
from shards.sample import key_of
from shards.tokens import SPECIALS, load_tokenizer

GRIDS = (3, 5)
SETS = ("web", "web_filtered", "public", "target")
_SHARDS = 4                        # of a training split


@dataclasses.dataclass(frozen=True, slots=True)
class WorldConfig:
    """How large the world is."""

    web: int = 6000                # scenes
    public: int = 2000
    tune: int = 400                # of target, to fine-tune on
    test: int = 1200
    noise: float = 0.4             # share of web's captions that are of another scene
    classes: int = 64              # of the codebook
    seed: int = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Drawn:
    """One scene as pixels of cells and a sentence."""

    number: int
    caption: str
    cells: tuple[np.ndarray, ...]  # u8 [grid * grid, D], one a grid


def set_path(folder: pathlib.Path, name: str, grid: int) -> str:
    """Returns where a set of a world lies."""
    return str(folder / f"{name}-{grid}")


def make_world(folder: pathlib.Path, config: WorldConfig) -> None:
    """Draws the world and writes its sets; a finished one of the same config is left as it is."""
    done = folder / "world.json"
    told = json.dumps(dataclasses.asdict(config), sort_keys=True)
    if done.exists() and done.read_text() == told:
        return
    web = [_draw(10 * config.seed, number, "second") for number in range(config.web)]
    public = [_draw(10 * config.seed + 1, number, "first") for number in range(config.public)]
    target = [_draw(10 * config.seed + 2, number, "first") for number in range(config.tune + config.test)]
    words = sorted({word for one in (*web, *public, *target) for word in one.caption.split()})
    vocab = "".join(f"{piece}\n" for piece in (*SPECIALS, *words)).encode()
    rng = np.random.default_rng([config.seed, 77])
    wrong = np.flatnonzero(rng.random(len(web)) < config.noise)
    captions = [one.caption for one in web]
    for number, other in zip(wrong.tolist(), np.roll(wrong, 1).tolist(), strict=True):
        captions[number] = web[other].caption
    raw = [dataclasses.replace(one, caption=caption) for one, caption in zip(web, captions, strict=True)]
    filtered = [one for number, one in enumerate(raw) if number not in set(wrong.tolist())]
    for place, grid in enumerate(GRIDS):
        patches = PatchesConfig(grid=grid, num_classes=config.classes)
        codebook = fit_codebook(np.concatenate([one.cells[place][:8] for one in web[:2048]]), patches)
        for name, train, test in (("web", raw, []), ("web_filtered", filtered, []), ("public", public, []),
                                  ("target", target[:config.tune], target[config.tune:])):
            regions = {split: [(f"{name} {one.number}", one.caption, regions_of(one.cells[place], codebook, patches))
                               for one in ones] for split, ones in (("train", train), ("test", test)) if ones}
            _write_set(pathlib.Path(set_path(folder, name, grid)), regions, vocab, patches, codebook)
    done.write_text(told)


def _draw(seed: int, number: int, profile: str) -> Drawn:
    scene = draw_scene(seed, number, profile)
    image = render(scene, *scene.canvas)
    return Drawn(number, scene.captions[0], tuple(cells_of(image, PatchesConfig(grid=grid)) for grid in GRIDS))


def _write_set(folder: pathlib.Path, splits: dict[str, list[tuple[str, str, Regions]]], vocab: bytes,
               patches: PatchesConfig, codebook: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_bytes(vocab)
    tokenizer = load_tokenizer(str(folder / "vocab.txt"))
    shards = []
    for split, samples in splits.items():
        parts = _SHARDS if split == "train" else 1
        for part in range(parts):
            name = f"{split}-{part:06d}.tar"
            _write_tar(folder / name, samples[part::parts])
            index = index_tar(str(folder / name), count_pieces=lambda text: len(tokenizer.encode(text)[0]))
            (folder / f"{name}.idx.npy").write_bytes(encode_index(index))
            data = (folder / name).read_bytes()
            shards.append(ShardFile(name=name, split=split, ext="jpg", samples=len(index), bytes=len(data), table="",
                                    sha256=hashlib.sha256(data).hexdigest(), regions=name, index=f"{name}.idx.npy"))
    files = [FileEntry(name, os.path.getsize(folder / name), "") for shard in shards
             for name in (shard.name, shard.index)]
    extra = {"shards": [dataclasses.asdict(shard) for shard in shards], "feature_dim": patches.feature_dim,
             "num_classes": patches.num_classes, "max_regions": patches.num_regions, "quantisation": "u8_scale",
             "extractor": "patches", "extractor_digest": hashlib.sha256(codebook.tobytes()).hexdigest(),
             "codebook": "", "tokenizer_digest": tokenizer.digest, "vocab": "vocab.txt"}
    (folder / "manifest.json").write_text(json.dumps(
        {"stage": "shards", "tables": {"shards": [dataclasses.asdict(file) for file in files]}, "extra": extra}))


def _write_tar(path: pathlib.Path, samples: list[tuple[str, str, Regions]]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, caption, regions in samples:
            key = key_of(hashlib.sha256(name.encode()).hexdigest())
            for suffix, data in (("jpg", name.encode()), ("txt", caption.encode()), ("json", b"{}"),
                                 ("regions.safetensors", pack(regions))):
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
