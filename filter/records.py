"""The records of filter/: a row of a table each; the dataclass is the schema."""
from __future__ import annotations

import dataclasses

from crawl.records import Row, Signal

# Floats that are compared, stored or break ties lie on this grid (invariant 2).
SCORE_GRID = 4096


def on_grid(value: float) -> float:
    """Returns a score rounded to 1/4096.

    >>> on_grid(0.50001)
    0.5
    """
    return round(value * SCORE_GRID) / SCORE_GRID


@dataclasses.dataclass(frozen=True, slots=True)
class Caption(Row):
    """One text of an image after cleaning and rules."""

    source: str                    # SourceText.source
    raw: str
    text: str                      # cleaned sentence, "" when nothing was left
    reason: str                    # "" when it passed the rules, else the first failing reason


@dataclasses.dataclass(frozen=True, slots=True)
class Judged(Row):
    """One candidate row after the rules that need no download."""

    occurrence: str
    image_key: str
    image_url: str
    page_key: str
    page_url: str
    outcome: str                   # fetch, or not_fetched_<reason>
    captions: tuple[Caption, ...]  # all texts, with the reason of each
    page_language: str
    ordinal: int
    images_on_page: int
    in_main: bool
    permission: str
    signals: tuple[Signal, ...]
    page_record_id: str
    page_sha256: str
    page_fetched_at: str
    page_title: str = ""           # for the pair's score
    found_in: str = ""             # Candidate.found_in
    extras: str = ""               # Candidate.extras
    expected: tuple[str, ...] = () # Candidate.expected


@dataclasses.dataclass(frozen=True, slots=True)
class JudgedImage(Row):
    """One distinct image URL of the candidates."""

    image_key: str
    outcome: str                   # fetch, or not_fetched: no occurrence of it was worth the download


@dataclasses.dataclass(frozen=True, slots=True)
class TextOutcome(Row):
    """How many texts of all candidate rows met one fate."""

    outcome: str                   # passed, passed_masked (personal data in it was), or Caption.reason
    texts: int


@dataclasses.dataclass(frozen=True, slots=True)
class ImageFacts(Row):
    """What one decoded image is: a row a distinct sha256."""

    sha256: str
    outcome: str                   # decoded, or why not: truncated_image, decode_failed, too_many_pixels, animated, ...
    format: str                    # jpg, png, webp, gif, bmp
    width: int                     # px after orientation
    height: int
    orientation: int               # EXIF, 1..8; 1 when absent
    mode: str                      # Pillow's, before conversion
    num_bytes: int
    part: str                      # address (of the first copy by url_key)
    offset: int
    length: int
    deviation: float               # standard deviation of luma over a fixed small size, 0..127, on the grid
    entropy: float                 # bits of the 6-bit-per-channel colour histogram, on the grid
    perceptual_hash: str           # 16 hex digits, 64-bit
    difference_hash: str           # 16 hex digits, 64-bit: the second opinion
    natural: float                 # P(photograph-like) in [0, 1], on the grid
    colours: tuple[float, ...]     # share of each basic colour (filter/colours.py: NAMES), on the grid
    md5: str = ""                  # of the bytes, in hex: some caption tables give it


@dataclasses.dataclass(frozen=True, slots=True)
class ClipAsk(Row):
    """One distinct image and its texts, for an open_clip network."""

    sha256: str
    part: str                      # address
    offset: int
    length: int
    identities: tuple[str, ...]    # normalised captions, one each
    texts: tuple[str, ...]         # as the filter scores them


@dataclasses.dataclass(frozen=True, slots=True)
class ClipFacts(Row):
    """What an open_clip network says of one image."""

    sha256: str
    outcome: str                   # embedded, or why it did not decode
    unsafe: float                  # P(unsafe) by the head, on the grid; -1 without one
    identities: tuple[str, ...]
    cosines: tuple[float, ...]     # with each text, in -1..1, on the grid


@dataclasses.dataclass(frozen=True, slots=True)
class Pair(Row):
    """One (image, text): kept, or rejected with the first failing reason."""

    pair_id: str                   # 32 hex digits of sha256(image sha256, normalised caption)
    image_sha256: str              # "" when the image never arrived
    image_url: str
    page_url: str
    occurrence: str                # best occurrence by deterministic rank
    source: str
    caption: str
    raw: str
    score: float                   # P(caption describes image), on the grid; 0 where not scored
    outcome: str                   # kept, or the reason
    width: int
    height: int
    drift: str = ""                # Best.drift
    drift_distance: int = -1


@dataclasses.dataclass(frozen=True, slots=True)
class ImageOutcome(Row):
    """How one image that arrived ended: kept, or the first failing reason."""

    sha256: str
    outcome: str


@dataclasses.dataclass(frozen=True, slots=True)
class ScoredText(Row):
    """One text that competed for an image."""

    source: str
    text: str
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Best(Row):
    """One kept image with its best caption: what shards/ stores."""

    key: str                       # first 32 hex digits of the sha256 of the bytes: the sample's key
    image_sha256: str
    caption: str
    source: str
    score: float
    split: str                     # train or test, by hash of the normalised caption
    texts: tuple[ScoredText, ...]  # all that competed, best first
    image_url: str
    page_url: str
    image_urls: tuple[str, ...]    # image_url, then further URLs of the same bytes or a near-duplicate, at most 16
    num_occurrences: int           # true count
    format: str                    # jpg, png, webp
    width: int
    height: int
    orientation: int
    perceptual_hash: str
    caption_hash: str              # 16 hex digits of sha256 of the normalised caption
    group_hash: str                # 16 hex digits: equal for images that the near-duplicate rule saw as one
    natural: float
    page_language: str
    permission: str
    signals: tuple[Signal, ...]
    page_record_id: str
    page_sha256: str
    page_fetched_at: str
    image_fetched_at: str
    part: str                      # address of the original bytes
    offset: int
    length: int
    extras: str = ""               # JSON object of a caption table's further columns; "" where there are none
    drift: str = ""                # against the table's hash: same, drifted, "" where it gives none (filter/drift.py)
    drift_distance: int = -1       # bits between the table's perceptual hash and ours; -1 where it gives none
