"""Drawn scenes with known truth: what stands where, and the sentences that are true of it.

A scene is a pure function of (seed, scene_id, profile): objects with shape, colour, size, texture and place on one of
seven backgrounds.  Everything is big and plain enough that a small model which sees a 3x3 or 4x4 grid of cells can
learn it; `demo/paint.py` turns a scene into something that resembles a photograph.
"""
from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from demo.captions import PROFILES, write_captions
from demo.paint import paint

SHAPES = ("circle", "square", "triangle", "star", "heart", "cross", "ring")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink", "white", "black")
TEXTURES = ("plain", "striped", "spotted")
BACKGROUNDS = ("grass", "sand", "sea", "snow", "night sky", "brick wall", "wooden floor")
# Diameter as a share of the shorter side: at 320 px the smallest object is 84 px across.
SIZES = {"small": (0.265, 0.285), "medium": (0.355, 0.38), "large": (0.46, 0.485)}
# A colour that its background would swallow is not drawn there.
CAMOUFLAGE = {"grass": "green", "sand": "yellow", "sea": "blue", "snow": "white", "night sky": "black",
              "brick wall": "red", "wooden floor": "orange"}
CANVASES = ((320, 320), (352, 320), (320, 352), (384, 320))
MARGIN = 0.015                     # free space around an object, share of the shorter side


@dataclasses.dataclass(frozen=True, slots=True)
class SceneObject:
    """One object: its words, and where it stands."""

    shape: str
    colour: str
    size: str                      # small, medium, large
    texture: str                   # plain, striped, spotted
    x: float                       # centre, share of the width, 0 at the left
    y: float                       # centre, share of the height, 0 at the top
    diameter: float                # share of the shorter side
    turn: float                    # degrees, small


@dataclasses.dataclass(frozen=True, slots=True)
class Scene:
    """One scene: what is drawn, and what may truthfully be said of it."""

    scene_id: int
    objects: tuple[SceneObject, ...]   # 1 to 3; from left to right, or from top to bottom
    axis: str                      # "across" or "down": how the objects are lined up
    background: str
    canvas: tuple[int, int]        # width and height in px the scene is published at, both over 300
    look: int                      # seed of light, noise and crop
    captions: tuple[str, ...]      # at least 4 true sentences of 6 to 20 words, lower case


def draw_scene(seed: int, scene_id: int, profile: str = "first") -> Scene:
    """Returns the scene of that number: the same for the same arguments, in any process and order."""
    rng = np.random.default_rng([seed, scene_id, PROFILES.index(profile)])
    background = _pick(rng, BACKGROUNDS)
    count = int(rng.choice([1, 2, 3], p=[0.2, 0.6, 0.2]))
    axis = "across" if rng.random() < 0.5 else "down"
    sizes = _sizes(rng, count)
    colours = [colour for colour in COLOURS if colour != CAMOUFLAGE[background]]
    picked = rng.permutation(len(colours))[:count]
    places = _places(rng, [diameter for _, diameter in sizes], axis)
    objects = tuple(
        SceneObject(_pick(rng, SHAPES), colours[picked[i]], size, _pick(rng, TEXTURES), *places[i], diameter,
                    round(float(rng.uniform(-14, 14)), 2))
        for i, (size, diameter) in enumerate(sizes))
    canvas = CANVASES[int(rng.integers(len(CANVASES)))]
    look = int(rng.integers(2 ** 31))
    scene = Scene(scene_id, objects, axis, background, canvas, look, ())
    return dataclasses.replace(scene, captions=write_captions(scene, rng, profile))


def render(scene: Scene, width: int, height: int) -> Image.Image:
    """Returns the scene as an RGB image of width x height px: one picture, scaled where that is not its canvas."""
    image = paint(scene, *scene.canvas)
    return image if (width, height) == scene.canvas else image.resize((width, height), Image.Resampling.BILINEAR)


def _pick(rng: np.random.Generator, values: tuple[str, ...]) -> str:
    return values[int(rng.integers(len(values)))]


def _sizes(rng: np.random.Generator, count: int) -> list[tuple[str, float]]:
    """Returns (word, diameter) of each object, such that they fit beside each other."""
    while True:
        words = [_pick(rng, tuple(SIZES)) for _ in range(count)]
        sizes = [(word, round(float(rng.uniform(*SIZES[word])), 4)) for word in words]
        if sum(diameter for _, diameter in sizes) + 2 * MARGIN * count <= 1:
            return sizes


def _places(rng: np.random.Generator, diameters: list[float], axis: str) -> list[tuple[float, float]]:
    """Returns the centres as (x, y), lined up along the axis without touching; a lone object stands anywhere."""
    slack = 1 - sum(diameters) - 2 * MARGIN * len(diameters)
    gaps = rng.dirichlet(np.ones(len(diameters) + 1)) * slack
    places, edge = [], 0.0
    for diameter, gap in zip(diameters, gaps, strict=False):
        along = edge + gap + MARGIN + diameter / 2
        edge = along + diameter / 2 + MARGIN
        room = (1 - diameter) / 2 - MARGIN
        # Off the line by less than the neighbours are apart, so that "left of" and "above" stay plain to see.
        drift = room if len(diameters) == 1 else min(room, 0.14)
        beside = 0.5 + float(rng.uniform(-drift, drift))
        place = (along, beside) if axis == "across" else (beside, along)
        places.append((round(float(place[0]), 4), round(float(place[1]), 4)))
    return places
