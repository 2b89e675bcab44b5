"""Might this page refuse in a meta element?  Asked of every body before it is committed, so cheap and without a parser.

A superset by construction: a meta element that a parser finds in the page begins with `<meta` somewhere in its bytes,
and from there its attributes are read by the letter of HTML, section 13.2.5.  What stands in a comment or a script is
read too.  So "no" is certain, and "perhaps" is asked of the parser in the sandbox (crawl/page_refusal.py).
"""
from __future__ import annotations

import html
import re
from collections.abc import Iterator

_META = re.compile(rb"<meta(?=[\t\n\f\r />])", re.IGNORECASE)
_BETWEEN = re.compile(rb"[\t\n\f\r /]*")
_NAME = re.compile(rb"=?[^\t\n\f\r />=]*")
_EQUALS = re.compile(rb"[\t\n\f\r ]*=[\t\n\f\r ]*")
_PLAIN = re.compile(rb"[^\t\n\f\r >]*")
_ASKED = frozenset({b"name", b"property", b"http-equiv", b"content"})
_MAX_METAS = 300                   # the parser counts 256; a page with more is asked of it
_MAX_ATTRIBUTES = 64

# In UTF-16 or ISO-2022-JP the bytes of markup may be those of other characters.
_OTHER_BYTES = re.compile(rb"[\x00\x1b]")
LINK = re.compile(rb"<link", re.IGNORECASE)          # that may name a licence
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def metas(body: bytes) -> list[tuple[str, str]] | None:
    """Returns (name, content) of everything in a body that may be a meta element; None where bytes do not tell.

    >>> metas(b"<!-- <meta name='Robots' content=noindex> -->")
    [('Robots', 'noindex')]
    """
    if _OTHER_BYTES.search(body):
        return None
    found: list[tuple[str, str]] = []
    unclosed: dict[bytes, int] = {}
    for count, match in enumerate(_META.finditer(body)):
        attributes = _attributes(body, match.end(), unclosed)
        if count >= _MAX_METAS or attributes is None:
            return None
        if b"content" in attributes:
            name = attributes.get(b"name") or attributes.get(b"property") or attributes.get(b"http-equiv") or b""
            found += _spellings(name, attributes[b"content"])
    return found


def _spellings(name: bytes, content: bytes) -> Iterator[tuple[str, str]]:
    """Yields the pair and, where they differ, with character references decoded; what is not ASCII is blank.

    It may be white space that the parser's reader splits at, in whatever charset; the words that matter are ASCII.
    """
    plain = name.decode("latin-1"), content.decode("latin-1")
    yield _NOT_ASCII.sub(" ", plain[0]), _NOT_ASCII.sub(" ", plain[1])
    if b"&" in name + content:
        yield _NOT_ASCII.sub(" ", html.unescape(plain[0])), _NOT_ASCII.sub(" ", html.unescape(plain[1]))


def _attributes(body: bytes, at: int, unclosed: dict[bytes, int]) -> dict[bytes, bytes] | None:
    """Returns the attributes that matter of a tag, the first of a name; none when it never ends, None for too many.

    Args:
        unclosed: quote -> from where on the body has none of it, so that no end of the body is searched twice.
    """
    found: dict[bytes, bytes] = {}
    for _ in range(_MAX_ATTRIBUTES):
        at = _end(_BETWEEN, body, at)
        if at >= len(body):
            return {}
        if body[at:at + 1] == b">":
            return found
        start, at = at, _end(_NAME, body, at)
        name, value = body[start:min(at, start + 32)].lower(), b""
        equals = _EQUALS.match(body, at)
        if equals:
            at = equals.end()
            quote = body[at:at + 1]
            if quote in (b'"', b"'"):
                close = body.find(quote, at + 1) if at < unclosed.get(quote, len(body)) else -1
                if close < 0:
                    unclosed[quote] = min(at, unclosed.get(quote, at))
                    return {}
                value, at = body[at + 1:close], close + 1
            else:
                start, at = at, _end(_PLAIN, body, at)
                value = body[start:at]
        if name in _ASKED:
            found.setdefault(name, value)
    return None


def _end(pattern: re.Pattern[bytes], body: bytes, at: int) -> int:
    found = pattern.match(body, at)
    assert found is not None           # each of them fits the empty string
    return found.end()
