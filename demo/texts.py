"""The texts a page puts beside each image: true captions in various places, or whatever is worse."""
from __future__ import annotations

import dataclasses
import random

from demo.foreign import LANGUAGES, foreign_caption
from demo.plan import Slot
from demo.scenes import draw_scene
from demo.web import SyntheticWeb
from demo.words import (
    WORDS,
    banner_text,
    date_text,
    dice,
    file_name,
    screenshot_text,
    shared_caption,
    spam,
    worse_caption,
)

SHARED_GROUP = 14                  # at least so many images bear one shared caption, where the web is big enough
_NEVER_DRAWN = 10 ** 9             # scenes from here on are on no page: their captions are fluent and true of nothing
_PLACES = ("alt", "figcaption", "both", "title", "aria", "heading", "surrounding", "decorated")
_WEIGHTS = {"first": (54, 20, 12, 4, 2, 2, 3, 3), "second": (46, 18, 14, 6, 3, 4, 6, 3)}


@dataclasses.dataclass(frozen=True, slots=True)
class Texts:
    """What stands with one image; "" where there is nothing."""

    alt: str = ""
    has_alt: bool = True
    figcaption: str = ""
    title: str = ""
    aria: str = ""
    heading: str = ""
    surrounding: str = ""


def texts_of(web: SyntheticWeb, slot: Slot, page_kind: str) -> Texts:
    """Returns the texts of one image on its page."""
    rng = dice(web.config.seed, "texts", slot.number)
    profile = web.config.profile
    if page_kind in LANGUAGES:
        text = foreign_caption(web.scene(slot.number), page_kind)
        return Texts(figcaption=text) if rng.random() < 0.3 else Texts(alt=text)
    distractor = _distractor_text(web, slot, rng)
    if distractor is not None:
        return Texts(figcaption=distractor) if distractor and rng.random() < 0.15 else Texts(alt=distractor)
    captions = web.scene(slot.number).captions
    return _captioned(rng, captions, rng.choices(_PLACES, _WEIGHTS[profile])[0], web.hosts[slot.host], profile)


def _distractor_text(web: SyntheticWeb, slot: Slot, rng: random.Random) -> str | None:
    """Returns the one text of an image that is not captioned truthfully, None for all others."""
    kind, profile = slot.kind.name, web.config.profile
    if kind == "duplicate":
        assert slot.scene_id is not None
        return worse_caption(rng, web.scene(slot.scene_id).captions, profile)
    if kind == "shared_caption":
        groups = max(1, web.images.counts[kind] // SHARED_GROUP)
        group = slot.member % groups
        return _written(dice(web.config.seed, "shared", group), shared_caption(group, profile))
    if kind == "alt_foreign":
        return foreign_caption(web.scene(slot.number), rng.choice(tuple(LANGUAGES)))
    if kind in ("placeholder", "mismatched"):
        other = draw_scene(web.config.seed, _NEVER_DRAWN + slot.number, profile)
        return _written(rng, other.captions[0])
    if kind == "flat_logo":
        return f"{web.hosts[slot.host]} logo"
    if kind == "chart":
        return f"number of visitors by year since {rng.randrange(1990, 2016)}"
    if kind == "no_caption":
        return ""
    writers = {"alt_file_name": file_name, "alt_spam": spam, "alt_date": date_text, "banner": banner_text,
               "text_screenshot": screenshot_text, "meme": screenshot_text}
    return writers[kind](rng, profile) if kind in writers else None


def _captioned(rng: random.Random, captions: tuple[str, ...], place: str, site: str, profile: str) -> Texts:
    """Returns texts with a true caption at that place; the alt text is worthless where the caption stands elsewhere."""
    caption = _written(rng, captions[0])
    poor = rng.choice(("", "", file_name(rng, profile), "photo", "picture"))
    if place == "alt":
        return Texts(alt=caption)
    if place == "both":
        return Texts(alt=caption, figcaption=_written(rng, captions[1]))
    if place == "decorated":
        return Texts(alt=rng.choice(WORDS[profile].decorated).format(caption=captions[0], site=site))
    if place == "figcaption":
        return Texts(alt=poor, figcaption=caption)
    if place == "heading":
        return Texts(alt=poor, heading=caption)
    if place == "surrounding":
        return Texts(alt=poor, surrounding=caption)
    return Texts(has_alt=False, title=caption) if place == "title" else Texts(has_alt=False, aria=caption)


def _written(rng: random.Random, caption: str) -> str:
    """Returns the caption as an editor would type it: sometimes with a capital, a full stop, a line break."""
    style = rng.randrange(10)
    if style >= 4:
        caption = caption[0].upper() + caption[1:]
    if style >= 8:
        caption += "."
    if style == 5:
        caption = caption.replace(" ", "\n    ", 1)
    return caption
