"""Beam wiring of aggregation: images with their texts in, what each ends as out.  No rule lives here.

Every combiner keeps a bounded number of things, every group has a bounded number of members, whatever key is hot.
"""
from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import apache_beam as beam
import numpy as np

from filter import near_duplicates
from filter.aggregate import AggregateRules, Copies, Settled, best_copies, copies_of, gave_way, settle
from filter.cases import ImageCase, ban, best_card
from filter.near_duplicates import NearRules


@dataclasses.dataclass
class Aggregate(beam.PTransform):
    """ImageCase -> Settled, one an image."""

    near: NearRules
    rules: AggregateRules

    def expand(self, cases: Any) -> Any:
        rules = self.rules
        placed = cases | "Same picture" >> NearDuplicates(self.near)
        banned = (placed | "Said" >> beam.FlatMap(_said)
                  | "Images a caption" >> beam.CombinePerKey(_Distinct(rules.max_images_per_caption))
                  | "Too many" >> beam.Filter(lambda pair: pair[1]))
        fair = (placed | "Ban" >> beam.Map(_ban, beam.pvalue.AsDict(banned))
                | "Gave way?" >> beam.ParDo(_part).with_outputs("copies", "alone", main="standing"))
        copies = (fair.copies | "As copy" >> beam.MapTuple(lambda survivor, case: (survivor, copies_of(case)))
                  | "Best copies" >> beam.CombinePerKey(_BestCopies(rules)))
        return (((fair.standing, copies) | "With copies" >> beam.CoGroupByKey()
                 | "Best text" >> beam.FlatMap(_settle, rules),
                 fair.alone | "Best text of one" >> beam.Map(lambda case: settle(case, Copies(), rules)),
                 fair.copies | "Out" >> beam.MapTuple(lambda _, case: gave_way(case)))
                | "All settled" >> beam.Flatten())


def _ban(placed: Placed, banned: dict[str, bool]) -> Placed:
    return Placed(placed.survivor, ban(placed.case, banned), placed.has_copies)


def _part(placed: Placed) -> Iterator[Any]:
    keyed = placed.survivor, placed.case
    if placed.survivor != placed.case.facts.sha256:
        yield beam.pvalue.TaggedOutput("copies", keyed)
    elif placed.has_copies:
        yield keyed
    else:                          # nearly all: no shuffle waits for them
        yield beam.pvalue.TaggedOutput("alone", placed.case)


def _settle(met: tuple[str, tuple[list[ImageCase], list[Copies]]], rules: AggregateRules) -> list[Settled]:
    """An image that gave way itself is not here: its copies are out like it, and their texts go nowhere."""
    _, (cases, copies) = met
    return [settle(case, copies[0] if copies else Copies(), rules) for case in cases]


class Placed(NamedTuple):
    """An image after the near-duplicate rule."""

    survivor: str                  # sha256 of the image it gives way to, or its own
    case: ImageCase
    has_copies: bool               # whether others give way to it


@dataclasses.dataclass
class NearDuplicates(beam.PTransform):
    """ImageCase -> Placed.

    A band value that too many images share is dealt out in groups, each with the best of it, so no group is unbounded.
    """

    rules: NearRules

    def expand(self, cases: Any) -> Any:
        rules = self.rules
        cards = cases | "Card" >> beam.FlatMap(_packed_card)
        crowded = beam.pvalue.AsSingleton(cards | "Crowded bands" >> beam.CombineGlobally(_CountBands(rules)))
        leaders = (cards | "In crowds" >> beam.FlatMap(_in_crowds, rules, crowded)
                   | "Best of a crowd" >> beam.CombinePerKey(_Smallest(rules.leaders))
                   | "To each group" >> beam.FlatMap(_to_each_group, crowded))
        winners = ((cards | "Bands" >> beam.FlatMap(_dealt, rules, crowded), leaders)
                   | "With leaders" >> beam.Flatten()
                   | "Meet" >> beam.GroupByKey()
                   | "Compare" >> beam.FlatMap(lambda met, rules: near_duplicates.give_way(met[1], rules), rules)
                   | "Best of bands" >> beam.CombinePerKey(min))
        copied = (winners | "Who won" >> beam.Map(lambda pair: (near_duplicates.sha256_of(pair[1]), True))
                  | "Once" >> beam.CombinePerKey(any))
        return ((cases | "By image" >> beam.Map(lambda case: (case.facts.sha256, case)), winners, copied)
                | "With winner" >> beam.CoGroupByKey()
                | "Place" >> beam.FlatMapTuple(_place))


