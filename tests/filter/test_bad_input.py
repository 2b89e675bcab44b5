"""Input that is meant to hurt: a caption of 1 MB, scores that are no numbers, pictures that kill what decodes them."""
from __future__ import annotations

import math
import pathlib
import time
from typing import Any

import pytest

from filter.cases import Claims, open_case
from filter.drift import DriftRules
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.images import ImageRules
from filter.judge_run import judge
from filter.judging import MAX_RAW, JudgeConfig
from filter.records import ImageFacts, Judged, Pair
from tests.filter import tiny_web
from tests.filter.test_aggregate import IMAGE, case
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, run, texts

SITE = "https://a.example"
MEGABYTE = 1 << 20


@pytest.mark.parametrize("piece", ["a heron ", "a.", "(", "© ", "| a ", "Photo by A ", "\u00e9\u0301", "\x00"])
def test_a_caption_of_a_megabyte_is_a_counted_rejection_at_once(tmp_path: pathlib.Path, piece: str) -> None:
    tiny_web.commit_crawl(str(tmp_path), [
        candidate(f"{SITE}/long.jpg", texts=texts(alt=piece * (MEGABYTE // len(piece)))),
        candidate(f"{SITE}/both.jpg", f"{SITE}/p2", texts=texts(alt=piece * (MEGABYTE // len(piece)),
                                                                figcaption="A heron stands in the shallow lake"))])
    began = time.process_time()
    judged = rows_of(judge(str(tmp_path), JudgeConfig(buckets=1), run), "judged", Judged)
    assert time.process_time() - began < 10
    assert sorted(row.outcome for row in judged) == ["fetch", "not_fetched_text_too_long"]
    assert max(len(caption.raw) for row in judged for caption in row.captions) <= MAX_RAW


@pytest.mark.parametrize("piece", ["a.", "w.w ", "a@", "1 2 ", "http://", "[", "<", "J. ", "fig. 1 "])
def test_the_longest_text_that_is_read_takes_no_second(piece: str) -> None:
    from filter.captions import CaptionRules, read_caption
    began = time.process_time()
    assert read_caption("alt", piece * (MAX_RAW // len(piece)), CaptionRules())[1]
    assert time.process_time() - began < 2


class _NoNumbers:
    def score(self, facts: ImageFacts, found: Any) -> list[float]:
        return [math.nan, math.inf, 0.5][:len(found)]


def test_a_score_that_is_no_number_is_a_reason_and_never_wins() -> None:
    one = case(1, 5, [("a barn", 0.1), ("a boat", 0.1), ("a heron", 0.1)])
    claims = Claims(3, tuple((text.row, IMAGE) for text in one.texts))
    opened = open_case(one.facts, claims, ImageRules(), DriftRules(), 0.4, _NoNumbers())
    assert {text.identity: (text.outcome, text.score) for text in opened.texts} == {
        "a barn": ("score_not_finite", 0.0), "a boat": ("score_not_finite", 0.0), "a heron": ("", 0.5)}
    assert [text.identity for text in opened.alive()] == ["a heron"]


def test_a_picture_that_kills_its_decoder_is_one_row_and_the_others_are_read(
        tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that decodes is killed while it works: what it was at is tried alone, and then given up."""
    out = str(tmp_path)
    bodies = {f"{SITE}/{name}.jpg": jpeg(photograph(n)) for n, name in enumerate(("heron", "barn", "boat"), 1)}
    tiny_web.commit_crawl(out, [candidate(url, f"{SITE}/p{n}", texts=texts(alt=f"A {name} in the evening light"))
                                for n, (url, name) in enumerate(zip(bodies, ("heron", "barn", "boat"), strict=True))])
    tiny_web.commit_images(out, judge(out, JudgeConfig(buckets=1), run), dict(bodies))
    monkeypatch.setattr("filter.image_work.image_sandbox", _killing(len(bodies[f"{SITE}/barn.jpg"])))
    monkeypatch.setattr("filter.transforms.image_sandbox", _killing(len(bodies[f"{SITE}/barn.jpg"])))
    measured = features(out, FeaturesConfig(buckets=1), run)
    assert sorted(row.outcome for row in rows_of(measured, "features", ImageFacts)) == [
        "decode_crashed", "decoded", "decoded"]
    kept = filter_pairs(out, FilterConfig(min_score=0.0, buckets=1), run)
    outcomes = {row.image_url: row.outcome for row in rows_of(kept, "pairs", Pair)}
    assert outcomes == {f"{SITE}/heron.jpg": "kept", f"{SITE}/barn.jpg": "decode_crashed", f"{SITE}/boat.jpg": "kept"}
    assert dict(measured.funnel[0].outcomes) == {"decode_crashed": 1, "decoded": 2}


def _killing(length: int) -> Any:
    from crawl.sandbox_client import Sandbox
    from filter.image_work import LIMITS, _read
    return lambda max_pixels: Sandbox("tests.filter.deadly_decoder:open_deadly", _read,
                                      {"max_pixels": max_pixels, "length": length}, LIMITS)
