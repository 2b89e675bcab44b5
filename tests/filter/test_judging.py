"""One candidate for each reason for which nothing is fetched."""
from __future__ import annotations

import pytest

from crawl.permission import PermissionRules
from filter.judging import JudgeConfig, judge_candidate, settle_page
from tests.filter.tiny_web import GERMAN, candidate, texts

IMAGE = "https://a.example/heron.jpg"


@pytest.mark.parametrize(("changes", "outcome"), [
    ({}, "fetch"),
    ({"permission": "unknown"}, "fetch"),
    ({"permission": "deny"}, "not_fetched_not_permitted"),
    ({"repeats_on_page": 9}, "not_fetched_repeated_on_page"),
    ({"declared_width": 16, "declared_height": 16}, "not_fetched_declared_too_small"),
    ({"declared_height": 60}, "not_fetched_declared_too_small"),
    ({"declared_width": 728, "declared_height": 120}, "not_fetched_declared_too_narrow"),
    ({"image_url": "https://a.example/img/site-logo.png"}, "not_fetched_boilerplate_url"),
    ({"image_url": "https://pixel.a.example/x.gif"}, "not_fetched_boilerplate_url"),
    ({"image_url": "https://a.example/drawing.svg"}, "not_fetched_vector_or_icon_url"),
    ({"page_text": GERMAN}, "not_fetched_page_language"),
    ({"texts": ()}, "not_fetched_no_text"),
    ({"texts": texts(alt="IMG_2034.JPG")}, "not_fetched_file_name"),
    ({"texts": texts(title="A heron", alt="logo")}, "not_fetched_boilerplate"),
    ({"texts": texts(alt="Ein grauer Reiher steht im Wasser und wartet auf die Fische")}, "not_fetched_other_language"),
    ({"texts": texts(alt="", page_title="The heron is a bird that waits for fish")}, "not_fetched_decorative"),
    ({"texts": texts(alt="", figcaption="The heron is a bird that waits for the fish.")}, "fetch"),
    ({"texts": texts(alt="bird", figcaption="The heron is a bird that waits for the fish.")}, "fetch"),
])
def test_judge_candidate(changes, outcome):
    row = dict(changes)
    assert judge_candidate(candidate(row.pop("image_url", IMAGE), **row), JudgeConfig()).outcome == outcome


def test_strict_policy_asks_for_permission():
    config = JudgeConfig(permission=PermissionRules(unknown="deny"))
    unknown = candidate(IMAGE, permission="unknown", signals=())
    assert judge_candidate(unknown, config).outcome == "not_fetched_not_permitted_unknown"
    assert judge_candidate(unknown, JudgeConfig()).outcome == "fetch"
    assert judge_candidate(candidate(IMAGE), config).outcome == "fetch"


def test_every_text_is_kept_with_its_reason():
    row = judge_candidate(candidate(IMAGE, texts=texts(title="bird", alt="A heron stands in the water")), JudgeConfig())
    assert [(caption.source, caption.reason) for caption in row.captions] == [("alt", ""), ("title", "too_few_words")]


def test_an_image_beside_the_main_part_gives_way_to_those_in_it():
    main = judge_candidate(candidate(IMAGE), JudgeConfig())
    aside = judge_candidate(candidate("https://a.example/b.jpg", in_main=False), JudgeConfig())
    head = judge_candidate(candidate("https://a.example/c.jpg", in_main=False, found_in="og:image"), JudgeConfig())
    settled = settle_page([aside, main, head], JudgeConfig())
    assert [row.image_url for row in settled if row.outcome == "not_fetched_not_in_main"] == [aside.image_url]
    assert {row.outcome for row in settle_page([aside, head], JudgeConfig())} == {"fetch"}
    assert sum(row.outcome == "fetch" for row in settle_page([head, main, aside], JudgeConfig())) == 2


def test_an_image_of_a_sitemap_is_judged_by_its_own_texts_and_is_no_aside():
    said = texts(page_title="Farm", image_title="The barn", image_caption="The red barn stands in the green field.")
    named = judge_candidate(candidate("https://a.example/d.jpg", in_main=False, found_in="sitemap", alt_present=False,
                                      texts=said), JudgeConfig())
    assert [(caption.source, caption.reason) for caption in named.captions][:2] == [
        ("image_caption", ""), ("image_title", "too_few_words")]
    settled = settle_page([judge_candidate(candidate(IMAGE), JudgeConfig()), named], JudgeConfig())
    assert {row.outcome for row in settled} == {"fetch"}


def test_a_text_under_many_images_of_a_page_is_about_the_page():
    rows = [judge_candidate(candidate(f"https://a.example/{n}.jpg"), JudgeConfig()) for n in range(4)]
    assert {row.outcome for row in settle_page(rows[:3], JudgeConfig())} == {"fetch"}
    assert {row.outcome for row in settle_page(rows, JudgeConfig())} == {"not_fetched_shared_on_page"}


def test_a_heading_belongs_to_the_first_image_below_it():
    rows = [judge_candidate(candidate(f"https://a.example/{n}.jpg", ordinal=n,
                                      texts=texts(heading="A heron stands in the shallow water")), JudgeConfig())
            for n in range(4)]
    assert [row.outcome for row in settle_page(rows[::-1], JudgeConfig())] == [
        "fetch", *["not_fetched_shared_on_page"] * 3]
