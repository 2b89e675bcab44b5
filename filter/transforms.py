"""Beam wiring of filter/.  No rule lives here; what crosses a shuffle is rows of ids, texts, scores and addresses."""
from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from crawl import progress, storage
from crawl.permission import PermissionRules
from crawl.records import Candidate, Image, ImageFetch
from crawl.suppress import NOTHING, Suppression
from filter.aggregate import Settled
from filter.aggregate_transforms import Aggregate
from filter.cases import (
    Claims,
    open_case,
    removed_case,
)
from filter.claim_transforms import ClaimImages
from filter.decontamination import EVALUATION_IMAGE, EvaluationImages
from filter.filter_config import FilterConfig
from filter.image_work import image_sandbox, measured_images
from filter.judging import FETCH, JudgeConfig, fate_of, judge_candidate, settle_page
from filter.reading import read_images
from filter.records import Best, ClipFacts, ImageFacts, ImageOutcome, Judged, JudgedImage, TextOutcome
from filter.scoring import scorer

_CHUNK = 500                       # images of one part in one element: a few MiB of rows, some seconds of decoding


@dataclasses.dataclass
class JudgeCandidates(beam.PTransform):
    """Candidate -> Judged, a row each."""

    config: JudgeConfig
    suppressed: Suppression = NOTHING
    evaluation: EvaluationImages = EvaluationImages()     # images that show one of them are out

    def expand(self, candidates: Any) -> Any:
        judge = beam.Map(_judge, self.config, self.suppressed).with_output_types(tuple[str, Judged])
        return (candidates | "Judge" >> judge
                | "By page" >> beam.GroupByKey()
                | "Settle page" >> beam.FlatMap(lambda page, config: settle_page(page[1], config), self.config))


def _judge(candidate: Candidate, config: JudgeConfig, suppressed: Suppression) -> tuple[str, Judged]:
    row = judge_candidate(candidate, config, suppressed)
    return row.page_key, row


class ChooseImages(beam.PTransform):
    """Judged -> ImageFetch: the distinct image URLs that are worth a download."""

    def expand(self, judged: Any) -> Any:
        return (judged | "Worth it" >> beam.Filter(lambda row: row.outcome == FETCH)
                | "URL" >> beam.Map(lambda row: (row.image_key, row.image_url))
                | "One a key" >> beam.CombinePerKey(min)
                | "Ask" >> beam.MapTuple(ImageFetch))


class SettleImages(beam.PTransform):
    """Judged -> JudgedImage, one a distinct image URL."""

    def expand(self, judged: Any) -> Any:
        return (judged | "Asked" >> beam.Map(lambda row: (row.image_key, row.outcome == FETCH))
                | "Ever" >> beam.CombinePerKey(any)
                | "Verdict" >> beam.MapTuple(lambda key, asked: JudgedImage(key, FETCH if asked else "not_fetched")))


class CountTexts(beam.PTransform):
    """Judged -> TextOutcome, one a fate that a text met."""

    def expand(self, judged: Any) -> Any:
        return (judged | "Fates" >> beam.FlatMap(lambda row: [(fate_of(caption), 1) for caption in row.captions])
                | "Count" >> beam.CombinePerKey(sum)
                | "Rows" >> beam.MapTuple(TextOutcome))


@dataclasses.dataclass
class MeasureImages(beam.PTransform):
    """Image -> ImageFacts, one a distinct sha256; each part is read once, in order."""

    out: str
    max_pixels: int

    def expand(self, images: Any) -> Any:
        return (images | "Arrived" >> beam.Filter(lambda row: row.outcome == "ok")
                | "By bytes" >> beam.Map(lambda row: (row.sha256, row))
                | "First copy" >> beam.CombinePerKey(_first_copy)
                | "By part" >> beam.MapTuple(lambda _, row: (row.part, row))
                | "Parts" >> beam.GroupByKey()
                | "Chunks" >> beam.FlatMapTuple(_chunks)
                | "Spread" >> beam.Reshuffle()
                | "Decode" >> beam.ParDo(_MeasureFn(self.out, self.max_pixels)))


