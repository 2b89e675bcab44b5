"""Which texts can be captions?  Cleaning, then rules; the first failing rule names the reason.

Paper section 1.3: text of the alt and title attributes, the OG description and the surroundings; spans of noise are cut
out, sentences of normal length are kept, sentences with too many unknown words are dropped.
"""
from __future__ import annotations

import dataclasses
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator

from filter.noise import (
    BOILERPLATE,
    CREDIT,
    EMAIL,
    FILE_NAME,
    MENU_WORDS,
    SPAM,
    URL,
    WHOLE_FILE_NAME,
    cut_spans,
    speaks_spam,
)
from filter.personal import EMAIL_MASK, KEEP, POLICIES, REJECT, has_masks, masked, shown
from filter.reasons import check_reasons
from filter.sentences import WINDOW, whole_sentences
from filter.vocabulary import unknown_share
from filter.word_kinds import KINDS, missing_kinds

# The rules that can be switched off; of a text of which nothing is left (empty, boilerplate) there is nothing to keep.
CAPTION_REASONS = ("source_not_used", "file_name", "personal_data", "cut_off", "spam_words", "boilerplate",
                   "mostly_symbols", "too_few_words", "too_few_characters", "credit", "menu_text", "too_many_digits",
                   "repeated_words", "too_many_words", "out_of_vocabulary", "no_determiner", "no_preposition",
                   "no_content_word", "other_language")


@dataclasses.dataclass(frozen=True, slots=True)
class CaptionRules:
    """The limits of `reject_caption`; each is a `--set captions.NAME=VALUE` of the judge stage."""

    min_words: int = 3                   # paper: "normal length"; below 3 words it is a label
    max_words: int = 40                  # 41 word pieces is all the model reads (paper section 2.2)
    max_characters: int = 400            # 40 words of 10 characters
    max_digit_share: float = 0.25        # digits among letters and digits: serial numbers, prices, dates
    max_symbol_share: float = 0.35       # neither letter, digit nor space, among all characters
    max_repeat_share: float = 0.5        # of the most common word, from 4 words on: "buy buy buy shoes"
    max_unknown_share: float = 0.4       # words that are not spelt like English (filter/vocabulary.py)
    max_menu_share: float = 0.5          # words of navigation: home, contact, login
    max_spam_words: int = 0              # words of filter/noise.py:SPAM that are let pass
    min_characters: int = 0              # of a cleaned caption
    needs: tuple[str, ...] = ()          # kinds of words it must have: determiner, preposition, content_word
    sources: tuple[str, ...] = ()        # texts that may be captions (filter/judging.py: SOURCES); empty: all
    clean: bool = True                   # false: white space and entities alone, and a long text stays whole
    personal_data: str = "reject"        # reject; mask: <email>, <phone>, <number> in its place; keep
    let_pass: tuple[str, ...] = ()       # reasons of CAPTION_REASONS that reject nothing

    def __post_init__(self) -> None:
        check_reasons(self.let_pass, CAPTION_REASONS)
        if self.personal_data not in POLICIES:
            raise ValueError(f"personal_data is {self.personal_data!r}; choose {', '.join(POLICIES)}")
        unknown = sorted(set(self.needs) - set(KINDS))
        if unknown:
            raise ValueError(f"needs names {unknown[0]!r}; choose of {', '.join(KINDS)}")


# The sources in which a text of several sentences is usual: one sentence is taken from them whatever their length.
RUNNING_TEXT = ("surrounding", "og_description", "table")
_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_LETTERS_AND_DIGITS = re.compile(r"[^\W_]+")
_TAG = re.compile(r"</?[a-zA-Z][^<>]{0,200}>")
_HASHTAG_TAIL = re.compile(r"(?:\s*#\w+)+\s*$")
_MENTION = re.compile(r"(?<!\w)@\w{2,}")
_BRACKETED = re.compile(r"^\W*\[([^\[\]]{3,})\]\W*$")
_LABEL = re.compile(r"^(?:fig(?:ure|\.)?|illustration|image|picture|photo(?:graph)?|plate|diagram|"
                    r"photo caption|caption)\s*(?:[\dIVXLC]+(?:[.\-]\d+)*[a-z]?)?\s*[.:\-–—]+\s*", re.IGNORECASE)
