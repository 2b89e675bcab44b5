"""Tiles the painter crops from: seven textured grounds and one of film grain, each made once a process."""
from __future__ import annotations

import functools

import numpy as np
from PIL import Image

TILE = 896                         # px, a side


@functools.lru_cache(maxsize=16)
def ground_tile(name: str) -> Image.Image:
    """Returns the RGB tile of one background, TILE x TILE px."""
    rng = np.random.default_rng(list(name.encode()))
    colour = _GROUNDS[name](rng)
    return Image.fromarray(np.clip(np.rint(colour), 0, 255).astype(np.uint8))


@functools.lru_cache(maxsize=1)
def grain_tile() -> Image.Image:
    """Returns RGB film grain around 128, mostly the same in the three channels, TILE x TILE px."""
    rng = np.random.default_rng(128)
    grain = rng.normal(0, 4.5, (TILE, TILE, 1)) + rng.normal(0, 1.8, (TILE, TILE, 3))
    return Image.fromarray(np.clip(np.rint(grain + 128), 0, 255).astype(np.uint8))


def _cloud(rng: np.random.Generator, across: int, down: int) -> np.ndarray:
    """Returns smooth noise in about [-1, 1] with `across` x `down` blobs over the tile."""
    small = rng.uniform(0, 255, (down, across)).astype(np.uint8)
    big = Image.fromarray(small).resize((TILE, TILE), Image.Resampling.BICUBIC)
    return np.asarray(big, np.float32)[..., None] / 127.5 - 1


def _mix(base: tuple[int, int, int], *layers: tuple[np.ndarray, tuple[float, float, float]]) -> np.ndarray:
    """Returns the base colour plus each layer times its colour change."""
    colour = np.broadcast_to(np.array(base, np.float32), (TILE, TILE, 3)).copy()
    for layer, change in layers:
        colour += layer * np.array(change, np.float32)
    return colour


def _grass(rng: np.random.Generator) -> np.ndarray:
    return _mix((84, 138, 54), (_cloud(rng, 7, 7), (26, 24, 14)), (_cloud(rng, 300, 60), (24, 32, 16)),
                (_cloud(rng, 448, 150), (18, 24, 12)))


def _sand(rng: np.random.Generator) -> np.ndarray:
    y = np.arange(TILE, dtype=np.float32)[:, None, None]
    ripples = np.sin(y / 6.5 + 5 * _cloud(rng, 8, 6))
    return _mix((218, 190, 134), (_cloud(rng, 6, 6), (22, 22, 22)), (ripples, (9, 9, 9)),
                (_cloud(rng, 448, 448), (14, 14, 12)))


def _sea(rng: np.random.Generator) -> np.ndarray:
    waves = _cloud(rng, 34, 110)
    foam = np.maximum(0, _cloud(rng, 60, 160) - 0.55)
    return _mix((40, 98, 158), (_cloud(rng, 5, 8), (18, 26, 26)), (waves, (16, 26, 30)), (foam, (170, 160, 140)))


def _snow(rng: np.random.Generator) -> np.ndarray:
    return _mix((236, 240, 248), (_cloud(rng, 7, 6), (24, 22, 16)), (_cloud(rng, 40, 30), (9, 8, 5)),
                (_cloud(rng, 300, 300), (8, 8, 8)))


def _night(rng: np.random.Generator) -> np.ndarray:
    stars = np.zeros((TILE, TILE, 1), np.float32)
    for size, count in ((1, 1500), (2, 260)):
        ys, xs = rng.integers(0, TILE - 3, (2, count))
        for dy in range(size):
            for dx in range(size):
                stars[ys + dy, xs + dx, 0] = rng.uniform(0.4, 1, count)
    return _mix((18, 22, 52), (_cloud(rng, 6, 6), (14, 12, 26)), (_cloud(rng, 50, 50), (4, 4, 8)),
                (stars, (215, 215, 195)))


def _brick(rng: np.random.Generator) -> np.ndarray:
    y, x = np.mgrid[0:TILE, 0:TILE]
    row = y // 28
    shifted = x + (row % 2) * 32
    tone = rng.uniform(-1, 1, (TILE // 28 + 1, TILE // 64 + 2)).astype(np.float32)[row, shifted // 64][..., None]
    mortar = ((y % 28 < 4) | (shifted % 64 < 4)).astype(np.float32)[..., None]
    bricks = _mix((150, 76, 60), (tone, (24, 17, 14)), (_cloud(rng, 6, 6), (20, 14, 12)),
                  (_cloud(rng, 300, 300), (16, 14, 12)))
    return bricks * (1 - mortar) + np.array((176, 170, 160), np.float32) * mortar


def _wood(rng: np.random.Generator) -> np.ndarray:
    x = np.arange(TILE)[None, :, None]
    plank = x // 74
    tone = rng.uniform(-1, 1, TILE // 74 + 1).astype(np.float32)[plank]
    joint = (x % 74 < 3).astype(np.float32)
    grain = np.sin(x / 5.0 + 7 * _cloud(rng, 24, 4))
    return _mix((126, 88, 54), (tone, (18, 14, 10)), (grain, (11, 9, 6)), (_cloud(rng, 5, 5), (16, 12, 8)),
                (_cloud(rng, 260, 24), (10, 8, 6)), (joint, (-62, -44, -28)))


_GROUNDS = {"grass": _grass, "sand": _sand, "sea": _sea, "snow": _snow, "night sky": _night, "brick wall": _brick,
            "wooden floor": _wood}