def _packed_card(case: ImageCase) -> list[bytes]:
    card = best_card(case)
    return [] if card is None else [near_duplicates.pack(card)]


def _in_crowds(card: bytes, rules: NearRules, crowded: dict[int, int]) -> list[tuple[int, bytes]]:
    return [(band, card) for band in near_duplicates.bands(card, rules) if band in crowded]


def _to_each_group(crowd: tuple[int, list[bytes]], crowded: dict[int, int]) -> Iterator[tuple[tuple[int, int], bytes]]:
    band, best = crowd
    for group in range(crowded[band]):
        for card in best:
            yield (band, group), card


def _dealt(card: bytes, rules: NearRules, crowded: dict[int, int]) -> list[tuple[tuple[int, int], bytes]]:
    return [((band, near_duplicates.group_of(card, crowded.get(band, 1))), card)
            for band in near_duplicates.bands(card, rules)]


def _place(sha256: str, sides: tuple[list[ImageCase], list[bytes], list[bool]]) -> Iterator[Placed]:
    cases, winners, copied = sides
    yield Placed(near_duplicates.sha256_of(winners[0]) if winners else sha256, cases[0], bool(copied))


def _said(placed: Placed) -> list[tuple[str, str]]:
    """(normalised caption, the picture it is said of): copies of one picture count once."""
    return [(text.identity, placed.survivor) for text in placed.case.alive()]


class _CountBands(beam.CombineFn):
    """Packed cards -> {band: into how many groups it is dealt} of the bands that more than `max_met` images have."""

    def __init__(self, rules: NearRules) -> None:
        self.rules = rules

    def create_accumulator(self) -> Any:
        return np.zeros(near_duplicates.band_count(self.rules), dtype=np.int64)

    def add_input(self, counts: Any, card: bytes) -> Any:
        counts[near_duplicates.bands(card, self.rules)] += 1     # a card's bands differ from each other
        return counts

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        return functools.reduce(np.add, accumulators)

    def extract_output(self, counts: Any) -> dict[int, int]:
        many = np.flatnonzero(counts > self.rules.max_met)
        return {int(band): -(-int(counts[band]) // self.rules.max_met) for band in many}


class _Smallest(beam.CombineFn):
    """Values -> the `count` smallest distinct ones, sorted."""

    def __init__(self, count: int) -> None:
        self.count = count

    def create_accumulator(self) -> list[Any]:
        return []

    def add_input(self, kept: list[Any], value: Any) -> list[Any]:
        if len(kept) < self.count or value < kept[-1]:
            at = bisect.bisect_left(kept, value)
            if at == len(kept) or kept[at] != value:
                kept.insert(at, value)
                del kept[self.count:]
        return kept

    def merge_accumulators(self, accumulators: Iterable[list[Any]]) -> list[Any]:
        return sorted(set(itertools.chain.from_iterable(accumulators)))[:self.count]

    def extract_output(self, kept: list[Any]) -> list[Any]:
        return kept


class _Distinct(_Smallest):
    """Values -> whether more than `limit` of them differ."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit + 1)

    def extract_output(self, kept: list[Any]) -> Any:
        return len(kept) == self.count


class _BestCopies(beam.CombineFn):
    """Copies of one image -> Copies."""

    def __init__(self, rules: AggregateRules) -> None:
        self.rules = rules

    def create_accumulator(self) -> Copies:
        return Copies()

    def add_input(self, copies: Copies, element: Copies) -> Copies:
        return best_copies((copies, element), self.rules)

    def merge_accumulators(self, accumulators: Iterable[Copies]) -> Copies:
        return best_copies(accumulators, self.rules)

    def extract_output(self, copies: Copies) -> Copies:
        return copies
