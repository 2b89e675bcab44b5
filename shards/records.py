"""The records of shards/: a row of a table each; the dataclass is the schema."""
from __future__ import annotations

import dataclasses
from typing import Any

from crawl.records import UNKNOWN, Row, Signal
from crawl.tables import plain_row
from filter.records import Best, ScoredText
from shards.addresses import Address
from shards.sample import EXTENSIONS, SAMPLE_FIELDS

EXTRACTED = "extracted"
WITHOUT_REGIONS = "no_regions_"    # an outcome that begins so: the image is stored, its regions are none
REENCODED, UNTOUCHED = "reencoded", "kept_as_it_is"


@dataclasses.dataclass(frozen=True, slots=True)
class StoredBest(Best):
    """A row of `best` as it is stored: format, size, orientation and address are of the bytes that go into a shard.

    `key` and `image_sha256` stay those of the original bytes: they say which image it is.
    """

    outcome: str = ""              # reencoded, kept_as_it_is, or why the image cannot be stored: truncated_image, ...
    stored_sha256: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class RegionAddress(Row):
    """Where the regions of a kept image lie: a row for each row of `best`, in the same order."""

    key: str
    outcome: str                   # extracted, no_regions_..., or why the image cannot be stored: truncated_image, ...
    part: str                      # relative to the output root; "" when the image is not stored
    offset: int
    length: int
    sha256: str
    num_regions: int


@dataclasses.dataclass(frozen=True, slots=True)
class SampleRow(Row):
    """A sample as KEY.json tells it, and what the shard adds: a row of the Parquet beside each shard."""

    key: str
    caption: str
    source: str
    score: float
    split: str
    texts: tuple[ScoredText, ...]
    image_url: str
    page_url: str
    image_urls: tuple[str, ...]
    num_occurrences: int
    sha256: str
    format: str
    num_bytes: int
    width: int
    height: int
    orientation: int
    perceptual_hash: str
    group_hash: str
    caption_hash: str
    natural: float
    page_language: str
    permission: str
    signals: tuple[Signal, ...]
    page_record_id: str
    page_sha256: str
    page_fetched_at: str
    image_fetched_at: str
    extras: str
    drift: str
    drift_distance: int
    num_regions: int
    num_tokens: int                # word pieces in the shard's vocabulary, at most 41
    num_cut: int                   # pieces beyond 41


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A sample on its way into a shard: values and addresses, no bytes."""

    order: str                     # hex of sha256(seed, key): its place
    best: Best
    regions: RegionAddress
    tar_bytes: int                 # that its three members take in the tar

    @property
    def image_address(self) -> Address:
        """Returns where the bytes to store are."""
        return image_address(self.best)

    @property
    def regions_address(self) -> Address:
        """Returns where the packed regions are."""
        return Address(self.regions.part, self.regions.offset, self.regions.length, self.regions.sha256)


def image_address(best: Best) -> Address:
    """Returns where the bytes of an image are that a shard stores: the original ones, or what was made of them."""
    sha256 = best.stored_sha256 if isinstance(best, StoredBest) else best.image_sha256
    return Address(best.part, best.offset, best.length, sha256)


def why_not_stored(best: Best) -> str:
    """Returns "" for an image that a shard can hold, else the reason."""
    if isinstance(best, StoredBest) and best.outcome not in (REENCODED, UNTOUCHED):
        return best.outcome
    return "" if best.format in EXTENSIONS else "unsupported_format"


def sample_row(best: Best, num_regions: int, num_tokens: int, num_cut: int) -> SampleRow:
    """Returns the row of a kept pair; addresses stay behind."""
    same = {name: getattr(best, name) for name in SAMPLE_FIELDS if name not in ("sha256", "num_bytes")}
    return SampleRow(sha256=best.image_sha256, num_bytes=best.length, num_regions=num_regions, num_tokens=num_tokens,
                     num_cut=num_cut, **same)


def json_values(best: Best) -> dict[str, Any]:
    """Returns the plain values of KEY.json; where nothing was asked about permission, that stands there."""
    row = plain_row(sample_row(best, 0, 0, 0))
    row["signals"] = row["signals"] or [plain_row(Signal("robots", "", UNKNOWN, "not asked"))]
    return {name: list(row[name]) if kind is list else row[name] for name, kind in SAMPLE_FIELDS.items()}
