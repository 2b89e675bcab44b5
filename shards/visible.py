"""Text from the web, made safe to look at: on a terminal and on a page nothing of it acts, and nothing of it hides."""
from __future__ import annotations

import re
import unicodedata

# Joiners shape Persian, Indic scripts and emoji; alone among the format characters they are left as they are.
_JOINERS = "\u200c\u200d"
_HIDDEN_CATEGORIES = ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
# More marks than this on one letter is a "zalgo" text that paints over its neighbours.
_MARKS = re.compile(r"([\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3})"
                    r"[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
_MARKER = re.compile(r"⟨U\+[0-9A-F]{4,6}⟩")


def visible(text: str) -> str:
    """Returns text with control, bidi and other unseen characters written out as `⟨U+202E⟩`.

    A line break or tab becomes a space; a marker that the text itself spells stays as it is.

    >>> visible("a cat\\u202egpj.exe\\x1b[31m")
    'a cat⟨U+202E⟩gpj.exe⟨U+001B⟩[31m'
    """
    text = _MARKS.sub(r"\1", text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if character in _JOINERS or unicodedata.category(character) not in _HIDDEN_CATEGORIES:
        return character
    return f"⟨U+{ord(character):04X}⟩"


def pieces(text: str) -> list[tuple[str, bool]]:
    """Returns `visible(text)` cut into (piece, is a marker), so that a page can set the markers apart."""
    shown, found, start = visible(text), [], 0
    for marker in _MARKER.finditer(shown):
        found += [(shown[start:marker.start()], False), (marker.group(), True)]
        start = marker.end()
    return [(piece, is_marker) for piece, is_marker in (*found, (shown[start:], False)) if piece]


def shortened(text: str, limit: int) -> str:
    """Returns at most `limit` characters: the two ends of the text around an ellipsis.

    >>> shortened("https://a.example/very/long/cat.jpg", 20)
    'https://a.…g/cat.jpg'
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[:limit - 1 - tail] + "…" + text[len(text) - tail:]
