"""The suppress list of a dataset's root: what was taken out, by which rule, and when; later builds obey it.

Rules of URLs and domains hold for what is selected, judged and fetched, all of them for images that arrive, for the
filter and the shards.  A measured stage (crawl, images) that is finished stays as it is: what is built from it obeys.

    OUT/suppress.jsonl    {"kind": "domain", "value": "a.example", "radius": 0, "when": ..., "keys": [...]} a line
"""
from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator

from crawl import storage, urls
from crawl.config import digest
from crawl.errors import UsageError

SUPPRESS = "suppress.jsonl"
PURGE = "purge.json"               # while what is removed is being dropped from all stages (shards/purge.py)
SUPPRESSED = "suppressed"          # the outcome of what the list names
KINDS = ("key", "url", "domain", "sha256", "phash")
MAX_RADIUS = 16                    # bits of 64: beyond it, pictures that have nothing in common are alike
_SHAPES = {"key": re.compile(r"[0-9a-f]{32}"), "sha256": re.compile(r"[0-9a-f]{64}"),
           "phash": re.compile(r"[0-9a-f]{16}")}
_SAID = {"key": "32 hex digits (`imagebert shards ls` lists keys)", "sha256": "64 hex digits",
         "phash": "16 hex digits, or 16 hex digits:RADIUS"}
_DOMAIN = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*")


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Rule:
    """What is to be absent: samples with this key, URL (of image or page), domain, image sha256 or perceptual hash."""

    kind: str                      # one of KINDS
    value: str
    radius: int = 0                # of phash: how many bits may differ

    def __str__(self) -> str:
        """Returns the rule as a person writes it in a file."""
        return f"{self.kind} {self.value}" + (f":{self.radius}" if self.radius else "")


@dataclasses.dataclass(frozen=True, slots=True)
class Suppressed:
    """One line of the list."""

    rule: Rule
    when: str                      # ISO 8601 UTC
    keys: tuple[str, ...]          # samples it took out then, sorted; they stay out whatever page shows them later


def parse_rule(kind: str, text: str) -> Rule:
    """Returns a rule in its one spelling; raises UsageError for what is none.

    >>> str(parse_rule("phash", "00FF00ff00ff00ff:4"))
    'phash 00ff00ff00ff00ff:4'
    """
    value, radius = text.strip(), 0
    if kind == "url":
        normal = urls.normalize(value)
        if normal is None:
            raise UsageError(f"url {text!r} is no http(s) URL; give it whole, such as https://a.example/cat.jpg")
        return Rule(kind, normal)
    value = value.lower()
    if kind == "domain":
        host = urls.normalize(f"http://{value}/") if value and "/" not in value and ":" not in value else None
        value = urls.host(host) if host else ""
        if not _DOMAIN.fullmatch(value):
            raise UsageError(f"domain {text!r} is no host name; give it without scheme and path, such as a.example")
        return Rule(kind, value)
    if kind == "phash" and ":" in value:
        value, _, bits = value.partition(":")
        if not bits.isdecimal() or int(bits) > MAX_RADIUS:
            raise UsageError(f"phash {text!r}: the radius is a number of bits from 0 to {MAX_RADIUS}")
        radius = int(bits)
    if kind not in _SHAPES or not _SHAPES[kind].fullmatch(value):
        raise UsageError(f"{kind} {text!r}: give {_SAID.get(kind, f'one of {KINDS}')}")
    return Rule(kind, value, radius)


def parse_rules(text: str, name: str) -> list[Rule]:
    """Returns the rules of a file: `KIND VALUE` a line, `#` for comments; raises UsageError that names the line."""
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            kind, _, value = line.strip().partition(" ")
            try:
                rules.append(parse_rule(kind, value))
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error}; a line is KIND VALUE, "
                                 f"KIND one of {', '.join(KINDS)}") from error
    return rules


