"""Words and spans that web pages put around captions: what filter/captions.py cuts and refuses."""
from __future__ import annotations

import pathlib
import re
from collections.abc import Iterable

_SUFFIX = r"(?:jpe?g|png|gif|webp|bmp|tiff?|svg|avif|ico|heic|pdf|php|html?)"
URL = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"']+|\b[a-z0-9\-]+\.(?:com|org|net|io|co\.uk)(?:/[^\s<>\"']*)?\b",
                 re.IGNORECASE)
EMAIL = re.compile(r"\b[\w.+\-]{1,64}@[a-z0-9\-]{1,63}(?:\.[a-z0-9\-]{1,63}){1,4}\b", re.IGNORECASE)
# Bounded, or a text of stops takes the square of its length.
FILE_NAME = re.compile(rf"\b[\w\-%.()]{{1,120}}\.{_SUFFIX}\b", re.IGNORECASE)
# The whole text is a file's name, a camera's number or a slug: IMG_2034, DSC-0041.JPG, red_car-2.
WHOLE_FILE_NAME = re.compile(
    rf"^(?:[\w\-%.() /\\]*\.{_SUFFIX}|(?:img|dsc[nf]?|dcim|pict?|image|photo|p|mvi|screen[ _\-]?shot|scan|untitled)"
    r"[ _\-]*\d[\w \-:.]*|[a-z0-9]+(?:_[a-z0-9]+)+|[a-z]+(?:-[a-z0-9]+){2,}|[0-9a-f\-]{12,}|\d[\d_\- x.]*)$",
    re.IGNORECASE)

SPAM_PHRASE = re.compile(
    r"\b(?:limited offer|best price|lowest price|free shipping|near me|(?:on|for) sale|special offer|money back|"
    r"act now|click here for|order now|satisfaction guaranteed)\b|>>>|\${2,}", re.IGNORECASE)
_FLAGS = re.IGNORECASE
_BY = r"(?:photo(?:graph(?:y|ed|s)?|s)?|image|picture|illustration|drawing|drawn|shot|art(?:work)?|graphic)s?"
_NAME = r"[A-Z][\w.'\-]*(?:\s+(?:of|the|and|&|de|van|von|[A-Z][\w.'\-]*)){0,5}"
# A sentence that only says whose the picture is: "From the painting by J. Doe.", "H. J. Shepstone."
CREDIT = re.compile(
    r"^(?:(?i:(?:re)?produced\b|reproduction\b|(?:[a-z]+ed )?(?:by|with) (?:kind )?permission|courtesy\b|"
    r"from (?:an? |the )?(?:[a-z]+ )?(?:photo(?:graph)?s?|reconstruction|painting|drawing|engraving|book|original|"
    r"collection|print|sketch)\b.{0,60}$)|"
    r"(?:[A-Z]\.\s?)+[A-Z][\w\-]+(?:, [A-Z.]+)?\.?$)")
