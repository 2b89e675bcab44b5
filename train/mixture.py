"""Several sets of shards under names, and how much of each a stage sees in an epoch.

    --shards lait=ROOT --shards public=ROOT2           a stage's `data` is ["lait"], or ["lait", "public=0.5"]

A share of 2 shows every sample twice an epoch, 0.5 another half of them in each, chosen by hash.
"""
from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from crawl.config import digest
from crawl.errors import UsageError
from shards.manifest import ShardSet, load_shards

ONLY = "data"      # the name of a set that was given without one
_MOST = 100.0


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A set within a stage."""

    name: str
    share: float = 1.0             # how often an epoch shows each of its samples

    @property
    def whole(self) -> int:
        """Returns how often an epoch shows every sample."""
        return int(self.share)

    @property
    def rest(self) -> float:
        """Returns the share of samples that an epoch shows once more."""
        return self.share - self.whole


def parse_part(text: str) -> Part:
    """Returns a part from `name` or `name=share`; raises ValueError that says what is wrong.

    >>> parse_part("public=2.5").whole, parse_part("lait").share
    (2, 1.0)
    """
    name, equals, share = text.partition("=")
    try:
        found = float(share) if equals else 1.0
    except ValueError as error:
        raise ValueError(f"data {text!r}: {share!r} is no number; write NAME or NAME=SHARE") from error
    if not name or not math.isfinite(found) or not 0 < found <= _MOST:
        raise ValueError(f"data {text!r}: write NAME or NAME=SHARE with a share above 0 and up to {_MOST:g}")
    return Part(name, found)


def open_sets(arguments: Sequence[str]) -> dict[str, ShardSet]:
    """Returns the sets by name, in the order given; raises UsageError where two do not fit into one run."""
    sets: dict[str, ShardSet] = {}
    for argument in arguments:
        name, path = named_path(argument)
        if name in sets:
            raise UsageError(f"--shards: two sets are named {name!r}; give each its own name, NAME=ROOT")
        sets[name] = load_shards(path)
    first_name, first = next(iter(sets.items()))
    for name, other in sets.items():
        for what in ("feature_dim", "num_classes", "quantisation", "extractor_digest"):
            if getattr(other, what) != getattr(first, what):
                raise UsageError(f"--shards: {name!r} has {what} {getattr(other, what)}, {first_name!r} has "
                                 f"{getattr(first, what)}; one run needs regions of one extractor: extract one of the "
                                 f"two again")
    return sets


def named_path(argument: str) -> tuple[str, str]:
    """Returns (name, path) of NAME=ROOT, or of ROOT alone.

    >>> named_path("lait=/data/lait"), named_path("/data/x=1/lait")
    (('lait', '/data/lait'), ('data', '/data/x=1/lait'))
    """
    name, equals, path = argument.partition("=")
    return (name, path) if equals and name.isidentifier() else (ONLY, argument)


def digest_of(sets: Mapping[str, ShardSet]) -> str:
    """Returns the digest of all sets: a single one's own."""
    if len(sets) == 1:
        return next(iter(sets.values())).digest
    return digest({name: one.digest for name, one in sets.items()})
