"""One candidate row -> one judged row: permission, page language, dominance, then every text of it."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from crawl import permission
from crawl.permission import PermissionRules
from crawl.records import Candidate
from crawl.suppress import NOTHING, SUPPRESSED, Suppression
from filter.captions import CaptionRules, normalise_caption, read_caption, without_personal_data
from filter.dominance import DominanceRules, is_aside, reject_occurrence
from filter.language import UNDETERMINED, caption_language, page_language
from filter.personal import speaks_of_masks
from filter.quality import caption_quality
from filter.records import Caption, Judged

FETCH = "fetch"
MAX_RAW = 10_000                   # characters of a text that are read or kept; crawl/ cuts them long before
# Strongest first: the first text's reason names the row's outcome when none survives, and it breaks ties of scores.
SOURCES = ("figcaption", "alt", "image_caption", "table", "title", "image_title", "aria_label", "og_description",
           "surrounding", "heading", "page_title")
_PAGE_SOURCES = ("og_description", "page_title")     # said of the page; alt="" says that the picture is decoration


@dataclasses.dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Settings of the stage judge."""

    captions: CaptionRules = CaptionRules()
    dominance: DominanceRules = DominanceRules()
    permission: PermissionRules = PermissionRules()      # of the stored signals; docs/permission.md
    language: str = "en"                 # ISO 639-1; pages and captions in others are dropped (paper section 1.1)
    lid_path: str = ""                   # fastText lid.176; empty: frequent words (filter/language.py)
    quality_path: str = ""               # model of `imagebert quality train`; empty: no such rule (filter/quality.py)
    min_quality: float = 0.3             # P(a caption, not page furniture); below: low_quality
    max_images_of_a_text: int = 3        # on one page; files of one picture (srcset, noscript) share theirs rightly
    buckets: int = 4                     # files of each table

    def __post_init__(self) -> None:
        if not 0 <= self.min_quality <= 1:
            raise ValueError(f"min_quality is {self.min_quality}; it is a probability, 0 to 1")
        for name in ("max_images_of_a_text", "buckets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")


def source_rank(source: str) -> int:
    """Returns a source's place in SOURCES, the last place for an unknown one."""
    return SOURCES.index(source) if source in SOURCES else len(SOURCES)


def judge_candidate(candidate: Candidate, config: JudgeConfig, suppressed: Suppression = NOTHING) -> Judged:
    """Returns the judged row of a candidate; outcome `fetch` may still become `not_fetched_not_in_main`.

    Of what the suppress list names no text is kept.
    """
    listed = suppressed.names(candidate.page_url, candidate.image_url)
    if listed:
        candidate = dataclasses.replace(candidate, texts=(), page_title="", extras="")
    language = page_language(candidate.page_text, candidate.html_lang, config.lid_path)
    # A row of a caption table has no page: there is none to reject, nor one to say that a short caption is foreign.
    around = config.language if not candidate.page_url and language == UNDETERMINED else language
    captions = tuple(read_text(text.source, text.text, around, config)
                     for text in sorted(candidate.texts, key=lambda text: (source_rank(text.source), text.text)))
    reason = SUPPRESSED if listed else permission.reason(
        candidate.signals, candidate.permission, config.permission) or reject_occurrence(candidate, config.dominance)
    if reason is None:
        reason = _reject_page(language, captions, config) if candidate.page_url else None
        reason = reason or _reject_texts(candidate, captions, config.dominance)
    return Judged(
        occurrence=candidate.occurrence, image_key=candidate.image_key, image_url=candidate.image_url,
        page_key=candidate.page_key, page_url=candidate.page_url,
        outcome=f"not_fetched_{reason}" if reason else FETCH, captions=captions, page_language=language,
        ordinal=candidate.ordinal, images_on_page=candidate.images_on_page, in_main=candidate.in_main,
        permission=candidate.permission, signals=candidate.signals, page_record_id=candidate.page_record_id,
        page_sha256=candidate.page_sha256, page_fetched_at=candidate.page_fetched_at,
        page_title=candidate.page_title, found_in=candidate.found_in,
        extras=candidate.extras, expected=candidate.expected)


