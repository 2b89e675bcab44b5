"""robots.txt by RFC 9309: a parser and matcher from bytes that can say which line decided.

Numbers R-7 to R-21 are the rules of the crawling reference.  Never raises on any bytes; never backtracks.
"""
from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable

_BOM = b"\xef\xbb\xbf"
_MAX_LINE = 16_664                 # bytes of a line that count, as in Google's parser
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_CANONICAL = re.compile(r"[!-#&-)+-~]*")      # no `$`, `%` or `*`, nothing outside ASCII
_TOKEN = re.compile(r"[A-Za-z_-]+")
_RATE = re.compile(r"(\d{1,6})\s*/\s*(\d{1,6})\s*([smh]?)", re.IGNORECASE)
_UNIT_S = {"": 1, "s": 1, "m": 60, "h": 3600}

# what people type, as Google's parser takes it.
_KEYS = {name: key for key, names in {
    "user-agent": ("user-agent", "useragent", "user agent"),
    "disallow": ("disallow", "dissallow", "dissalow", "disalow", "diasllow", "disallaw"),
    "allow": ("allow",),
    "crawl-delay": ("crawl-delay", "crawldelay"),
    "request-rate": ("request-rate",),
    "sitemap": ("sitemap", "site-map"),
    "content-signal": ("content-signal",),
    "content-usage": ("content-usage",),
    "visit-time": ("visit-time", "visittime"),
    "license": ("license",),
}.items() for name in names}
_WITHOUT_COLON = re.compile(r"(user-agent|useragent|user agent|allow|d[a-z]{6,8})[ \t]+(\S.*)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line that counts: where it stands and what it says."""

    number: int                    # from 1
    key: str                       # one of the keys above
    value: str


@dataclasses.dataclass(frozen=True, slots=True)
class Decision:
    """Whether a URL may be fetched, and the line that said so."""

    allowed: bool
    group: str                     # token of the group that governs us, "" when none does
    line: int                      # 0 when no rule matched
    rule: str                      # e.g. `Disallow: /private`, "" when no rule matched

    @property
    def evidence(self) -> str:
        """Returns the decision as one line for a record."""
        if not self.line:
            return f"no rule of group {self.group!r} matches" if self.group else "no group for us"
        return f"line {self.line}, group {self.group!r}: {self.rule}"


class Robots:
    """The rules of one robots.txt."""

    def __init__(self, data: bytes, *, relaxed: bool = False) -> None:
        """Args: relaxed: a pattern without a leading `/` or `*` fits anywhere in a path, as ai.txt means it."""
        self.sitemaps: list[str] = []
        self.licences: list[Line] = []     # `License:` lines (RSL); like sitemaps they belong to no group
        self._relaxed = relaxed
        # Token -> (lines of a group, index of the first that is told to it), in file order.  Agents named together
        # share the lines: many agents times many rules would be gigabytes out of half a megabyte.
        self._groups: dict[str, list[tuple[list[Line], int]]] = {}
        self._compiled: dict[str, tuple[str, list[_Rule]]] = {}
        self._read(data)

    def decide(self, target: str, token: str) -> Decision:
        """Returns the decision for path and query of a normalised URL and our product token (R-13, R-14, R-16).

        >>> Robots(b"User-agent: *\\nDisallow: /x\\nAllow: /x/y").decide("/x/z", "me").evidence
        "line 2, group '*': Disallow: /x"
        """
        group, rules = self._rules(token)
        path = canonical(target, is_pattern=False)
        best: _Rule | None = None
        for rule in rules:
            better = best is None or (rule.length, rule.allow) > (best.length, best.allow)
            if better and rule.matches(path):
                best = rule
        if best is None or path == "/robots.txt":               # always implicitly allowed
            return Decision(True, group, 0, "")
        return Decision(best.allow, group, best.line, best.text)

    def crawl_delay(self, token: str) -> float:
        """Returns the seconds between requests that are asked of us, 0.0 when none are (R-20)."""
        delays = [0.0]
        for line in self.lines(token):
            if line.key == "crawl-delay":
                delays.append(_seconds(line.value))
            elif line.key == "request-rate" and (found := _RATE.match(line.value)) and int(found[1]):
                delays.append(int(found[2]) * _UNIT_S[found[3].lower()] / int(found[1]))
        return max(delays)

    def visit_time(self, token: str) -> str:
        """Returns when we are asked to come, as written (R-20: recorded, not obeyed); "" when nobody asks."""
        return next((line.value[:64] for line in self.lines(token) if line.key == "visit-time"), "")

    def lines(self, token: str) -> list[Line]:
        """Returns every line of the merged groups that govern a product token, in file order (R-14)."""
        return [line for group, start in self._groups.get(self.group(token), ()) for line in group[start:]]

    def usage(self, target: str, token: str) -> list[tuple[Line, str]]:
        """Returns the Content-Usage lines with the longest path that fits a target, and their value without the path.

        draft-ietf-aipref-attach: a line without a path fits everything, several with one path are all returned.
        """
        found: list[tuple[Line, str]] = []
        longest = -1
        whole = canonical(target, is_pattern=False)
        for line in self.lines(token):
            if line.key == "content-usage":
                path, _, value = line.value.partition(" ") if line.value[:1] in "/*" else ("", "", line.value)
                pattern = Pattern(path)
                if pattern.length >= longest and pattern.matches(whole):
                    if pattern.length > longest:
                        found, longest = [], pattern.length
                    found.append((line, value))
        return found

    def group(self, token: str) -> str:
        """Returns which group governs a product token: itself, `*`, or "" for none."""
        return next((name for name in (token.lower(), "*") if name in self._groups), "")

    def own_groups(self, tokens: Iterable[str]) -> list[str]:
        """Returns which of these lower-case tokens have a group of their own, sorted."""
        return sorted(set(tokens) & self._groups.keys())

    def _rules(self, token: str) -> tuple[str, list[_Rule]]:
        name = self.group(token)
        if name not in self._compiled:
            self._compiled[name] = name, [_Rule(line, self._relaxed) for line in self.lines(name)
                                          if line.key in ("allow", "disallow") and line.value]
        return self._compiled[name]

    def _read(self, data: bytes) -> None:
        """Collects the lines group by group: a user-agent line after a rule begins a new group (R-12)."""
        group: list[Line] = []
        named = seen_rule = False
        for number, text in enumerate(_lines(data), 1):
            key, value = _key_value(text)
            if key == "user-agent":
                if seen_rule:
                    group, named, seen_rule = [], False, False
                name = _agent(value)
                if name:
                    named = True
                    groups = self._groups.setdefault(name, [])
                    if not groups or groups[-1][0] is not group:
                        groups.append((group, len(group)))
            elif key == "sitemap":
                self.sitemaps.append(value[:2083])
            elif key == "license":
                self.licences.append(Line(number, key, value[:2083]))
            elif key:
                # Other records do not end a group; they are told to the agents named so far.
                seen_rule = seen_rule or key in ("allow", "disallow")
                if named:
                    group.append(Line(number, key, value))


class Pattern:
    """A path pattern, ready to match."""

    __slots__ = ("anchored", "length", "pieces")

    def __init__(self, text: str) -> None:
        self.anchored = text.endswith("$")
        pattern = canonical(text.removesuffix("$"), is_pattern=True)
        self.length = len(pattern) + self.anchored
        self.pieces = pattern.split("*")

    def matches(self, path: str) -> bool:
        """Returns whether the pattern fits a `canonical` path: leftmost pieces, so O(path x pieces) (R-17)."""
        first, *rest = self.pieces
        if not path.startswith(first):
            return False
        if not rest:
            return not self.anchored or len(path) == len(first)
        at = len(first)
        for piece in rest[:-1] if self.anchored else rest:
            found = path.find(piece, at)
            if found < 0:
                return False
            at = found + len(piece)
        return not self.anchored or (path.endswith(rest[-1]) and len(path) - len(rest[-1]) >= at)


class _Rule(Pattern):
    """One allow or disallow rule, ready to match."""

    __slots__ = ("allow", "line", "text")

    def __init__(self, line: Line, relaxed: bool = False) -> None:
        super().__init__(f"*{line.value}" if relaxed and line.value[:1] not in "/*" else line.value)
        self.allow = line.key == "allow"
        self.line = line.number
        self.text = f"{line.key.capitalize()}: {line.value}"[:512]


def _lines(data: bytes) -> list[bytes]:
    """Returns the lines, split at CR, LF and CRLF only (R-9), without a BOM, whole or cut short (R-7)."""
    for length in (3, 2, 1):
        if data.startswith(_BOM[:length]):
            data = data[length:]
            break
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")


def _key_value(line: bytes) -> tuple[str, str]:
    """Returns the known key and the value of a line, ("", "") for any other line (R-8, R-10)."""
    text = line[:_MAX_LINE].split(b"#", 1)[0].strip(b" \t\x00\x0b\x0c").decode("utf-8", "replace")
    key, colon, value = text.partition(":")
    if not colon:
        found = _WITHOUT_COLON.fullmatch(text)
        key, value = (found[1], found[2]) if found else ("", "")
    known = _KEYS.get(key.strip(" \t").lower(), "")
    return (known, value.strip(" \t")) if known else ("", "")


def _agent(value: str) -> str:
    """Returns the token of a user-agent line, lower case, `*`, or "" for none (R-13)."""
    if value.startswith("*") and (len(value) == 1 or value[1] in " \t"):
        return "*"
    found = _TOKEN.match(value)
    return found[0].lower() if found else ""


def _seconds(value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds >= 0 else 0.0


def canonical(text: str, *, is_pattern: bool) -> str:
    """Returns a path or pattern with one spelling for each octet (R-18, RFC 9309, section 2.2.2).

    Octets outside ASCII are percent-encoded, hex digits upper case, unreserved ones decoded.  A `$`, and in a path
    a `*`, is encoded too, so that a pattern's `%24` or `%2A` fits it and its own `*` stays the wildcard.
    """
    if _CANONICAL.fullmatch(text):
        return text                # most are: nothing in them has another spelling
    data = text.encode("utf-8", "replace")
    out: list[str] = []
    at = 0
    while at < len(data):
        octet = data[at]
        pair = data[at + 1:at + 3]
        if octet == 0x25 and len(pair) == 2 and _is_hex(pair):
            value = int(pair, 16)
            out.append(chr(value) if value in _UNRESERVED else f"%{value:02X}")
            at += 3
            continue
        if octet <= 0x20 or octet >= 0x7F or octet == 0x24 or (octet == 0x2A and not is_pattern):
            out.append(f"%{octet:02X}")
        else:
            out.append(chr(octet))
        at += 1
    return "".join(out)


def _is_hex(pair: bytes) -> bool:
    return all(octet in b"0123456789abcdefABCDEF" for octet in pair)