class Suppression:
    """Rules, ready to be asked; false when there is none.  Equal lists have equal digests, whatever the time."""

    def __init__(self, rules: Iterable[Rule], keys: Iterable[str] = ()) -> None:
        self.rules = tuple(sorted(set(rules)))
        self.keys = tuple(sorted(set(keys)))
        self._by_value = {(rule.kind, rule.value): rule for rule in self.rules if rule.kind != "phash"}
        self._hashes = [(int(rule.value, 16), rule) for rule in self.rules if rule.kind == "phash"]
        self._keys = frozenset(self.keys)

    def __bool__(self) -> bool:
        return bool(self.rules)

    @property
    def digest(self) -> str:
        """Returns what names the list among a stage's inputs."""
        return digest({"rules": [str(rule) for rule in self.rules], "keys": list(self.keys)})

    def hits(self, key: str, sha256: str, addresses: Iterable[str], perceptual_hash: str) -> Iterator[Rule]:
        """Yields every rule that a sample falls under, in no order that matters."""
        asked = {("key", key), ("sha256", sha256)}
        for url in addresses:
            asked.add(("url", url))
            asked.update(("domain", domain) for domain in _domains(url))
        yield from (rule for one in sorted(asked) if (rule := self._by_value.get(one)) is not None)
        if self._hashes and perceptual_hash:
            mine = int(perceptual_hash, 16)
            yield from (rule for value, rule in self._hashes if (value ^ mine).bit_count() <= rule.radius)

    @property
    def of_addresses(self) -> Suppression:
        """Returns the rules that can be asked before anything is fetched: URLs and domains."""
        return Suppression(rule for rule in self.rules if rule.kind in ("url", "domain"))

    def names(self, *addresses: str) -> bool:
        """Returns whether a URL, or the domain one lies in, is to be absent."""
        return any(True for _ in self.hits("", "", filter(None, addresses), ""))

    def suppresses(self, key: str, sha256: str, addresses: Iterable[str], perceptual_hash: str) -> bool:
        """Returns whether a sample is to be absent: by a rule, or because a rule took it out before."""
        return key in self._keys or any(True for _ in self.hits(key, sha256, addresses, perceptual_hash))


NOTHING = Suppression(())


def _domains(url: str) -> Iterator[str]:
    """Yields the host of a URL and every domain above it."""
    try:
        name = urls.host(url)
    except ValueError:
        return
    while name:
        yield name
        name = name.partition(".")[2]


def read_list(out: str) -> list[Suppressed]:
    """Returns the lines of a root's list, oldest first; empty where there is none.

    Raises UsageError for a damaged list: to read it as empty would bring back what was taken out.
    """
    path = storage.join(out, SUPPRESS)
    if not storage.exists(path):
        return []
    found = []
    for number, line in enumerate(storage.read_bytes(path).decode(errors="replace").splitlines(), 1):
        try:
            value = json.loads(line)
            found.append(Suppressed(Rule(value["kind"], value["value"], value["radius"]), value["when"],
                                    tuple(value["keys"])))
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path}, line {number}: damaged ({type(error).__name__}: {error}); copy it again, or "
                             f"repair the line") from error
    return found


def suppression(out: str) -> Suppression:
    """Returns the list of a root, ready to be asked."""
    lines = read_list(out)
    return Suppression((line.rule for line in lines), (key for line in lines for key in line.keys))


def add_lines(out: str, new: Iterable[Suppressed]) -> int:
    """Adds lines that say something new (a rule, or keys it had not taken out yet); returns how many."""
    lines = read_list(out)
    known: dict[Rule, set[str]] = {}
    for line in lines:
        known.setdefault(line.rule, set()).update(line.keys)
    added = [line for line in new if line.rule not in known or not known[line.rule].issuperset(line.keys)]
    if added:
        text = "".join(json.dumps(dataclasses.asdict(line.rule) | {"when": line.when, "keys": list(line.keys)},
                                  sort_keys=True) + "\n" for line in (*lines, *added))
        storage.replace_bytes(storage.join(out, SUPPRESS), text.encode())
    return len(added)
