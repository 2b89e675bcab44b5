"""Beam wiring that brings judged rows to the images they name: bounded on hot keys, answers and permission included."""
from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import apache_beam as beam

from crawl.permission import PermissionRules
from crawl.records import Image
from filter.cases import Claims, claim_rank, unarrived_pairs, unarrived_reason
from filter.judging import FETCH


@dataclasses.dataclass
class ClaimImages(beam.PTransform):
    """{judged, images} -> arrived: (sha256, Claims), one a distinct image; unarrived: Pair."""

    max_claims: int
    permission: PermissionRules    # judge's, for the images' own signals

    def expand(self, tables: dict[str, Any]) -> Any:
        cap, rules = self.max_claims, self.permission
        claimed = (
            (tables["judged"] | "Worth it" >> beam.Filter(lambda row: row.outcome == FETCH)
             | "By image URL" >> beam.Map(lambda row: (row.image_key, (row, None)))
             | "Occurrences of a URL" >> beam.CombinePerKey(_CappedClaims(cap)),
             tables["images"] | "Answers" >> beam.Map(lambda row: (row.url_key, row)))
            | "With answer" >> beam.CoGroupByKey()
            | "Arrived?" >> beam.FlatMapTuple(lambda key, sides: _meet(key, sides, rules)).with_outputs(
                "unarrived", main="arrived"))
        return {"arrived": claimed.arrived | "Occurrences of an image" >> beam.CombinePerKey(_CappedClaims(cap)),
                "unarrived": claimed.unarrived}


class _CappedClaims(beam.CombineFn):
    """(row, image) or Claims of one key -> Claims: the first `cap` by rank and the true count."""

    def __init__(self, cap: int) -> None:
        self.cap = cap

    def create_accumulator(self) -> tuple[int, list[Any]]:
        return 0, []

    def add_input(self, kept: tuple[int, list[Any]], element: Any) -> tuple[int, list[Any]]:
        claims = element if isinstance(element, Claims) else Claims(1, (element,))
        count, rows = kept
        for claim in claims.rows:
            rank = claim_rank(claim)
            if len(rows) < self.cap or rank < rows[-1][0]:
                bisect.insort(rows, (rank, claim), key=itemgetter(0))
                del rows[self.cap:]
        return count + claims.count, rows

    def merge_accumulators(self, accumulators: Iterable[tuple[int, list[Any]]]) -> tuple[int, list[Any]]:
        listed = list(accumulators)
        rows = sorted(itertools.chain.from_iterable(rows for _, rows in listed), key=itemgetter(0))
        return sum(count for count, _ in listed), rows[:self.cap]

    def extract_output(self, kept: tuple[int, list[Any]]) -> Claims:
        return Claims(kept[0], tuple(claim for _, claim in kept[1]))


def _meet(url_key: str, sides: tuple[list[Claims], list[Image]], rules: PermissionRules) -> Iterator[Any]:
    claims, images = sides
    if not claims:
        return
    image = images[0] if images else None
    reason = unarrived_reason(image, rules)
    if reason or image is None:
        missing = image or Image(url_key=url_key, url="", outcome="", http_status=0, final_url="", fetched_at="",
                                 signals=(), permission="", format="", width=0, height=0, num_bytes=0, sha256="",
                                 part="", offset=0, length=0)
        for pair in unarrived_pairs([(row, missing) for row, _ in claims[0].rows], reason):
            yield beam.pvalue.TaggedOutput("unarrived", pair)
    else:
        yield image.sha256, Claims(claims[0].count, tuple((row, image) for row, _ in claims[0].rows))