def read_text(source: str, raw: str, page: str, config: JudgeConfig) -> Caption:
    """Returns one text of a page in language `page`, cleaned, with the first reason against it or ""."""
    if len(raw) > MAX_RAW:
        return Caption(source=source, raw=without_personal_data(raw[:MAX_RAW], config.captions), text="",
                       reason="text_too_long")
    text, reason = read_caption(source, raw, config.captions)
    if not reason and "other_language" not in config.captions.let_pass:
        language = caption_language(text, config.lid_path)
        if language != config.language and not (language == UNDETERMINED and page == config.language):
            reason = "other_language"
    if not reason and config.quality_path and caption_quality(text, config.quality_path) < config.min_quality:
        reason = "low_quality"
    return Caption(source=source, raw=without_personal_data(raw, config.captions), text=text, reason=reason)


def fate_of(caption: Caption) -> str:
    """Returns what the funnel counts a text as: its reason, or how it passed."""
    return caption.reason or ("passed_masked" if speaks_of_masks(caption.text) else "passed")


def _reject_page(language: str, captions: Iterable[Caption], config: JudgeConfig) -> str | None:
    """A page whose language nothing tells is let pass when a caption on it is in the language that is wanted."""
    if language == config.language or "page_language" in config.dominance.let_pass:
        return None
    if language == UNDETERMINED and any(not caption.reason for caption in captions):
        return None
    return "page_language"


def _reject_texts(candidate: Candidate, captions: tuple[Caption, ...], rules: DominanceRules) -> str | None:
    if not captions:
        return "no_text"
    passed = [caption for caption in captions if not caption.reason]
    if not passed:
        return captions[0].reason
    decorative = candidate.alt_present and not any(text.source == "alt" and text.text.strip()
                                                   for text in candidate.texts)
    if decorative and "decorative" not in rules.let_pass and all(caption.source in _PAGE_SOURCES for caption in passed):
        return "decorative"
    return None


def _refuse_shared(rows: Sequence[Judged], most: int) -> list[Judged]:
    """A heading stays with the first image below it; any other text under many images goes from all of them."""
    images: dict[str, dict[str, None]] = {}
    for row in rows:
        for caption in row.captions:
            if not caption.reason:
                images.setdefault(normalise_caption(caption.text), {})[row.image_key] = None
    shared = {text: next(iter(keys)) for text, keys in images.items() if len(keys) > most}
    return [_without(row, shared) for row in rows]


def _without(row: Judged, shared: Mapping[str, str]) -> Judged:
    captions = tuple(dataclasses.replace(caption, reason="shared_on_page")
                     if not caption.reason and (first := shared.get(normalise_caption(caption.text)))
                     and not (caption.source == "heading" and first == row.image_key) else caption
                     for caption in row.captions)
    if captions == row.captions:
        return row
    empty = row.outcome == FETCH and all(caption.reason for caption in captions)
    outcome = f"not_fetched_{captions[0].reason}" if empty else row.outcome
    return dataclasses.replace(row, captions=captions, outcome=outcome)


def settle_page(rows: Iterable[Judged], config: JudgeConfig) -> list[Judged]:
    """Returns the judged rows of one page after the rules that need the whole page.

    A text under several images describes the page, and an image beside the main part gives way to those in it.
    """
    listed = _refuse_shared(sorted(rows, key=lambda row: (row.ordinal, row.occurrence)),
                            config.max_images_of_a_text)
    if "not_in_main" in config.dominance.let_pass:
        return listed
    has_main = any(row.outcome == FETCH and row.in_main for row in listed)
    return [dataclasses.replace(row, outcome="not_fetched_not_in_main")
            if row.outcome == FETCH and is_aside(row.in_main, row.found_in, has_main) else row for row in listed]
