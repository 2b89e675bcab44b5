"""Which language is a text in?  Deterministic and offline: script, then frequent words, then telling letters.

The default needs no model.  A path to fastText's lid.176 (.bin or .ftz) makes that the judge. With either,
a short text without evidence is "und": a caption of three nouns says nothing about its language.
"""
from __future__ import annotations

import collections
import functools
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from crawl.errors import UsageError

UNDETERMINED = "und"
_STOP_WORDS = pathlib.Path(__file__).parent / "data" / "stop_words.txt"

# Scripts by code points.  Where a script is one language's, it decides; Latin and Cyrillic go on to words and letters.
_SCRIPTS = tuple((name, re.compile(f"[{ranges}]")) for name, ranges in (
    ("latin", "A-Za-z\u00aa\u00ba\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"),
    ("cyrillic", "\u0400-\u052f"), ("greek", "\u0370-\u03ff\u1f00-\u1fff"), ("arabic", "\u0600-\u06ff\u0750-\u077f"),
    ("hebrew", "\u0590-\u05ff"), ("devanagari", "\u0900-\u097f"), ("bengali", "\u0980-\u09ff"),
    ("tamil", "\u0b80-\u0bff"), ("thai", "\u0e00-\u0e7f"), ("hangul", "\uac00-\ud7af\u1100-\u11ff"),
    ("kana", "\u3040-\u30ff"), ("han", "\u3400-\u4dbf\u4e00-\u9fff"), ("georgian", "\u10a0-\u10ff"),
    ("armenian", "\u0530-\u058f")))
_LANGUAGE_OF_SCRIPT = {"greek": "el", "hebrew": "he", "devanagari": "hi", "bengali": "bn", "tamil": "ta", "thai": "th",
                       "hangul": "ko", "kana": "ja", "han": "zh", "georgian": "ka", "armenian": "hy"}
# Letters that few languages in Latin script use; each occurrence speaks for all that are named.
_LETTERS: Mapping[str, tuple[str, ...]] = {
    "ß": ("de",), "ä": ("de", "fi", "sv"), "ö": ("de", "fi", "sv", "hu", "tr"), "ü": ("de", "hu", "tr"),
    "ç": ("fr", "pt", "tr"), "è": ("fr", "it"), "ê": ("fr", "pt"), "ù": ("fr", "it"), "œ": ("fr",), "ñ": ("es",),
    "¿": ("es",), "¡": ("es",), "ã": ("pt",), "õ": ("pt",), "å": ("sv", "da", "no"), "ø": ("da", "no"),
    "æ": ("da", "no"), "ł": ("pl",), "ż": ("pl",), "ź": ("pl",), "ć": ("pl",), "ś": ("pl",), "ą": ("pl",), "ę": ("pl",),
    "ř": ("cs",), "ě": ("cs",), "ů": ("cs",), "č": ("cs",), "š": ("cs",), "ž": ("cs",), "ő": ("hu",), "ű": ("hu",),
    "ă": ("ro", "vi"), "ș": ("ro",), "ț": ("ro",), "ş": ("tr", "ro"), "ţ": ("ro",), "ğ": ("tr",), "ı": ("tr",),
    "đ": ("vi",), "ơ": ("vi",), "ư": ("vi",), "ạ": ("vi",), "ế": ("vi",), "ộ": ("vi",)}
_LETTERS_ONLY = re.compile(r"[^\W\d_]+")
_MIN_EVIDENCE = 0.75               # about one word that only one language has
_MIN_LEAD = 1.25                   # times the evidence of the second
_PAGE_CHARACTERS = 4000


def caption_language(text: str, lid_path: str = "") -> str:
    """Returns the ISO 639-1 code of a text's language, or "und" without enough evidence.

    >>> caption_language("Ein roter Kreis liegt links neben dem blauen Quadrat")
    'de'
    >>> caption_language("A heron stands in the water")
    'en'
    >>> caption_language("Golden Gate Bridge")
    'und'
    """
    if lid_path:
        return _by_fasttext(text, lid_path)
    return _by_words(text)


@functools.lru_cache(maxsize=512)
def page_language(text: str, html_lang: str, lid_path: str = "") -> str:
    """Returns the language of a page's visible text; what it declares counts where the text does not tell."""
    found = caption_language(text[:_PAGE_CHARACTERS], lid_path)
    declared = re.split(r"[-_]", html_lang.strip().lower())[0]
    return found if found != UNDETERMINED or not re.fullmatch(r"[a-z]{2,3}", declared) else declared


