"""Which images are worth learning from?  Rules on the facts of one decoded image (paper section 1.2)."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from filter.reasons import check_reasons
from filter.records import ImageFacts

DECODED = "decoded"
IMAGE_REASONS = ("too_small", "too_narrow", "too_few_bytes", "flat", "too_few_colours", "not_natural",
                 "unsafe")


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRules:
    """The limits of `reject_image`; each is a `--set images.NAME=VALUE` of the filter stage."""

    min_side: int = 300              # px; both sides must be larger (paper section 1.2)
    formats: tuple[str, ...] = ("jpg", "png", "webp")   # what a sample may hold; a GIF is hardly ever a photograph
    max_aspect: float = 3.0          # longer to shorter side: banners, rules, spines (COYO-700M)
    min_bytes: int = 0               # of the file; LAION and COYO drop what is below 5 KB
    min_deviation: float = 5.0       # of luma, 0..127: plain tiles and near-plain ones
    min_entropy: float = 3.0         # bits of the colour histogram: line art, text, tiles of few colours
    min_natural: float = 0.35        # P(photograph); low: a drawing kept costs less than a photograph lost
    max_unsafe: float = 0.5          # P(pornographic or racy) of clip.unsafe_head; above: unsafe
    let_pass: tuple[str, ...] = ()   # reasons that reject nothing; a format that no sample may hold stays out

    def __post_init__(self) -> None:
        unknown = set(self.formats) - {"jpg", "png", "webp"}
        if unknown or not self.formats:
            raise ValueError(f"formats is {list(self.formats)}; a sample may hold jpg, png and webp")
        check_reasons(self.let_pass, IMAGE_REASONS)


def reject_image(facts: ImageFacts, rules: ImageRules) -> str | None:
    """Returns why an image is dropped, or None; what could not be decoded keeps its own reason."""
    if facts.outcome != DECODED:
        return facts.outcome
    return next((reason for reason in _failing(facts, rules) if reason not in rules.let_pass), None)


def reject_unsafe(probability: float, rules: ImageRules) -> str | None:
    """Returns `unsafe` for a probability above the limit; -1, where nothing measured it, is none."""
    return "unsafe" if probability > rules.max_unsafe and "unsafe" not in rules.let_pass else None


def _failing(facts: ImageFacts, rules: ImageRules) -> Iterator[str]:
    if facts.format not in rules.formats:
        yield "format_not_kept"
    if facts.width <= rules.min_side or facts.height <= rules.min_side:
        yield "too_small"
    if max(facts.width, facts.height) > rules.max_aspect * min(facts.width, facts.height):
        yield "too_narrow"
    if facts.num_bytes < rules.min_bytes:
        yield "too_few_bytes"
    if facts.deviation < rules.min_deviation:
        yield "flat"
    if facts.entropy < rules.min_entropy:
        yield "too_few_colours"
    if facts.natural < rules.min_natural:
        yield "not_natural"
