"""Scenes are pure, their captions true and short enough, their pictures no flat drawings."""
from __future__ import annotations

import collections

import numpy as np
import pytest

from demo.scenes import CAMOUFLAGE, SIZES, draw_scene, render


@pytest.mark.parametrize("profile", ["first", "second"])
def test_captions_are_several_short_lower_case_and_speak_of_what_is_drawn(profile: str) -> None:
    for number in range(300):
        scene = draw_scene(3, number, profile)
        assert len(set(scene.captions)) >= 4
        for caption in scene.captions:
            assert 6 <= len(caption.split()) <= 20 and caption == caption.lower(), caption
            assert all(item.colour in caption and item.shape in caption for item in scene.objects), caption


def test_few_captions_are_shared_by_two_scenes() -> None:
    counts = collections.Counter(draw_scene(1, number).captions[0] for number in range(3000))
    assert len(counts) > 2980


def test_objects_are_big_apart_and_stand_out() -> None:
    for number in range(300):
        scene = draw_scene(1, number)
        width, height = scene.canvas
        assert min(width, height) > 300
        for item in scene.objects:
            low, high = SIZES[item.size]
            assert low <= item.diameter <= high and item.diameter * 320 >= 80
            assert CAMOUFLAGE[scene.background] != item.colour
        along = [item.x if scene.axis == "across" else item.y for item in scene.objects]
        gaps = zip(scene.objects, scene.objects[1:], along, along[1:], strict=False)
        assert all(b - a >= (one.diameter + other.diameter) / 2 for one, other, a, b in gaps)


def test_the_word_for_the_relation_is_where_the_objects_are() -> None:
    scene = next(scene for scene in (draw_scene(1, number) for number in range(50))
                 if len(scene.objects) == 2 and scene.axis == "across")
    first, second = scene.objects
    assert first.x < second.x
    caption = next(text for text in scene.captions if " to the left of " in text and not text.startswith("on "))
    assert caption.index(first.colour) < caption.index(second.colour)


def test_the_same_scene_is_the_same_and_another_is_another() -> None:
    assert draw_scene(5, 17) == draw_scene(5, 17)
    assert len({draw_scene(seed, number, profile) for seed in (1, 2) for number in (1, 2)
                for profile in ("first", "second")}) == 8


def test_a_picture_is_grainy_everywhere_and_scaled_not_redrawn() -> None:
    scene = draw_scene(1, 4)
    width, height = scene.canvas
    pixels = np.asarray(render(scene, width, height), np.float32)
    tiles = pixels[:height // 16 * 16, :width // 16 * 16].reshape(height // 16, 16, width // 16, 16, 3)
    assert tiles.std(axis=(1, 3)).min() > 0.5                  # no 16 px tile is flat
    half = np.asarray(render(scene, width // 2, height // 2), np.float32)
    small = pixels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - small).mean() < 6
