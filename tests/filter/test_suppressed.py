"""The suppress list in judge and filter: by address before the download, by hash and key where the image is known."""
from __future__ import annotations

import hashlib
import pathlib

import pytest

from crawl.errors import UsageError
from crawl.suppress import SUPPRESS, Suppressed, add_lines, parse_rule
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Best, ImageFacts, ImageOutcome, Judged, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, run, texts

A, B, C = "https://a.example", "https://pictures.b.example", "https://c.example"
SHARED = jpeg(photograph(1))
ALONE, OTHER = jpeg(photograph(2)), jpeg(photograph(3))
BODIES = {f"{A}/lake.jpg": SHARED, f"{B}/lake.jpg": SHARED, f"{B}/barn.jpg": ALONE, f"{C}/gate.jpg": OTHER}


@pytest.fixture()
def out(tmp_path: pathlib.Path) -> str:
    rows = [candidate(f"{A}/lake.jpg", f"{A}/p1", texts=texts(alt="A grey heron stands in the shallow lake")),
            candidate(f"{B}/lake.jpg", f"{B}/p2", texts=texts(alt="The heron of the lake waits for a small fish")),
            candidate(f"{B}/barn.jpg", f"{B}/p3", texts=texts(alt="A red barn stands behind the old fence")),
            candidate(f"{C}/gate.jpg", f"{C}/p4", texts=texts(alt="An iron gate closes the garden of the house"))]
    tiny_web.commit_crawl(str(tmp_path), rows)
    return str(tmp_path)


def listed(out: str, *rules: str) -> None:
    add_lines(out, [Suppressed(parse_rule(*rule.split(" ", 1)), "2026-01-01T00:00:00.000000Z", ()) for rule in rules])


def built(out: str) -> tuple[list[Judged], dict[str, Best], dict[str, str]]:
    judged = judge(out, JudgeConfig(buckets=1), run)
    tiny_web.commit_images(out, judged, dict(BODIES))
    features(out, FeaturesConfig(buckets=1), run)
    kept = filter_pairs(out, FilterConfig(min_score=0.0, buckets=1), run)
    outcomes = {row.sha256: row.outcome for row in rows_of(kept, "image_outcomes", ImageOutcome)}
    assert not any(row.outcome == "suppressed" for row in rows_of(kept, "pairs", Pair))        # no text of it is kept
    return rows_of(judged, "judged", Judged), {row.key: row for row in rows_of(kept, "best", Best)}, outcomes


def key(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def test_a_domain_is_judged_out_and_its_picture_survives_by_another_page(out: str) -> None:
    listed(out, "domain b.example")
    judged, best, _ = built(out)
    gone = [row for row in judged if row.outcome == "not_fetched_suppressed"]
    assert {row.page_url for row in gone} == {f"{B}/p2", f"{B}/p3"}
    assert not any(row.captions or row.page_title for row in gone)
    assert best.keys() == {key(SHARED), key(OTHER)} and best[key(SHARED)].image_urls == (f"{A}/lake.jpg",)


@pytest.mark.parametrize("kind", ["key", "sha256", "phash"])
def test_hashes_and_keys_hold_in_the_filter(out: str, kind: str) -> None:
    _, best, _ = built(out)
    assert len(best) == 3
    sha256 = hashlib.sha256(SHARED).hexdigest()
    facts = {row.sha256: row for row in rows_of(features(out, FeaturesConfig(buckets=1), run), "features", ImageFacts)}
    listed(out, f"{kind} " + {"key": sha256[:32], "sha256": sha256,
                              "phash": facts[sha256].perceptual_hash + ":2"}[kind])
    _, best, outcomes = built(out)
    assert best.keys() == {key(ALONE), key(OTHER)} and outcomes[sha256] == "suppressed"


def test_an_older_judge_does_not_bring_an_address_back(out: str) -> None:
    built(out)
    listed(out, f"url {B}/barn.jpg")
    kept = filter_pairs(out, FilterConfig(min_score=0.0, buckets=1), run)
    assert key(ALONE) not in {row.key for row in rows_of(kept, "best", Best)}


def test_a_damaged_list_stops_every_stage(out: str) -> None:
    built(out)
    pathlib.Path(out, SUPPRESS).write_text('{"kind": "key"}\n')
    for stage in (lambda: judge(out, JudgeConfig(buckets=1), run), lambda: filter_pairs(out, FilterConfig(), run)):
        with pytest.raises(UsageError, match="suppress.jsonl, line 1: damaged"):
            stage()