_BRACKET_NOTE = re.compile(r"\[[^\[\]]{0,40}\]")
_EMPTY_BRACKETS = re.compile(r"[(\[{]\s*[)\]}]")
_REPEATED_MARK = re.compile(r"([!?.,;:\-_=*~|])\1{1,}")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.;:!?])")
_SITE_SUFFIX = re.compile(r"\s+(?:[|»•]\s+[^|»•]{1,60}|[-–—:]\s+(?:[\w\-]+\.)+[a-z]{2,10}(?:\s\w+){0,2})$")
# A program cut it in mid-sentence.
_CUT_OFF = re.compile(r"\w\s*(?:\.{3,}|…)\s*(?:read more|more)?[\s\])]*$", re.IGNORECASE)
_QUOTES = str.maketrans({"‘": "'", "’": "'", "“": '"', "”": '"', "„": '"', "\u00a0": " ", "\u00ad": None})
_DOT_INSIDE = re.compile(r"\.\S|://")    # every address and file name has one
_SUFFIX_MARK = re.compile(r"[|»•\-–—:]")
_EDGES = " \t-–—:|,;•*_/\\<>=~^+«»"


def clean_caption(text: str) -> str:
    """Returns the caption inside a text, "" when nothing is left: no markup, addresses, credits, emoji or shouting.

    >>> clean_caption("[Figure 3: A HERON AND ITS NEST &amp; EGGS]")
    'A heron and its nest & eggs'
    >>> clean_caption("Two dogs on a beach. Photo by J. Doe (click to enlarge) #dogs #beach")
    'Two dogs on a beach.'
    """
    text = unicodedata.normalize("NFC", html.unescape(html.unescape(text))).translate(_QUOTES)
    text = (_TAG.sub(" ", text) if "<" in text else text).translate(_NOISE)
    # Here and below a mark that the pattern needs is looked for first: most captions have none of them.
    text = _without_addresses(text)
    bracketed = _BRACKETED.match(text) if "[" in text else None
    if bracketed:
        text = bracketed[1]
    text = cut_spans(_LABEL.sub("", text.strip()))
    text = _HASHTAG_TAIL.sub("", text) if "#" in text else text
    text = _MENTION.sub(" ", text) if "@" in text else text
    text = (FILE_NAME.sub(" ", text) if _DOT_INSIDE.search(text) else text).replace("#", " ")
    text = _BRACKET_NOTE.sub(" ", text) if "[" in text else text
    text = _SITE_SUFFIX.sub("", text) if _SUFFIX_MARK.search(text) else text
    text = _EMPTY_BRACKETS.sub(" ", _REPEATED_MARK.sub(r"\1", text))
    text = _SPACE_BEFORE_MARK.sub(r"\1", " ".join(text.split())).strip(_EDGES)
    return _unshout(_unquote(text.lstrip("!?. ")))


def _without_addresses(text: str) -> str:
    text = EMAIL.sub(" ", text) if "@" in text else text
    return URL.sub(" ", text) if _DOT_INSIDE.search(text) else text


