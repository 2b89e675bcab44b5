"""Which images does a style attribute put behind an element?  (CSS Syntax Level 3, CSS Images Level 4)

Only `background` and `background-image` count.  A style is looked at once, token by token: a semicolon or a comma
inside a URL, a string or a comment ends nothing.
"""
from __future__ import annotations

import re
from collections.abc import Iterator

from crawl.srcset import Offer

MAX_STYLE = 65_536                 # characters of one attribute that are looked at
MAX_IMAGES = 16                    # of one attribute
_PROPERTIES = ("background", "background-image")
_SETS = ("image-set", "-webkit-image-set")
_TOKEN = re.compile(r"""
    /\*.*?(?:\*/|\Z)
  | (?P<url>url\(\s*(?P<bare>(?:[^"'()\\\s\x00-\x1f\x7f]|\\[^\n])*)\s*(?:\)|\Z))
  | "(?P<double>(?:[^"\\\n]|\\.)*)(?:"|\Z)
  | '(?P<single>(?:[^'\\\n]|\\.)*)(?:'|\Z)
  | (?P<density>[0-9]{0,9}(?:\.[0-9]{1,9})?)(?:x|dppx)\b
  | (?P<name>-{0,2}[a-z_][a-z0-9_-]*)(?P<opens>\()?
  | (?P<mark>[;:()])
  | .""", re.VERBOSE | re.DOTALL | re.IGNORECASE)
# 4.3.7: up to six hexadecimal digits and one white space; a line's end is dropped; any other character is itself.
_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})(?:\r\n|[ \t\n\r\f])?|(\r\n|[\n\r\f])|(.))", re.DOTALL)


def background_images(style: str) -> tuple[Offer, ...]:
    r"""Returns the images of a style attribute's backgrounds in order, URLs as written; density from image-set.

    >>> [offer.url for offer in background_images("color: red; background: #fff url( 'a;b.jpg' ) no-repeat")]
    ['a;b.jpg']
    >>> background_images(r"background-image: image-set(url(a\29.png) 1x, 'b.png' 2x type('image/png'))")[1]
    Offer(url='b.png', width=0, density=2.0)
    """
    found: list[Offer] = []
    for url, density in _images(style[:MAX_STYLE]):
        if url:
            found.append(Offer(url, 0, density))
        elif found:
            found[-1] = Offer(found[-1].url, 0, density)
        if len(found) >= MAX_IMAGES:
            break
    return tuple(found)


def urls_of(value: str) -> list[str]:
    """Returns the URLs of an attribute that holds a URL, or several `url(...)`, as lazy scripts take both.

    The densest of a set comes first; there is always one, be it no URL.

    >>> urls_of("url('a.jpg'), url(b.jpg)"), urls_of("a.jpg")
    (['a.jpg', 'b.jpg'], ['a.jpg'])
    """
    offers = background_images(f"background:{value}") if "(" in value else ()
    return [offer.url for offer in sorted(offers, key=lambda offer: -offer.density)] or [value]


def _images(style: str) -> Iterator[tuple[str, float]]:
    """Yields (URL, 1.0) for each image, and ("", density) for a resolution said of the one before."""
    named, name, functions = "", "", [""]          # the property, the last word, the open functions
    for token in _TOKEN.finditer(style):
        text = token["double"] if token["double"] is not None else token["single"]
        wanted = named in _PROPERTIES
        if token["url"] is not None:
            if wanted and token["bare"]:
                yield unescape(token["bare"]), 1.0
        elif text is not None:
            if wanted and text and functions[-1] in ("url", "src", *_SETS):
                yield unescape(text), 1.0
        elif token["density"]:
            if wanted and functions[-1] in _SETS:
                yield "", float(token["density"])
        elif token["name"] is not None:
            name = token["name"].lower()
            if token["opens"]:
                functions.append(name)
        elif token["mark"] == "(":
            functions.append("")
        elif token["mark"] == ")":
            if len(functions) > 1:
                functions.pop()
        elif token["mark"] == ";" and len(functions) == 1:
            named = name = ""
        elif token["mark"] == ":" and len(functions) == 1 and not named:
            named = name


def unescape(text: str) -> str:
    r"""Returns the value of a string or URL token.

    >>> unescape(r"a\20 b\
    ... c\(d")
    'a bc(d'
    """
    return _ESCAPE.sub(_character, text) if "\\" in text else text


def _character(match: re.Match[str]) -> str:
    if match[1]:
        number = int(match[1], 16)
        return "\ufffd" if number == 0 or number > 0x10FFFF or 0xD800 <= number < 0xE000 else chr(number)
    return match[3] or ""
