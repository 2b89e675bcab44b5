"""True sentences about a scene, in two profiles of templates that share no sentence frame."""
from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from demo.scenes import Scene, SceneObject

PROFILES = ("first", "second")
MIN_WORDS, MAX_WORDS = 6, 20

# background -> (where it happens, what lies behind), for each profile
PLACES = {
    "first": {
        "grass": ("on the green grass", "green grass in the background"),
        "sand": ("on the yellow sand", "yellow sand in the background"),
        "sea": ("on the blue sea", "the blue sea in the background"),
        "snow": ("on the white snow", "white snow in the background"),
        "night sky": ("in the night sky", "the night sky in the background"),
        "brick wall": ("by a brick wall", "a brick wall in the background"),
        "wooden floor": ("on a wooden floor", "a wooden floor in the background"),
    },
    "second": {
        "grass": ("across a grassy meadow", "a grassy meadow"),
        "sand": ("over a sandy beach", "a sandy beach"),
        "sea": ("over the open sea", "the open sea"),
        "snow": ("over a snowy field", "a snowy field"),
        "night sky": ("under the night sky", "the night sky"),
        "brick wall": ("along a brick wall", "a brick wall"),
        "wooden floor": ("over a wooden floor", "a wooden floor"),
    },
}

# {a} {b}: full descriptions with article, in order along the axis ({a} is the middle one of three); {sa}: colour and
# shape with one adjective, {ta}: without; {rel}: a to b, {inv}: b to a.
TEMPLATES: dict[str, dict[int, tuple[str, ...]]] = {
    "first": {
        1: ("{a} {spot} {where}",
            "{a} {where} {spot} of the picture",
            "there is {a} {where} {spot}",
            "{spot} of the photo {a} with {behind}",
            "a photo of {a} {where} {spot}"),
        2: ("{a} {rel} {b} {where}",
            "{b} {inv} {a} {where}",
            "{where} {a} is {rel} {b}",
            "{ta} {rel} {sb} with {behind}",
            "{sb} is {inv} {a} {where}",
            "a photo of {sa} {rel} {sb} {where}"),
        3: ("{a} between {sb2} {where}",
            "{sa}, {tb} and {sc} in a {line} {where}",
            "{ta} {rel} {tb} and {sc} {where}",
            "{sc} {inv} {tb} and {ta} {where}",
            "three objects {where}, {sa}, {sb} and {tc}"),
    },
    "second": {
        1: ("one can see {a} {spot}, {where}",
            "{behind} with {a} {spot}",
            "the frame holds {a} {where}, {spot}",
            "{spot}, {a} appears {where}",
            "we found {a} {where} {spot} that day"),
        2: ("{behind} where {a} sits {rel} {b}",
            "{a} sits {rel} {sb}, {where}",
            "we found {sa} {rel} {b} {where}",
            "looking at {sb} placed {inv} {sa} {where}",
            "{behind} behind {sa} and {sb}, one {line}"),
        3: ("{behind} holding {sa}, {sb} and also {sc}",
            "we found {sa} {rel} {sb}, then {tc} {where}",
            "seen {where}: {sc}, {sb} and {sa}",
            "{sc} sits {inv} {sb} near {ta}, {where}",
            "{sb} in the middle of {ta} and {sc} {where}"),
    },
}

RELATIONS = {
    "first": {"across": ("to the left of", "to the right of", "row"), "down": ("above", "below", "column")},
    "second": {"across": ("left of", "right of", "beside the other"), "down": ("over", "under", "on top of the other")},
}


def write_captions(scene: Scene, rng: np.random.Generator, profile: str) -> tuple[str, ...]:
    """Returns at least 4 different true sentences of 6 to 20 words, lower case, in an order drawn from `rng`."""
    objects: tuple[SceneObject, ...] = scene.objects
    where, behind = PLACES[profile][scene.background]
    rel, inv, line = RELATIONS[profile][scene.axis]
    slots: dict[str, str] = {"where": where, "behind": behind, "rel": rel, "inv": inv, "line": line,
             "spot": _spot(objects[0]) if len(objects) == 1 else ""}
    for letter, item in zip("abc", objects, strict=False):
        slots[letter] = _article(f"{item.size} {item.texture} {item.colour} {item.shape}")
        slots["s" + letter] = _article(_short(item))
        slots["t" + letter] = _article(f"{item.colour} {item.shape}")
    if len(objects) == 3:
        slots["a"] = _article(f"{objects[1].size} {objects[1].texture} {objects[1].colour} {objects[1].shape}")
        slots["sb2"] = f"{_article(_short(objects[0]))} and {_article(_short(objects[2]))}"
    sentences = [" ".join(template.format(**slots).split()) for template in TEMPLATES[profile][len(objects)]]
    return tuple(sentences[i] for i in rng.permutation(len(sentences)))


def _short(item: SceneObject) -> str:
    """Returns colour and shape with the more telling of size and texture."""
    return f"{item.size if item.texture == 'plain' else item.texture} {item.colour} {item.shape}"


def _article(words: str) -> str:
    return ("an " if words[0] in "aeio" else "a ") + words


def _spot(item: SceneObject) -> str:
    """Returns where a lone object stands, in thirds of the picture."""
    across = "left" if item.x < 0.42 else "right" if item.x > 0.58 else ""
    down = "top" if item.y < 0.42 else "bottom" if item.y > 0.58 else ""
    if across and down:
        return f"at the {down} {across}"
    if down:
        return f"at the {down}"
    return f"on the {across}" if across else "in the middle"
