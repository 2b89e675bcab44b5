"""Images that are never stored: hashes of a list that others keep, asked before an image's bytes are committed.

    sha256:9f86d081...           the very file
    phash:00ff00ff00ff00ff:4     pictures whose perceptual hash (filter/hashes.py) differs in at most 4 bits

The list's digest is part of the stage's config, its content is nowhere: workers read the file by its path.
"""
from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

from crawl import storage
from crawl.errors import UsageError
from crawl.sandbox_client import Sandbox, SandboxLimits
from crawl.suppress import SUPPRESSED, Rule, Suppression, parse_rule

BLOCKED, UNCHECKED = "blocked_hash", "blocked_unchecked"
KINDS = ("sha256", "phash")
MAX_BYTES = 256 << 20
# By its name: crawl/ imports nothing of filter/, whose hash it is.
_WORK = "filter.hash_work:open_work"
_LIMITS = SandboxLimits(item_s=15.0)
_HASH = re.compile(r"[0-9a-f]{16}|")


@dataclasses.dataclass(frozen=True, slots=True)
class BlockFile:
    """Which list holds; without a path none does."""

    path: str = ""
    digest: str = ""               # of its rules in their one spelling: order and comments do not matter
    suppressed: Suppression = dataclasses.field(default_factory=lambda: Suppression(()))   # the root's suppress list


def block_file(path: str) -> BlockFile:
    """Returns the list at a path, "" for none; raises UsageError for a file that is no list, and names the line."""
    return BlockFile(path, Suppression(hash_rules(path)).digest) if path else BlockFile()


class BlockList:
    """A list, ready to be asked; it holds a sandbox while it has perceptual hashes.  One thread at a time."""

    def __init__(self, file: BlockFile, max_pixels: int) -> None:
        """Raises UsageError where the file is no longer the one that the stage began with."""
        self._rules = Suppression(hash_rules(file.path) if file.path else ())
        if file.path and self._rules.digest != file.digest:
            raise UsageError(f"{file.path}: changed while images were fetched; run the same command again with the "
                             "list the run began with, or remove the half-finished stage")
        self._suppressed = file.suppressed
        self._box: Sandbox[str] | None = None
        if any(rule.kind == "phash" for rule in (*self._rules.rules, *self._suppressed.rules)):
            self._box = Sandbox(_WORK, _read, {"max_pixels": max_pixels}, _LIMITS)

    def __enter__(self) -> BlockList:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the sandbox."""
        if self._box is not None:
            self._box.close()

    def names(self, sha256: str) -> bool:
        """Returns whether the list names this very file."""
        return self._rules.suppresses("", sha256, (), "")

    def arrived_at_suppressed(self, url: str) -> bool:
        """Returns whether the suppress list names the URL that an answer came from, behind its redirects."""
        return self._suppressed.names(url)

    def refusal(self, data: bytes) -> str:
        """Returns why an image's bytes are not to be stored: suppressed, blocked_hash, blocked_unchecked, or "".

        The second where perceptual hashes are listed and the picture cannot be decoded: a cut copy of a listed picture
        would pass otherwise, and nobody can use what does not decode.
        """
        if not self._rules and not self._suppressed:
            return ""
        sha256 = hashlib.sha256(data).hexdigest()
        if self._suppressed.suppresses(sha256[:32], sha256, (), ""):
            return SUPPRESSED
        if self.names(sha256):
            return BLOCKED
        if self._box is None:
            return ""
        found = self._box.one(None, data).result
        if not found:
            return UNCHECKED
        if self._suppressed.suppresses("", "", (), found):
            return SUPPRESSED
        return BLOCKED if self._rules.suppresses("", "", (), found) else ""


def _read(value: Any, body: bytes) -> str:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ValueError("no perceptual hash")
    return value


def hash_rules(path: str, option: str = "--block-hashes") -> list[Rule]:
    """Returns the rules of a list of hashes; raises UsageError that names the option the list was given by."""
    rules = []
    for number, line in enumerate(_text_of(path, option).splitlines(), 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        kind, _, value = text.partition(":")
        try:
            if kind not in KINDS:
                raise UsageError(f"{text[:80]!r} is neither sha256:HEX nor phash:HEX[:RADIUS]")
            rules.append(parse_rule(kind, value))
        except UsageError as error:
            raise UsageError(f"{option} {path}, line {number}: {error}") from error
    if not rules:
        raise UsageError(f"{option} {path}: no hash in this list; write sha256:HEX or phash:HEX[:RADIUS] a line")
    return rules


def _text_of(path: str, option: str) -> str:
    try:
        if storage.size(path) > MAX_BYTES:
            raise UsageError(f"{option} {path}: {storage.size(path)} bytes are too many (at most {MAX_BYTES})")
        return storage.read_bytes(path).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"{option} {path}: cannot read the list: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{option} {path}: not a text file in UTF-8 (byte {error.start})") from error