# Each with small letters of which it needs one: `in` costs a hundredth of a search that fails at every character.
_CUT_SPANS = tuple((needed, re.compile(pattern, flags)) for needed, pattern, flags in (
    (("credit", "source", "courtesy"),
     r"[(\[]\s*(?:photo\s+|image\s+|modification of work\s+)?(?:credits?|source|courtesy)\b[^()\[\]]{0,120}[)\]]",
     _FLAGS),
    # A number in mid-text comes after the credit and before the caption: "Yerkes Observatory. FIG. 11.-MARS".
    (("fig",),
     r"^.{0,120}?\bfig(?:ure)?\.?\s*\d+\.?\s*[\-–—]+\s*", _FLAGS),
    # Whose picture it is.  A name is words that begin with a capital, so the sentence after it survives.
    (("by", "courtesy", "credit", "source", ":"),
     rf"[(\[]?\b(?i:{_BY}\s+(?:by|courtesy(?:\s+of)?|credits?|source)|credits?\s*:|source\s*:|courtesy\s+of|"
     rf"via\s*:|photographer\s*:|photo\s*:|image\s*:|picture\s*:)\s*:?\s*[@©]?\s*{_NAME}"
     rf"(?:\s*/\s*{_NAME})*[)\]]?\.?", 0),
    (("©", "(c)", "copy"),
     r"[(\[]?(?:©|\(c\)|&copy;|\bcopyright\b)\s*(?:©|\(c\))?\s*(?:\d{4}(?:\s*[\-–]\s*\d{4})?)?"
     # A stop inside a word is that of an address, one after a letter that of an initial: "© a.example", "© J. Doe".
     r"(?:[^.()\[\]|]|\.(?=\w)|(?<=\b\w)\.){0,60}[)\]]?\.?", _FLAGS),
    (("reserved",),
     r"\ball rights reserved\b\.?", _FLAGS),
    # What to do with it.
    (("click", "tap"),
     r"[(\[]?\b(?:please\s+)?(?:click|tap)(?:\s+(?:on\s+)?(?:the\s+|this\s+)?(?:here|image|photo|picture|thumbnail|"
     r"to|for|through))+[^.()\[\]|]{0,60}[)\]]?\.?", _FLAGS),
    (("scroll",),
     r"[(\[]?\b(?:please\s+)?scroll\s+(?:up|down|right|left)\b[^.()\[\]|]{0,60}[)\]]?\.?", _FLAGS),
    (("enlarge", "view", "see", "open", "show"),
     r"[(\[]?\b(?:enlarge|view|see|open|show)\s+(?:this\s+|the\s+)?(?:larger?|full(?:[ \-]size)?|bigger|original|"
     r"high[ \-]res(?:olution)?|image|photo|picture)(?:\s+(?:image|photo|picture|version|size|resolution|in\s+\w+|"
     r"full\s+size|gallery))*[)\]]?\.?", _FLAGS),
    (("open",),
     r"[(\[]?\b(?:opens?|open)\s+(?:link\s+)?in\s+(?:a\s+)?new\s+(?:tab|window)[)\]]?\.?", _FLAGS),
    (("more",),
     r"\b(?:read|learn|see|find out|show)\s+more\b[^\w]*$", _FLAGS),
    (("now", "today", "online", "here"),
     r"\b(?:buy|order|shop|subscribe|download|sign\s+up|book|call)\s+(?:it\s+)?(?:now|today|online|here)\b[.!]*",
     _FLAGS),
    (("add",),
     r"\badd\s+to\s+(?:cart|basket|bag|wish\s?list|favou?rites)\b[.!]*", _FLAGS),
    (("pin", "share", "save", "like", "tweet"),
     r"\b(?:pin|share|save|like|tweet)\s+(?:it|this)(?:\s+(?:on|to|with)\s+\w+)?\b[.!]*", _FLAGS),
    (("stock",),
     r"[|,\-–:(]*\s*\b(?:royalty[ \-]free\s+)?(?:free\s+)?stock\s+(?:photo(?:graph(?:y)?)?|image|picture|vector|"
     r"illustration|footage|video)s?\b\s*\)?(?:[#:]?\s*\d+)?", _FLAGS),
    (("royalty",),
     r"\broyalty[ \-]free\b(?:\s+(?:photo|image|picture|vector)s?)?", _FLAGS),
    (("wallpaper", "background", "clip"),
     r"\b(?:free\s+)?(?:hd\s+)?(?:wallpapers?|desktop backgrounds?|clip\s?art)\s*(?:download|hd|free)?\b\s*$", _FLAGS),
    (("x", "×"),
     r"[(\[]?\b\d{2,5}\s*[x×]\s*\d{2,5}(?:\s*(?:px|pixels))?[)\]]?", _FLAGS),
    (("(", "["),
     r"[(\[]\s*(?:image|photo|picture|illustration|thumbnail|video|gallery|\d+ of \d+)\s*[)\]]", _FLAGS),
    (("thumbnail", "preview", "image", "picture"),
     r"^\s*(?:thumbnail|preview|featured image|hero image|cover image|post image|profile picture)\s*[:\-–]\s*", _FLAGS),
))


def cut_spans(text: str) -> str:
    """Returns a text with a space for each credit, offer, instruction and size in it."""
    small = small_letters(text)            # of the whole text: what is cut adds no letter to what is left
    for needed, pattern in _CUT_SPANS:
        if _has(small, needed):
            text = pattern.sub(" ", text)
    return text


def speaks_spam(text: str) -> bool:
    """Returns whether a text holds a phrase of trade."""
    return _has(small_letters(text), _SPAM_PARTS) and SPAM_PHRASE.search(text) is not None


def small_letters(text: str) -> str:
    """Returns a text in small letters, as `re.IGNORECASE` sees them: four letters outside of ASCII match i, s and k."""
    return text.lower() if text.isascii() else text.translate(_LIKE_ASCII).lower()


def _has(small: str, parts: Iterable[str]) -> bool:
    for part in parts:                     # noqa: SIM110, a generator in any() takes twice as long
        if part in small:
            return True
    return False


_LIKE_ASCII = str.maketrans("\u0130\u0131\u017f\u212a", "iisk")
_SPAM_PARTS = (" offer", " price", "shipping", "near me", " sale", "money back", "act now", "click here", "order now",
               "guaranteed", ">>>", "$$")


def word_list(name: str) -> frozenset[str]:
    """Returns the lines of a file in data/ that are no comments."""
    text = (pathlib.Path(__file__).parent / "data" / name).read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))


BOILERPLATE = word_list("boilerplate.txt")      # whole texts, normalised (filter.captions.normalise_caption)
MENU_WORDS = word_list("menu_words.txt")
SPAM = word_list("spam_words.txt")
CONTACT_WORDS = word_list("contact_words.txt")
