"""Numbers that tell whether a caption describes its image: the paper's three groups (section 1.4), all cheap.

Text only, image only, and between the two.  Every value is on the grid, so a score does not hang on a last bit.
"""
from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from filter.captions import normalise_caption, words_of
from filter.colours import colours_named
from filter.judging import SOURCES
from filter.language import stop_words
from filter.records import Caption, ImageFacts, Judged, on_grid
from filter.vocabulary import unknown_share

TEXT_FEATURES = (
    *(f"source_{source}" for source in SOURCES), "words", "length_fit", "characters_per_word", "function_share",
    "unknown_share", "capital_share", "digit_share", "ends_sentence", "distinct_share", "colour_words", "cut_share",
    "person_share")
IMAGE_FEATURES = ("log_pixels", "aspect", "natural", "entropy", "deviation", "in_main", "log_images_on_page",
                  "from_head")
CROSS_FEATURES = ("file_name_overlap", "page_title_overlap", "is_page_title", "colours_found", "colours_missing",
                  "sources_agreeing", "cosine")
COSINE_NOT_RUN = -1.0              # no network saw the pair, and no cosine of one is so low
FEATURES = TEXT_FEATURES + IMAGE_FEATURES + CROSS_FEATURES
# Who speaks of himself or to the reader describes no picture.
_PERSONS = frozenset(("i", "me", "my", "mine", "we", "us", "our", "ours", "you", "your", "yours"))
_FOUND_SHARE = 0.01                # of the image's area: a colour that is there


def pair_features(facts: ImageFacts, row: Judged, caption: Caption, cosine: float = math.nan) -> tuple[float, ...]:
    """Returns the values of FEATURES for one image and one caption of one occurrence; NaN: no network saw them."""
    values = (*_text_values(caption), *_image_values(facts, row), *_cross_values(facts, row, caption),
              cosine if math.isfinite(cosine) else COSINE_NOT_RUN)
    return tuple(map(on_grid, values))


def _text_values(caption: Caption) -> tuple[float, ...]:
    words = words_of(caption.text)
    lowered = [word.lower() for word in words]
    count = max(len(words), 1)
    letters = [character for character in caption.text if character.isalnum()]
    return (
        *(float(caption.source == source) for source in SOURCES), float(min(len(words), 50)),
        math.exp(-((math.log(count) - math.log(10)) / 0.9) ** 2), sum(map(len, words)) / count,
        sum(word in stop_words() for word in lowered) / count, unknown_share(lowered),
        sum(word[0].isupper() for word in words[1:]) / count,
        sum(character.isdigit() for character in letters) / max(len(letters), 1),
        float(caption.text.rstrip("\"')]")[-1:] in (".", "!", "?")), len(set(lowered)) / count,
        float(len(colours_named(lowered))), 1 - min(1.0, len(caption.text) / max(len(caption.raw), 1)),
        sum(word in _PERSONS for word in lowered) / count)


def _image_values(facts: ImageFacts, row: Judged) -> tuple[float, ...]:
    return (
        math.log(max(facts.width * facts.height, 1)), abs(math.log(max(facts.width, 1) / max(facts.height, 1))),
        facts.natural, facts.entropy, facts.deviation, float(row.in_main), math.log1p(row.images_on_page),
        float(not row.found_in.startswith(("img", "picture", "source", "noscript"))))


def _cross_values(facts: ImageFacts, row: Judged, caption: Caption) -> tuple[float, ...]:
    words = normalise_caption(caption.text).split()
    content = {word for word in words if word not in stop_words() and len(word) > 2}
    named = colours_named(words)
    found = sum(facts.colours[colour] >= _FOUND_SHARE for colour in named) if facts.colours else 0
    others = [set(normalise_caption(other.text).split()) for other in row.captions
              if other.text and other.source != caption.source]
    return (
        _overlap(content, file_words(row.image_url)), _overlap(content, normalise_caption(row.page_title).split()),
        float(normalise_caption(caption.text) == normalise_caption(row.page_title)), float(found),
        float(len(named) - found), max((_overlap(content, sorted(other)) for other in others), default=0.0))


def _overlap(content: set[str], others: Sequence[str]) -> float:
    return len(content & set(others)) / len(content) if content else 0.0


def file_words(url: str) -> list[str]:
    """Returns the words of a URL's file name.

    >>> file_words("https://a.example/i/red-Barn_at%20dusk2.jpg?x=1")
    ['red', 'barn', 'at', 'dusk']
    """
    stem = posixpath.splitext(posixpath.basename(unquote(urlsplit(url).path)))[0]
    return re.findall(r"[a-z]{2,}", re.sub(r"([a-z])([A-Z])", r"\1 \2", stem).lower())