def _first_copy(rows: Iterable[Image]) -> Image:
    return min(rows, key=lambda row: row.url_key)


def _chunks(part: str, rows: Iterable[Image]) -> Iterator[list[Image]]:
    ordered = sorted(rows, key=lambda row: (row.offset, row.sha256))
    for start in range(0, len(ordered), _CHUNK):
        yield ordered[start:start + _CHUNK]


class _MeasureFn(beam.DoFn):
    """Holds a sandbox as long as Beam holds it."""

    def __init__(self, out: str, max_pixels: int) -> None:
        self._out, self._max_pixels = out, max_pixels

    def setup(self) -> None:
        self._box = image_sandbox(self._max_pixels)

    def teardown(self) -> None:
        self._box.close()

    def process(self, chunk: list[Image]) -> Iterator[ImageFacts]:
        for facts in measured_images(self._box, read_images(storage.join(self._out, chunk[0].part), chunk)):
            progress.add("images decoded", 1)
            yield facts


@dataclasses.dataclass
class FilterPairs(beam.PTransform):
    """{judged, images, features, and (sha256, ClipFacts) as clip} -> {pairs, best, image_outcomes}."""

    config: FilterConfig
    permission: PermissionRules = PermissionRules()       # judge's, for the images' own signals
    suppressed: Suppression = NOTHING
    evaluation: EvaluationImages = EvaluationImages()     # images that show one of them are out

    def expand(self, tables: dict[str, Any]) -> Any:
        config = self.config
        claimed = {"judged": tables["judged"], "images": tables["images"]} | "Claims" >> ClaimImages(
            config.aggregate.max_claims, self.permission)
        cases = (
            (claimed["arrived"], tables["features"] | "Facts" >> BySha256(), tables["clip"] if "clip" in tables
             else tables["features"] | "No network" >> beam.FlatMap(lambda facts: []))
            | "With facts" >> beam.CoGroupByKey()
            | "Score" >> beam.FlatMap(_open, config, self.suppressed, self.evaluation).with_outputs(
                "unclaimed", main="cases"))
        settled = cases.cases | "Aggregate" >> Aggregate(config.near, config.aggregate)
        return {
            "pairs": ((settled | "Pairs" >> beam.FlatMap(lambda one: one.pairs), claimed["unarrived"])
                      | "All pairs" >> beam.Flatten()),
            "best": settled | "Kept" >> beam.FlatMap(_best),
            "image_outcomes": ((settled | "Images" >> beam.Map(lambda one: one.image), cases.unclaimed)
                               | "All images" >> beam.Flatten()),
        }


class BySha256(beam.PTransform):
    """Rows about an image -> (sha256, row)."""

    def expand(self, rows: Any) -> Any:
        return rows | "Key" >> beam.Map(lambda row: (row.sha256, row))


def _open(met: tuple[str, tuple[list[Claims], list[ImageFacts], list[ClipFacts]]], config: FilterConfig,
          suppressed: Suppression, evaluation: EvaluationImages) -> Iterator[Any]:
    sha256, (claims, facts, clip) = met
    if not facts:
        raise ValueError(f"image {sha256} has no facts: the stage features ran on other images")
    if not claims:
        yield beam.pvalue.TaggedOutput("unclaimed", ImageOutcome(sha256, "unclaimed"))
        return
    forbidden = EVALUATION_IMAGE if evaluation.shows(facts[0], config.near) else ""
    yield removed_case(facts[0], claims[0], suppressed) or open_case(
        facts[0], claims[0], config.images, config.drift, config.min_score, scorer(config.scorer, config.scorer_path),
        forbidden, clip[0] if clip else None, config.min_cosine)


def _best(settled: Settled) -> list[Best]:
    return [] if settled.best is None else [settled.best]