def _by_words(text: str) -> str:
    if text.isascii():
        return _latin(text)                # with no letters there is no evidence either
    scripts = collections.Counter({name: len(pattern.findall(text)) for name, pattern in _SCRIPTS})
    total = sum(scripts.values())
    if not total:
        return UNDETERMINED
    name, count = min(scripts.items(), key=lambda item: (-item[1], item[0]))
    if scripts["kana"] > 0.1 * (scripts["kana"] + scripts["han"]) and name in ("kana", "han"):
        name = "kana"
    if name == "cyrillic":
        return _cyrillic(text)
    if name == "arabic":
        return "fa" if re.search("[پچژگ]", text) else "ar"
    if name != "latin":
        return _LANGUAGE_OF_SCRIPT[name] if count > 0.4 * total else UNDETERMINED
    return _latin(text)


def _cyrillic(text: str) -> str:
    for code, letters in (("uk", "[іїєґІЇЄҐ]"), ("be", "[ўЎ]"), ("sr", "[ђћџљњјЂЋЏЉЊЈ]"), ("ru", "[ыэёЫЭЁ]")):
        if re.search(letters, text):
            return code
    return "bg" if re.search(r"\b(?:на|се|от|ще|със|както|това)\b", text) and re.search("[ъщ]", text) else "ru"


def _latin(text: str) -> str:
    evidence: dict[str, float] = collections.defaultdict(float)
    lowered = text.lower()
    for word in _LETTERS_ONLY.findall(lowered):
        for code, weight in _evidence_of().get(word, ()):
            evidence[code] += weight
    for letter, codes in _LETTERS.items() if not lowered.isascii() else ():
        for code in codes if (number := lowered.count(letter)) else ():
            evidence[code] += number / len(codes)
    ranked = sorted(evidence.items(), key=lambda item: (-round(item[1], 6), item[0]))
    if not ranked or ranked[0][1] < _MIN_EVIDENCE:
        return UNDETERMINED
    if len(ranked) > 1 and ranked[0][1] < _MIN_LEAD * ranked[1][1] and not _are_neighbours(ranked[0][0], ranked[1][0]):
        return UNDETERMINED
    return ranked[0][0]


def _are_neighbours(first: str, second: str) -> bool:
    """Danish and Norwegian: which of the two does not matter, that it is one of them does."""
    return {first, second} == {"da", "no"}


@functools.cache
def stop_words(language: str = "en") -> frozenset[str]:
    """Returns the frequent words of a language, lower-case; empty for one that data/stop_words.txt does not have."""
    return frozenset(word for word, codes in _words().items() if language in codes)


@functools.cache
def _words() -> dict[str, tuple[str, ...]]:
    languages: dict[str, list[str]] = {}
    for line in _STOP_WORDS.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            code, *words = line.split()
            for word in dict.fromkeys(words):
                languages.setdefault(word, []).append(code)
    return {word: tuple(codes) for word, codes in languages.items()}


@functools.cache
def _evidence_of() -> dict[str, tuple[tuple[str, float], ...]]:
    """What a word says for each of its languages; `e` and `o` are also labels."""
    return {word: tuple((code, (1 if len(word) > 1 else 0.4) / len(codes)) for code in codes)
            for word, codes in _words().items()}


@functools.cache
def load_model(path: str) -> Any:
    """Returns fastText's model from a file; raises UsageError for a path that is none."""
    if not pathlib.Path(path).is_file():
        raise UsageError(f"language model {path!r} is not a file; give the path of lid.176.bin or .ftz, "
                         f"or leave it empty")
    import fasttext  # built from source; only a run with a model needs it

    try:
        return fasttext.load_model(path)
    except (ValueError, RuntimeError, MemoryError) as error:
        raise UsageError(f"language model {path!r} is not one of fastText's ({error}); give lid.176.bin or .ftz, whole"
                         ) from error


def _by_fasttext(text: str, path: str, min_probability: float = 0.4) -> str:
    # predict("text") raises with numpy 2 (reference/environment.md); a line break inside would cut the text.
    found = load_model(path).f.predict(" ".join(text.split()) + "\n", 1, 0.0, "strict")
    if not found or found[0][0] < min_probability:
        return UNDETERMINED
    return str(found[0][1]).removeprefix("__label__")
