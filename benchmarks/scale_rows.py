"""Jobs on rows alone, no page and no picture: which URLs are due, judge, the filter, which shard a sample goes to.

Every row is made from its number.  `even` rows are spread over 5,000 hosts and captions of Zipf's law; `hot` ones lie
on one huge host, under one caption, behind URLs that are all of one image.  A hot job has as many rows as the even one
beside it: what it takes of memory beyond that is what its key costs.
"""
from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import apache_beam as beam

from benchmarks.aggregation_rows import MadeTables, Rows, made
from crawl.frontier import FrontierRules
from crawl.frontier_transforms import SelectDue
from crawl.records import Candidate, CrawlEntry, SourceText
from crawl.transforms import WriteTable
from crawl.urls import url_key
from filter.filter_config import FilterConfig
from filter.judging import JudgeConfig
from filter.records import Best, ImageOutcome, Judged, Pair, ScoredText
from filter.transforms import ChooseImages, FilterPairs, JudgeCandidates
from shards.order import OrderConfig, order_of
from shards.records import Placed, RegionAddress
from shards.transforms import AssignShards

# What is run of each size: the name of a job, and what its rows are.
JOBS = (("select", "even"), ("select", "hot host"), ("judge", "even"), ("filter", "even"), ("filter", "hot caption"),
        ("filter", "hot image"), ("assign", "even"))
_CHUNK = 5000
_BUCKETS = 8
_PAGE = ("This is the page of a small museum and it has many pictures of the birds that you can see on the lake when "
         "you walk along the shore in the morning.")


@dataclasses.dataclass(frozen=True)
class Always(Rows):
    """Rows that are all of one kind."""

    only: str = "plain"

    def kind(self, number: int) -> str:
        """Returns it."""
        return self.only


def entry(number: int, one_host: bool) -> CrawlEntry:
    """Returns a URL that is due."""
    host = "big.example" if one_host else f"h{number % 5000}.example"
    url = f"https://{host}/{number % 40}/{number}.html"
    return CrawlEntry(url_key(url), url, "page", number % 7, "due", 0, 0, -1)


def candidate(rows: Rows, number: int) -> Candidate:
    """Returns the occurrence of an image that `made` gives the same number."""
    row, _, _ = made(rows, number)
    return Candidate(
        occurrence=row.occurrence, page_key=row.page_key, page_url=row.page_url, image_key=row.image_key,
        image_url=row.image_url, found_in="img.src", alternatives=(),
        texts=(SourceText("alt", row.captions[0].text), SourceText("heading", f"Pictures of {number // 4}")),
        alt_present=True, declared_width=640, declared_height=480, ordinal=row.ordinal, images_on_page=4, in_main=True,
        repeats_on_page=1, link_href="", html_lang="en", page_title=row.page_title, page_text=_PAGE,
        permission="allow", signals=(), page_record_id="", page_sha256=row.page_sha256,
        page_fetched_at=row.page_fetched_at)


def placed(number: int, config: OrderConfig) -> Placed:
    """Returns a sample with its addresses; one in five is of the test split."""
    sha256 = hashlib.sha256(b"sample %d" % number).hexdigest()
    row, image, facts = made(Always(1, 0), number)
    text = row.captions[0].text
    best = Best(
        key=sha256[:32], image_sha256=sha256, caption=text, source="alt", score=0.75,
        split="test" if number % 5 == 0 else "train", texts=(ScoredText("alt", text, 0.75),), image_url=row.image_url,
        page_url=row.page_url, image_urls=(row.image_url,), num_occurrences=1, format="jpg", width=640, height=480,
        orientation=1, perceptual_hash=facts.perceptual_hash, caption_hash=sha256[:16], group_hash=sha256[16:32],
        natural=0.875, page_language="en", permission="allow", signals=(), page_record_id="",
        page_sha256=row.page_sha256, page_fetched_at=row.page_fetched_at, image_fetched_at=image.fetched_at,
        part=image.part, offset=image.offset, length=image.length)
    regions = RegionAddress(best.key, "extracted", "regions/p.tar", number * 4096, 4096, sha256, 36)
    return Placed(order_of(best.key, config), best, regions, 53_000)


def _each(root: Any, total: int, make: Callable[[int], Any]) -> Any:
    def chunk(start: int) -> Iterator[Any]:
        for number in range(start, min(start + _CHUNK, total)):
            yield make(number)
    return (root | beam.Create(range(0, total, _CHUNK)) | "Spread" >> beam.Reshuffle() | "Rows" >> beam.FlatMap(chunk))


def job(name: str, kind: str, total: int, folder: pathlib.Path) -> Callable[[Any], None]:
    """Returns what builds one job; its tables go into the folder, with the name of who wrote them.

    Args:
        name: select, judge, filter or assign.
        kind: even; hot host (select), hot caption or hot image (filter).
    """
    at = str(folder)
    rows = Always(total, 0, kind) if kind.startswith("hot ") else Rows(total, 0)

    def select(root: Any) -> None:
        due = (_each(root, total, lambda number: entry(number, kind == "hot host"))
               | SelectDue(FrontierRules(), 8))
        due | "Count" >> beam.combiners.Count.Globally() | beam.Map(_write_count, folder)

    def judge(root: Any) -> None:
        judged = _each(root, total, lambda number: candidate(rows, number)) | JudgeCandidates(JudgeConfig())
        judged | "Write judged" >> WriteTable(at, "judged", Judged, "occurrence", _BUCKETS)
        (judged | ChooseImages() | "Count" >> beam.combiners.Count.Globally() | beam.Map(_write_count, folder))

    def filtered(root: Any) -> None:
        tables = (root | MadeTables(rows)) | FilterPairs(FilterConfig(buckets=_BUCKETS))
        for table, (record, key) in {"pairs": (Pair, "pair_id"), "best": (Best, "key"),
                                     "image_outcomes": (ImageOutcome, "sha256")}.items():
            tables[table] | f"Write {table}" >> WriteTable(at, table, record, key, _BUCKETS)
        tables["best"] | "Count" >> beam.combiners.Count.Globally() | beam.Map(_write_count, folder)

    def assign(root: Any) -> None:
        config = OrderConfig()
        shards = _each(root, total, lambda number: placed(number, config)) | AssignShards(at, config)
        (shards | beam.MapTuple(lambda stem, samples: len(list(samples))) | beam.CombineGlobally(sum)
         | beam.Map(_write_count, folder))

    return {"select": select, "judge": judge, "filter": filtered, "assign": assign}[name]


def _write_count(count: int, folder: pathlib.Path) -> None:
    (folder / "came-out").write_text(str(count))
