"""Which of the Latin code pages is a text written in?  By the letters of its language, which differ between them.

Statistics over single bytes take Portuguese for Romanian and Turkish for Icelandic: `ã` and `ă`, `ı` and `ý` share
a byte.  But no language has both letters, and none has `³` or `¿` inside a word.
"""
from __future__ import annotations

import re

# Encoding (as WHATWG calls it) -> the letters outside ASCII of each language that is written in it.
_ALPHABETS = {
    "windows-1252": ("áàâãçéêíóôõúü", "áéíñóúü", "àâæçéèêëîïôœùûüÿ", "äöüß", "àèéìíîòóùú", "åäöæøé", "áéíóúýþæöð",
                     "àçéèíïóòúü", "äëéèïöü"),
    "windows-1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áäčďéíĺľňóôŕšťúýž", "áéíóöőúüű", "čćđšž", "ăâîşţșț"),
    "windows-1254": ("çğıöşüâîûi̇",),
    "windows-1257": ("ąčęėįšųūž", "āčēģīķļņšūž", "äõöüšž"),
}
_ALPHABETS["iso-8859-2"] = _ALPHABETS["windows-1250"]
CODE_PAGES = tuple(_ALPHABETS)                     # the likelier first
_CODECS = {name: name.replace("windows-", "cp") for name in CODE_PAGES}
_MEETS = tuple((name, frozenset(letters)) for name in CODE_PAGES for letters in _ALPHABETS[name])
# A byte above 127 and a letter side by side: part of a word, whatever it stands for.
_IN_WORD = re.compile(rb"(?<=[A-Za-z])[\x80-\xff]+|[\x80-\xff]+(?=[A-Za-z])")


def code_page(sample: bytes) -> str:
    """Returns the code page in which the bytes above 127 inside words are letters of one language, "" without any.

    Of several in which they are, the first of CODE_PAGES: then they are mostly the same letters.

    >>> code_page("uma decisão".encode("cp1252")), code_page("çok altyazı".encode("cp1254"))
    ('windows-1252', 'windows-1254')
    """
    inside = b"".join(_IN_WORD.findall(sample))
    if not inside:
        return ""
    counts = {name: _counts(inside.decode(codec, errors="replace").lower()) for name, codec in _CODECS.items()}
    shares = [(sum(count for letter, count in counts[name].items() if letter in letters), -CODE_PAGES.index(name), name)
              for name, letters in _MEETS]
    most, _, name = max(shares)
    return name if most else ""


def _counts(text: str) -> dict[str, int]:
    return {letter: text.count(letter) for letter in set(text)}
