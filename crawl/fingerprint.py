"""What does a page say, in 16 letters?  Pages that say the same have the same fingerprint, whatever their bytes.

A page that answers under every name (a soft 404, a session in the path, the same goods sorted otherwise) differs in
dates, counters, the name it was asked by and its tracking pixel, not in words and pictures.  A gallery whose pages
share every word differs in its pictures.
"""
from __future__ import annotations

import hashlib
import re
import string
import zlib
from collections.abc import Iterable

from crawl import urls
from crawl.records import Candidate

_TEXT = 16_384                     # characters that are looked at
_PIXEL = 2                         # px: what is declared so small shows nothing
_NAME = 3                          # letters; a shorter piece of a URL is no name of it
# Two pages with a share J of their pieces in common have equal sketches with probability J ** _SKETCH.
_SKETCH = 8
# Text is cut into pieces at a few letters, so that words put in move no other cut: pieces of a dozen words in Latin
# scripts, and of as much where other bytes of UTF-8 are cut at.  Splitting into words took three times as long.
_CUTS = b"bB\x8b\xa5\xb5"
_LETTERS = bytes.maketrans(_CUTS, b"\n" * len(_CUTS))
_NO_LETTERS = (string.digits + string.punctuation + string.whitespace + "\x1e").encode()


def fingerprint(text: str, url: str, images: Iterable[Candidate]) -> str:
    """Returns 16 hex digits of what a page says: its pictures, and a sketch of its text.

    Args:
        text: all its visible text.
        url: the names in its own URL do not count, for many a page repeats what it was asked for.
        images: its candidates; tracking pixels do not count.

    The sketch is the smallest hashes of the text's pieces (bottom-k, Broder 1997): pages that differ in one piece of a
    hundred mostly share it, pages that differ in one of five mostly do not.
    """
    letters = _letters(text[:_TEXT])
    for name in re.split(r"[/?&=]", urls.target(url)):
        own = _letters(name)
        if len(own) >= _NAME:
            letters = letters.replace(own, b"")
    sketch = sorted(map(zlib.crc32, {*letters.split(b"\n")} - {b""}))[:_SKETCH]
    shown = sorted({image.image_key for image in images
                    if not 0 < max(image.declared_width, image.declared_height) <= _PIXEL})
    return hashlib.sha256(" ".join([*shown, "|", *map(str, sketch)]).encode()).hexdigest()[:16]


def _letters(text: str) -> bytes:
    return text.encode("utf-8", "replace").translate(_LETTERS, _NO_LETTERS)
