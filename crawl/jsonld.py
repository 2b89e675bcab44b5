"""Which images does a page's JSON-LD name?  (schema.org `image`, `thumbnailUrl`, `ImageObject`)"""
from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

MAX_BYTES = 512 * 1024             # of one script
MAX_VALUES = 10_000                # JSON values looked at
MAX_IMAGES = 1_000                 # of one script
MAX_TEXT = 4_096                   # characters of a text that are looked at
_NOT_CONTENT = ("logo", "publisher")     # who speaks, not what is shown
_IMAGE_FIELDS = ("image", "thumbnailUrl", "primaryImageOfPage")
# JSON can spell half a pair ("\ud800"), which no encoding of ours holds.
_SURROGATE = re.compile("[\ud800-\udfff]")
_PIXELS = re.compile(r"([0-9]{1,6})(?:px)?")


@dataclasses.dataclass(frozen=True, slots=True)
class NamedImage:
    """One image of a JSON-LD script."""

    url: str                       # as written
    caption: str                   # of the ImageObject
    description: str               # of the thing whose image it is
    width: int
    height: int


def images_of(script: str) -> Iterator[NamedImage]:
    """Yields the images of one script in order, at most MAX_IMAGES; nothing from a script that is no JSON."""
    yield from itertools.islice(_all_images(script), MAX_IMAGES)


def _all_images(script: str) -> Iterator[NamedImage]:
    if len(script) > MAX_BYTES:
        return
    try:
        stack: list[Any] = [json.loads(script)]
    except (ValueError, RecursionError):
        return
    seen = 0
    while stack and seen < MAX_VALUES:
        value = stack.pop()
        seen += 1
        if isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            for field in _IMAGE_FIELDS:
                yield from _images(value.get(field), _text(value.get("description")))
            if _is_image(value):
                yield from _images(value, "")
            stack.extend(item for name, item in reversed(value.items())
                         if name not in _IMAGE_FIELDS and name not in _NOT_CONTENT and isinstance(item, (dict, list)))


def _images(value: Any, description: str) -> Iterator[NamedImage]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and item:
            yield NamedImage(item, "", description, 0, 0)
        elif isinstance(item, dict):
            url = _text(item.get("contentUrl")) or _text(item.get("url"))
            if url:
                yield NamedImage(url, _text(item.get("caption")) or _text(item.get("description")), description,
                                 _number(item.get("width")), _number(item.get("height")))


def _is_image(value: dict[str, Any]) -> bool:
    kind = value.get("@type")
    return kind == "ImageObject" or (isinstance(kind, list) and "ImageObject" in kind)


def _text(value: Any) -> str:
    return _SURROGATE.sub("\ufffd", value[:MAX_TEXT]) if isinstance(value, str) else ""


def _number(value: Any) -> int:
    if isinstance(value, dict):
        value = value.get("value")
    if isinstance(value, str) and (found := _PIXELS.fullmatch(value)):
        value = int(found[1])
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 100_000 else 0
