"""Where a sample goes: order by hash, cut into shards of nearly equal size.

A sample's place depends on the seed and its key alone.  Ranges of the hash are counted first, so that each range can
tell the rank of its samples without seeing the others.
"""
from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class OrderConfig:
    """How samples are ordered and how large shards may be."""

    name: str = "lait"             # shards are named after it
    seed: int = 1
    max_samples: int = 1000        # a shard
    max_bytes: int = 1 << 29       # a shard's tar, as far as samples of a hash order are alike
    ranges: int = 256              # of the hash; a range of one (split, ext) is held in memory at once
    inline_regions: bool = False   # regions lie in the samples' own tar, as a fourth member, and not in a sibling

    def __post_init__(self) -> None:
        if self.max_samples < 1 or self.max_bytes < 1 or not 1 <= self.ranges <= 4096:
            raise ValueError(f"order: max_samples {self.max_samples} and max_bytes {self.max_bytes} are at least 1, "
                             f"ranges {self.ranges} is 1 to 4096")
        if not self.name.replace("-", "").isalnum() or not self.name.isascii():
            raise ValueError(f"order.name is {self.name!r}; use letters, digits and '-'")


# (split, ext, number of the hash range): a plain tuple, because it is a key of a shuffle.
Range = tuple[str, str, int]


def order_of(key: str, config: OrderConfig) -> str:
    """Returns the place of a sample in the order: 64 hex digits."""
    return hashlib.sha256(f"{config.seed}:{key}".encode()).hexdigest()


def range_of(order: str, config: OrderConfig) -> int:
    """Returns the number of the hash range a place lies in; ranges follow the order."""
    return int(order[:8], 16) * config.ranges >> 32


def num_shards(samples: int, tar_bytes: int, config: OrderConfig) -> int:
    """Returns how many shards samples of one split and extension fill.

    Both limits decide the number, the count alone the cuts: in hash order shards of equal count are of nearly equal
    size, none is a remainder, and the names follow from two totals.

    >>> num_shards(2500, 10, OrderConfig(max_samples=1000))
    3
    """
    wanted = max(-(-samples // config.max_samples), -(-tar_bytes // config.max_bytes))
    return min(wanted, samples)


def shard_of(rank: int, samples: int, shards: int) -> int:
    """Returns the number of the shard that holds the sample of this rank; sizes differ by at most one.

    >>> [shard_of(rank, 5, 2) for rank in range(5)]
    [0, 0, 0, 1, 1]
    """
    return rank * shards // samples


def first_rank(counts: Mapping[Range, tuple[int, int]], at: Range) -> int:
    """Returns how many samples of the same split and extension lie in the ranges before `at`."""
    return sum(count for other, (count, _) in counts.items() if other[:2] == at[:2] and other[2] < at[2])


def totals(counts: Mapping[Range, tuple[int, int]], split: str, ext: str) -> tuple[int, int]:
    """Returns samples and tar bytes of a split and extension."""
    mine = [value for place, value in counts.items() if place[:2] == (split, ext)]
    return sum(count for count, _ in mine), sum(size for _, size in mine)


def shard_stem(split: str, ext: str, number: int, config: OrderConfig) -> str:
    """Returns a shard's name without suffix.

    The split is a folder, not a part of the file's name: whoever is given `train/` cannot take a test shard by
    mistake, and both splits number from zero, as brace patterns (`train/lait-jpg-{000000..000007}.tar`) want it.

    >>> shard_stem("train", "jpg", 0, OrderConfig())
    'train/lait-jpg-000000'
    """
    return f"{split}/{config.name}-{ext}-{number:06d}"
