"""Personal data in a text: e-mail addresses, telephone numbers, long rows of digits.

Found in what the page said, before cleaning, which would cut an address out and leave no sign of it.  Years, prices,
sizes, dates, decimals and ISBNs are no personal data.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from filter.noise import CONTACT_WORDS, EMAIL

MASK, REJECT, KEEP = "mask", "reject", "keep"
POLICIES = (MASK, REJECT, KEEP)
# These brackets pass the cleaning, which takes <...> for markup; `shown` makes <...> of them at the end.
_OPEN, _CLOSE = "\u27e8", "\u27e9"
EMAIL_MASK = f"{_OPEN}email{_CLOSE}"
_SHOWN = str.maketrans({_OPEN: "<", _CLOSE: ">"})
_MASKED = re.compile(f"{_OPEN}(?:email|phone|number){_CLOSE}")
_SHOWN_MASK = re.compile("<(?:email|phone|number)>")

# Seven digits near each other are the least that a number of anybody has; nearly no caption has them.
_ENOUGH_DIGITS = re.compile(r"(?:\d\D{0,3}){7}")
_START, _END = r"(?<![\w.,+$€£#])", r"(?![\w]|[.,]\d)"
_INTERNATIONAL = re.compile(rf"{_START}(?:\+|00)[1-9]\d{{0,2}}(?:[ .\-/]{{0,2}}\(?\d{{1,5}}\)?){{2,6}}{_END}")
_BY_FORM = re.compile(
    rf"{_START}(?:\(0?\d{{2,5}}\)[ .\-/]?\d{{3,5}}(?:[ .\-]?\d{{2,5}}){{0,2}}"    # (030) 1234 5678, (555) 123-4567
    rf"|\d{{3}}[.\-]\d{{3}}[.\-]\d{{4}}){_END}")                                    # 555-123-4567
_BESIDE_A_WORD = re.compile(rf"{_START}\(?\d{{2,5}}\)?(?:[ .\-/]?\(?\d{{2,5}}\)?){{1,5}}{_END}")
_DATE = re.compile(r"\d{4}[.\-/ ]\d{1,2}[.\-/ ]\d{1,2}|\d{1,2}[.\-/ ]\d{1,2}[.\-/ ]\d{4}|(?:1[5-9]|20)\d\d"
                   r"(?:[ \-/]{1,3}(?:1[5-9]|20)\d\d)*")
_ROW_OF_DIGITS = re.compile(rf"{_START}\d{{9,}}{_END}")
_CARD = re.compile(rf"{_START}\d{{4}}(?:[ \-]\d{{4}}){{3}}{_END}")
_SOCIAL_SECURITY = re.compile(rf"{_START}\d{{3}}-\d{{2}}-\d{{4}}{_END}")
_BOOK = re.compile(r"(?:ISBN|ISSN|DOI|EAN)(?:-1[03])?[:\s]*(?:97[89][ \-]?)?[\d\- ]{0,20}$", re.IGNORECASE)
_DIAL = re.compile(r"\b(?:call|dial|fax|phone|sms|tel|telephone|whatsapp)\W+(?:(?:us|me|now|on|at|no|number)\W+){0,3}$",
                   re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]+")


def masked(text: str) -> str:
    """Returns a text with a mark in place of each address and number of somebody; equal where there is none.

    >>> shown(masked("Prints from jane.doe@a.example or +49 30 1234567, 1024x768, 1914-1918"))
    'Prints from <email> or <phone>, 1024x768, 1914-1918'
    """
    if "@" in text:
        text = EMAIL.sub(EMAIL_MASK, text)
    return _without_numbers(text) if _ENOUGH_DIGITS.search(text) else text


def has_masks(text: str) -> bool:
    """Returns whether `masked` marked something in a text."""
    return _OPEN in text and _MASKED.search(text) is not None


def speaks_of_masks(caption: str) -> bool:
    """Returns whether a finished caption has a mark in it."""
    return "<" in caption and _SHOWN_MASK.search(caption) is not None


def shown(text: str) -> str:
    """Returns a masked text with the marks as a caption has them: <email>, <phone>, <number>."""
    return text.translate(_SHOWN) if has_masks(text) else text


def _without_numbers(text: str) -> str:
    phone, number = f"{_OPEN}phone{_CLOSE}", f"{_OPEN}number{_CLOSE}"
    for pattern, mark, is_one in _kinds(text, phone, number):
        text = _replaced(text, pattern, mark, is_one)
    return text


def _replaced(text: str, pattern: re.Pattern[str], mark: str, is_one: Callable[[re.Match[str]], bool]) -> str:
    return pattern.sub(lambda found: mark if is_one(found) else found.group(), text)


def _kinds(text: str, phone: str, number: str) -> Iterator[tuple[re.Pattern[str], str,
                                                                Callable[[re.Match[str]], bool]]]:
    yield _CARD, number, lambda found: _check_digit_fits(found.group())
    yield _SOCIAL_SECURITY, number, lambda found: not _is_book(found)
    yield _INTERNATIONAL, phone, _is_phone
    yield _BY_FORM, phone, _is_phone
    if any(word.lower() in CONTACT_WORDS for word in _WORDS.findall(text)):
        yield _BESIDE_A_WORD, phone, lambda found: _is_phone(found) and _is_spoken_of(found)
    yield _ROW_OF_DIGITS, number, lambda found: not _is_book(found)


def _is_phone(found: re.Match[str]) -> bool:
    """7 to 15 digits (E.164 has at most 15), and no date, no years, no book."""
    number = found.group().strip()
    return 7 <= sum(map(str.isdigit, number)) <= 15 and not _DATE.fullmatch(number) and not _is_book(found)


def _is_spoken_of(found: re.Match[str]) -> bool:
    """A plain row of digits may count anything, in a text about a cell as well; right behind `call` it is dialled."""
    number = found.group().strip()
    return not number.isdigit() or number.startswith("0") or _DIAL.search(
        found.string[max(0, found.start() - 40):found.start()]) is not None


def _is_book(found: re.Match[str]) -> bool:
    return _BOOK.search(found.string[max(0, found.start() - 40):found.start()]) is not None


def _check_digit_fits(number: str) -> bool:
    """Returns whether the last digit is the check digit of the others, as on payment cards (Luhn, ISO/IEC 7812-1)."""
    digits = [int(character) for character in reversed(number) if character.isdigit()]
    return sum(digit if not place % 2 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(digits)) % 10 == 0
