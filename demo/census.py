"""How many things of each kind there are, and which: a whole population dealt out without holding it in memory."""
from __future__ import annotations

import bisect
import dataclasses
import itertools
import math
import random


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind in a population."""

    name: str
    expected: str                  # "keep", or the right reason for a rejection
    share: float                   # of the population
    most: int = 0                  # at most so many, 0: no limit; there is always at least one


class Census:
    """Deals kinds to the numbers 0..total-1, evenly mixed, by arithmetic alone, in O(log kinds) a number.

    The first kind takes what the others leave.

    >>> census = Census(10, (Kind("keep", "keep", 1.0), Kind("logo", "logo", 0.2)), "doc")
    >>> sorted(census.kind_of(number)[0].name for number in range(10))[-3:]
    ['keep', 'logo', 'logo']
    >>> all(census.nth(*census.kind_of(number)) == number for number in range(10))
    True
    """

    def __init__(self, total: int, kinds: tuple[Kind, ...], salt: str) -> None:
        counts = [max(1, int(kind.share * total)) for kind in kinds]
        counts = [min(count, kind.most) if kind.most else count for count, kind in zip(counts, kinds, strict=True)]
        counts[0] = total - sum(counts[1:])
        if counts[0] < 1:
            raise ValueError(f"{total} are too few for {len(kinds)} kinds")
        self.total = total
        self.kinds = kinds
        self.counts = {kind.name: count for kind, count in zip(kinds, counts, strict=True)}
        self._starts = [0, *itertools.accumulate(counts)]
        self._names = [kind.name for kind in kinds]
        # A stride near the golden section spreads the members of each kind evenly over the numbers.
        self._stride = max(1, round(total * 0.6180339887))
        while math.gcd(self._stride, total) != 1:
            self._stride += 1
        self._back = pow(self._stride, -1, total) if total > 1 else 0
        self._shift = random.Random(f"{salt}/census").randrange(total)
        self._swapped: dict[int, int] = {}

    def kind_of(self, number: int) -> tuple[Kind, int]:
        """Returns the kind of that number, and the how-manieth of its kind it is."""
        rank = (self._swapped.get(number, number) * self._stride + self._shift) % self.total
        index = bisect.bisect_right(self._starts, rank) - 1
        return self.kinds[index], rank - self._starts[index]

    def nth(self, kind: Kind, member: int) -> int:
        """Returns the number of the `member`-th of a kind: the inverse of `kind_of`."""
        rank = self._starts[self._names.index(kind.name)] + member
        number = (rank - self._shift) * self._back % self.total
        return self._swapped.get(number, number)

    def swap(self, one: int, other: int) -> None:
        """Exchanges what two numbers are; each number at most once."""
        if one in self._swapped or other in self._swapped:
            raise ValueError(f"{one} or {other} was exchanged before")
        self._swapped[one], self._swapped[other] = other, one
