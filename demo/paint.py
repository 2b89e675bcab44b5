"""Paints a scene so that it resembles a photograph: textured ground, shadows, uneven light, soft edges, grain.

Quick by construction: grounds, grain and textures are tiles made once a process; a scene crops them at places drawn
from its own `look`, so no pixel loop runs in Python.
"""
from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from demo.grounds import TILE, grain_tile, ground_tile

if TYPE_CHECKING:
    from demo.scenes import Scene, SceneObject

PAINTS = {
    "red": (214, 32, 38), "orange": (246, 134, 22), "yellow": (250, 222, 40), "green": (32, 152, 56),
    "cyan": (46, 208, 218), "blue": (32, 66, 204), "purple": (132, 42, 172), "pink": (248, 142, 186),
    "white": (246, 246, 246), "black": (22, 22, 24)}
PATTERN_PERIOD = 0.085             # of stripes and spots, share of the shorter side


def paint(scene: Scene, width: int, height: int) -> Image.Image:
    """Returns the scene as an RGB image of width x height px."""
    rng = np.random.default_rng([scene.look, 7])
    image = _crop(ground_tile(scene.background), rng, width, height)
    for item in scene.objects:
        _place(image, item, rng)
    image = ImageChops.multiply(image, _light(rng, width, height))
    image = image.filter(ImageFilter.GaussianBlur(round(float(rng.uniform(0.5, 0.9)), 2)))
    return ImageChops.add(image, _crop(grain_tile(), rng, width, height), 1, -128)


def _crop(tile: Image.Image, rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Returns a width x height piece of the tile at a drawn place; a canvas beyond the tile is a scaled piece."""
    scale = max(1.0, width / TILE, height / TILE)
    w, h = int(width / scale), int(height / scale)
    x, y = int(rng.integers(TILE - w + 1)), int(rng.integers(TILE - h + 1))
    piece = tile.crop((x, y, x + w, y + h))
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return piece if (w, h) == (width, height) else piece.resize((width, height), Image.Resampling.BILINEAR)


def _place(image: Image.Image, item: SceneObject, rng: np.random.Generator) -> None:
    """Draws one object with its shadow into the image."""
    shorter = min(image.size)
    across = max(8, round(item.diameter * shorter))
    left = round(item.x * image.width - across / 2)
    top = round(item.y * image.height - across / 2)
    mask = _shape_mask(item.shape, across, item.turn)
    fall = max(2, across // 22)
    shadow = mask.resize((across // 4 + 1, across // 4 + 1)).filter(ImageFilter.BoxBlur(1)).resize((across, across))
    image.paste((18, 18, 22), (left + fall, top + fall), shadow.point(_SHADOW))
    paint_ = PAINTS[item.colour]
    image.paste(paint_, (left, top), mask)
    if item.texture != "plain":
        period = max(6, round(PATTERN_PERIOD * shorter))
        pattern = _pattern(item.texture, period, int(rng.integers(3))).crop((0, 0, across, across))
        # The second colour is a shade of the first, so that a cell's mean colour still tells the colour.
        second = (150, 150, 156) if item.colour == "black" else tuple(int(value * 0.5) for value in paint_)
        image.paste(second, (left, top), ImageChops.multiply(mask, pattern))


_SHADOW = [value * 110 // 255 for value in range(256)]


def _light(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """Returns a soft light map: a slope across the picture and a spot, brightest 255."""
    across, down = np.meshgrid(np.linspace(-1, 1, 7), np.linspace(-1, 1, 7))
    angle, slope = rng.uniform(0, 2 * math.pi), rng.uniform(0.04, 0.16)
    centre_x, centre_y = rng.uniform(-0.8, 0.8, 2)
    light = 0.9 + slope * (math.cos(angle) * across + math.sin(angle) * down)
    light -= rng.uniform(0.02, 0.09) * ((across - centre_x) ** 2 + (down - centre_y) ** 2)
    light += rng.uniform(-0.05, 0.05, light.shape)
    tint = rng.uniform(0.95, 1.0, 3)
    small = np.clip(light[..., None] * tint * 255 / max(1.0, float(light.max())), 90, 255).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@functools.lru_cache(maxsize=64)
def _pattern(texture: str, period: int, variant: int) -> Image.Image:
    """Returns an L mask of 400 x 400 px: stripes in one of three directions, or spots."""
    y, x = np.mgrid[0:400, 0:400].astype(np.float32)
    if texture == "striped":
        along = (x + y, x * 1.4, y * 1.4)[variant] / 1.4
        on = along % period < period / 2
    else:
        row = np.floor(y / period)
        on = (((x + row % 2 * period / 2) % period - period / 2) ** 2
              + (y % period - period / 2) ** 2) < (0.33 * period) ** 2
    return Image.fromarray(np.where(on, 255, 0).astype(np.uint8))


def _shape_mask(shape: str, across: int, turn: float) -> Image.Image:
    """Returns an L mask of across x across px with the shape in it."""
    mask = Image.new("L", (across, across), 0)
    draw = ImageDraw.Draw(mask)
    if shape in ("circle", "ring"):
        draw.ellipse((0, 0, across - 1, across - 1), fill=255)
        if shape == "ring":
            hole = across * 0.27
            draw.ellipse((hole, hole, across - 1 - hole, across - 1 - hole), fill=0)
        return mask
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    half = across / 2
    draw.polygon([(half + half * (x * cos - y * sin), half + half * (x * sin + y * cos))
                  for x, y in _OUTLINES[shape]], fill=255)
    return mask


def _star() -> list[tuple[float, float]]:
    return [((1.0 if i % 2 == 0 else 0.45) * math.sin(math.pi * i / 5),
             -(1.0 if i % 2 == 0 else 0.45) * math.cos(math.pi * i / 5)) for i in range(10)]


def _heart() -> list[tuple[float, float]]:
    angles = [2 * math.pi * i / 40 for i in range(40)]
    return [(0.98 * math.sin(t) ** 3,
             -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16.5) for t in angles]


# Outlines in units of the half width, y down.
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.84, -0.84), (0.84, -0.84), (0.84, 0.84), (-0.84, 0.84)],
    "triangle": [(0, -0.98), (0.95, 0.78), (-0.95, 0.78)],
    "cross": [(-0.32, -0.96), (0.32, -0.96), (0.32, -0.32), (0.96, -0.32), (0.96, 0.32), (0.32, 0.32),
              (0.32, 0.96), (-0.32, 0.96), (-0.32, 0.32), (-0.96, 0.32), (-0.96, -0.32), (-0.32, -0.32)],
    "star": _star(),
    "heart": _heart(),
}
