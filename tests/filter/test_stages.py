"""judge -> features -> filter on hand-made tables, through Beam."""
from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from crawl.funnel import image_requests
from crawl.records import ImageFetch
from filter.aggregate import AggregateRules
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Best, ImageFacts, ImageOutcome, Judged, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, texts

SITE = "https://a.example"


def _candidates():
    heron, barn = f"{SITE}/heron.jpg", f"{SITE}/barn.jpg"
    rows = [
        candidate(heron, texts=texts(alt="A grey heron stands in the shallow water of the lake", title="bird")),
        candidate(f"{SITE}/small/heron.jpg", f"{SITE}/p2", texts=texts(alt="A heron on the lake in the evening light")),
        candidate(barn, f"{SITE}/p3", texts=texts(alt="A red barn stands behind the old wooden fence",
                                                   heading="Barns of the North")),
        candidate(barn, f"{SITE}/p4", texts=texts(alt="The same barn seen from the road in winter")),
        candidate(f"{SITE}/tile.jpg", f"{SITE}/p5"),
        candidate(f"{SITE}/gone.jpg", f"{SITE}/p6", texts=texts(alt="A boat with a white sail leaves the harbour")),
        candidate(f"{SITE}/tiny.jpg", f"{SITE}/p6", texts=texts(alt="A boat with a brown sail leaves the harbour")),
        candidate(f"{SITE}/half.jpg", f"{SITE}/p6", texts=texts(alt="A boat with a green sail leaves the harbour")),
        candidate(f"{SITE}/site-logo.png", f"{SITE}/p6"),
        candidate(f"{SITE}/side.jpg", f"{SITE}/p6", in_main=False),
        candidate(f"{SITE}/de.jpg", f"{SITE}/p7", page_text=tiny_web.GERMAN, html_lang="de"),
        candidate(f"{SITE}/denied.jpg", f"{SITE}/p8", permission="deny"),
    ]
    rows += [candidate(f"{SITE}/same{n}.jpg", f"{SITE}/s{n}", texts=texts(alt="A view of our holiday by the sea"))
             for n in range(4)]
    rows += [candidate(f"{SITE}/nothing.jpg", f"{SITE}/n{n}", texts=texts(alt=f"A {word} house stands on the hill"))
             for n, word in enumerate(("red", "blue", "tall", "old", "new", "small", "white", "stone"))]
    return rows


def _bodies():
    heron = photograph(1)
    bodies = {
        f"{SITE}/heron.jpg": jpeg(heron), f"{SITE}/small/heron.jpg": jpeg(heron.resize((380, 304)), 70),
        f"{SITE}/barn.jpg": jpeg(photograph(2)), f"{SITE}/tiny.jpg": jpeg(photograph(3, (300, 299))),
        f"{SITE}/tile.jpg": jpeg(photograph(9).point(lambda _: 128)), f"{SITE}/half.jpg": jpeg(photograph(4))[:9000],
        f"{SITE}/nothing.jpg": jpeg(photograph(5)),
    }
    return bodies | {f"{SITE}/same{n}.jpg": jpeg(photograph(10 + n)) for n in range(4)}


CONFIG = FilterConfig(aggregate=AggregateRules(max_images_per_caption=3), min_score=0.3)


def _build(out, rows, buckets=2, parts=1):
    tiny_web.commit_crawl(out, rows, buckets)
    judged = judge(out, JudgeConfig(buckets=buckets), tiny_web.run)
    tiny_web.commit_images(out, judged, _bodies(), parts)
    measured = features(out, FeaturesConfig(buckets=buckets), tiny_web.run)
    return judged, measured, filter_pairs(out, dataclasses.replace(CONFIG, buckets=buckets), tiny_web.run)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return _build(str(tmp_path_factory.mktemp("out")), _candidates())


def test_judge_gives_every_candidate_one_outcome(built):
    judged = rows_of(built[0], "judged", Judged)
    assert len(judged) == len(_candidates())
    assert Counter(row.outcome for row in judged if row.outcome != "fetch") == {
        "not_fetched_boilerplate_url": 1, "not_fetched_not_in_main": 1, "not_fetched_page_language": 1,
        "not_fetched_not_permitted": 1}
    assert built[0].funnel[0].rows_in == len(judged)