class _Noise(dict[int, str]):
    """For `str.translate`: a space for emoji, dingbats, controls and what has no width; degree and section signs stay.

    Each character is looked up once in a process.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        noise = unicodedata.category(character) in ("So", "Cs", "Co", "Cn", "Cc", "Cf", "Sk")
        self[code] = " " if noise and code > 0x7e and character not in "°©®™" or code < 0x20 else character
        return self[code]


_NOISE = _Noise()


def _unquote(text: str) -> str:
    if len(text) > 2 and text[0] == text[-1] and text[0] in "\"'" and text[0] not in text[1:-1]:
        text = text[1:-1].strip()
    return text if re.search(r"\w", text) else ""


def _unshout(text: str) -> str:
    if text[1:].islower():                 # one capital at most: nearly every caption
        return text
    letters = list(filter(str.isalpha, text))
    upper = sum(map(str.isupper, letters))
    if len(letters) < 5 or upper < 0.7 * len(letters):
        return text
    lowered = text.lower()
    return lowered[0].upper() + lowered[1:]


def read_caption(source: str, raw: str, rules: CaptionRules) -> tuple[str, str]:
    """Returns (caption, "") or (what was left, reason): cleaning, the choice of a sentence, the rules."""
    text, reason = _read(source, raw if _keeps(rules) else masked(raw), rules)
    return shown(text), reason


def _keeps(rules: CaptionRules) -> bool:
    return rules.personal_data == KEEP or rules.personal_data == REJECT and "personal_data" in rules.let_pass


def without_personal_data(raw: str, rules: CaptionRules) -> str:
    """Returns what a table may hold of a text: masked, unless personal data is kept."""
    return raw if _keeps(rules) else shown(masked(raw))


def _read(source: str, raw: str, rules: CaptionRules) -> tuple[str, str]:
    """`raw` with masks in it; what is returned has them still."""
    allowed = rules.let_pass
    if rules.sources and source not in rules.sources and "source_not_used" not in allowed:
        return "", "source_not_used"
    if "file_name" not in allowed and WHOLE_FILE_NAME.match(raw.strip()):
        return "", "file_name"
    if EMAIL_MASK in raw and rules.personal_data == REJECT and "personal_data" not in allowed:
        return "", "personal_data"
    if not rules.clean:
        text = " ".join(html.unescape(raw).split())
        return text, reject_caption(text, rules) or ""
    if "cut_off" not in allowed and source not in RUNNING_TEXT and ("..." in raw or "…" in raw) \
            and _CUT_OFF.search(raw):
        return clean_caption(raw), "cut_off"
    if "spam_words" not in allowed and speaks_spam(raw):
        return "", "spam_words"
    text = clean_caption(raw)
    if not text:
        return "", "boilerplate" if re.search(r"\w", raw) else "empty"
    if source in RUNNING_TEXT or len(words_of(text)) > rules.max_words or len(text) > rules.max_characters:
        blocks = [clean_caption(block) for block in raw.split("\n")]      # a line is a block of the page
        choice = [piece for block in blocks if block for piece in whole_sentences(block)
                  if reject_caption(piece, rules) is None]
        if choice:
            return choice[0], ""
        if len(text) >= WINDOW:
            return text, reject_caption(text, rules) or "no_whole_sentence"
    return text, reject_caption(text, rules) or ""


def words_of(text: str) -> list[str]:
    """Returns the words of a text as written, without marks."""
    return _WORD.findall(text)


def normalise_caption(text: str) -> str:
    """Returns the identity of a caption: what counting, banning and the split compare.

    >>> normalise_caption("A Café, at  NIGHT!")
    'a cafe at night'
    """
    plain = text if text.isascii() else "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character))
    return " ".join(_LETTERS_AND_DIGITS.findall(plain.casefold()))


def reject_caption(caption: str, rules: CaptionRules) -> str | None:
    """Returns why a cleaned caption is dropped, or None if it is kept."""
    if not caption:
        return "empty"
    return next((reason for reason in _failing(caption, rules) if reason not in rules.let_pass), None)


def _failing(caption: str, rules: CaptionRules) -> Iterator[str]:
    if WHOLE_FILE_NAME.match(caption):
        yield "file_name"
    if rules.personal_data == REJECT and (has_masks(caption) or masked(caption) != caption):
        yield "personal_data"
    words = list(map(str.lower, words_of(caption)))
    if normalise_caption(caption) in BOILERPLATE:
        yield "boilerplate"
    solid = "".join(caption.split())
    alnum = list(filter(str.isalnum, solid))
    if len(solid) - len(alnum) > rules.max_symbol_share * len(solid):
        yield "mostly_symbols"
    if len(words) < rules.min_words:
        yield "too_few_words"
    if len(caption) < rules.min_characters:
        yield "too_few_characters"
    if CREDIT.match(caption):
        yield "credit"
    if sum(map(MENU_WORDS.__contains__, words)) > rules.max_menu_share * len(words) or _is_list(caption):
        yield "menu_text"
    if sum(map(SPAM.__contains__, words)) > rules.max_spam_words:
        yield "spam_words"
    if sum(map(str.isdigit, alnum)) > rules.max_digit_share * len(alnum):
        yield "too_many_digits"
    if len(words) >= 4 and max(Counter(words).values()) >= max(3, rules.max_repeat_share * len(words)):
        yield "repeated_words"
    if len(words) > rules.max_words or len(caption) > rules.max_characters:
        yield "too_many_words"
    if unknown_share(words) > rules.max_unknown_share:
        yield "out_of_vocabulary"
    if rules.needs:
        yield from (f"no_{kind}" for kind in missing_kinds(words, rules.needs))


def _is_list(caption: str) -> bool:
    """Three or more separators of navigation: `Home | Shop | News | Login`."""
    return len(re.findall(r"\s[|»›·•>/]\s", caption)) >= 2