def test_judge_says_which_image_urls_it_spares(built):
    urls = {row.image_url for row in rows_of(built[0], "judged", Judged)}
    asked = {row.image_url for row in rows_of(built[0], "judged", Judged) if row.outcome == "fetch"}
    line = built[0].funnel[1]
    assert (line.unit, line.rows_in) == ("image URL", len(urls)) and line.adds_up()
    assert dict(line.outcomes) == {"fetch": len(asked), "not_fetched": len(urls) - len(asked)}
    assert len(asked) == len(rows_of(built[0], "fetch", ImageFetch)) < len(urls)
    assert image_requests([*built[0].funnel, *built[2].funnel]) == {
        "image_urls": len(urls), "asked": len(asked), "saved": 4, "kept": 2, "saved_per_kept_pair": 2.0}


def test_features_has_a_row_for_each_distinct_image(built):
    facts = rows_of(built[1], "features", ImageFacts)
    assert len({row.sha256 for row in facts}) == len(facts) == 11
    assert Counter(row.outcome for row in facts) == {"decoded": 10, "truncated_image": 1}


def test_filter_keeps_the_right_pairs_and_names_the_others(built):
    kept = {row.image_url: row.caption for row in rows_of(built[2], "best", Best)}
    assert kept == {f"{SITE}/heron.jpg": "A grey heron stands in the shallow water of the lake",
                    f"{SITE}/barn.jpg": "A red barn stands behind the old wooden fence"}
    assert Counter(row.outcome for row in rows_of(built[2], "pairs", Pair)) == {
        "kept": 2, "near_duplicate": 1, "worse_text": 1, "low_score": 1, "flat": 1, "not_arrived_http_404": 1,
        "too_small": 1,
        "truncated_image": 1, "shared_caption": 4, "placeholder": 8}
    assert Counter(row.outcome for row in rows_of(built[2], "image_outcomes", ImageOutcome)) == {
        "kept": 2, "near_duplicate": 1, "flat": 1, "too_small": 1, "truncated_image": 1, "shared_caption": 4,
        "placeholder": 1}


def test_funnels_add_up_across_stages(built):
    judged, measured, filtered = built
    images, pairs = filtered.funnel
    assert images.rows_in == measured.funnel[0].rows_in
    assert dict(images.outcomes)["kept"] == dict(pairs.outcomes)["kept"] == filtered.rows("best")
    assert all(line.adds_up() for manifest in built for line in manifest.funnel)


def test_best_carries_provenance_and_address(built):
    heron = next(row for row in rows_of(built[2], "best", Best) if "heron" in row.image_url)
    assert heron.num_occurrences == 2 and heron.image_urls == (heron.image_url, f"{SITE}/small/heron.jpg")
    assert [text.text for text in heron.texts] == ["A grey heron stands in the shallow water of the lake",
                                                   "A heron on the lake in the evening light"]
    assert heron.key == heron.image_sha256[:32] and heron.permission == "allow" and heron.part and heron.length


def test_same_rows_in_another_order_and_cut_give_the_same_tables(built, tmp_path):
    again = _build(str(tmp_path), _candidates()[::-1], buckets=1, parts=2)
    tables = [("judged", "fetch"), (), ("pairs", "best", "image_outcomes")]
    address = {"part": "", "offset": 0}                          # where the bytes lie is measured, not derived
    for first, second, names in zip(built, again, tables, strict=True):
        assert all(first.table_digest(name) == second.table_digest(name) for name in names if name != "best")
    plain = [sorted((dataclasses.replace(row, **address) for row in rows_of(one[2], "best", Best)),
                    key=lambda row: row.key) for one in (built, again)]
    assert plain[0] == plain[1]


def test_a_finished_stage_is_not_run_again(built):
    def refuse(name, build):
        raise AssertionError(f"{name} ran again")

    assert filter_pairs(built[2].out, dataclasses.replace(CONFIG, buckets=2), refuse).digest == built[2].digest
