"""Each preset keeps and rejects what its published rules say, on made rows; its page and its manifest are true."""
from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib

import pytest

from crawl.errors import UsageError
from crawl.funnel import outcomes_text
from filter.cli import preset_of, register
from filter.filter_run import filter_pairs
from filter.images import reject_image
from filter.judge_run import judge
from filter.judging import FETCH, judge_candidate
from filter.presets import PRESETS, preset_page
from filter.records import ImageFacts, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, texts

FACTS = ImageFacts(sha256="a", outcome="decoded", format="jpg", width=800, height=600, orientation=1, mode="RGB",
                   num_bytes=90_000, part="p", offset=0, length=9, deviation=1.0, entropy=1.0, perceptual_hash="0" * 16,
                   difference_hash="0" * 16, natural=0.0, colours=())
KEPT = None


@pytest.mark.parametrize("preset, changes, reason", [
    ("cc3m", {}, KEPT), ("cc3m", {"format": "png"}, "format_not_kept"), ("cc3m", {"height": 400}, "too_small"),
    ("cc3m", {"width": 1200}, KEPT), ("cc3m", {"width": 1201}, "too_narrow"),
    ("cc12m", {"width": 1500}, KEPT), ("cc12m", {"width": 1501}, "too_narrow"), ("cc12m", {"width": 400}, "too_small"),
    ("cc12m", {"format": "webp"}, "format_not_kept"),
    ("coyo", {"width": 200, "height": 200, "num_bytes": 5000}, KEPT), ("coyo", {"height": 199}, "too_small"),
    ("coyo", {"num_bytes": 4999}, "too_few_bytes"), ("coyo", {"width": 1800}, KEPT),
    ("coyo", {"width": 1801}, "too_narrow"),
    ("laion", {"width": 40, "height": 900, "format": "png"}, KEPT), ("laion", {"num_bytes": 4999}, "too_few_bytes"),
    ("laion", {"format": "gif"}, "format_not_kept"),
    ("datacomp-basic", {"height": 200}, "too_small"), ("datacomp-basic", {"height": 201, "width": 602}, KEPT),
    ("datacomp-basic", {"width": 1800}, "too_narrow"), ("datacomp-basic", {"width": 1799, "num_bytes": 900}, KEPT),
    ("lait", {}, "flat"), ("lait", {"height": 300}, "too_small"),
])
def test_images(preset, changes, reason):
    assert reject_image(dataclasses.replace(FACTS, **changes), PRESETS[preset].filter.images) == reason


@pytest.mark.parametrize("preset, alt, reason", [
    ("cc3m", "A heron stands in the water", ""), ("cc3m", "Heron standing in water", "no_determiner"),
    ("cc3m", "The grey heron", "no_preposition"), ("cc3m", "this of that", "no_content_word"),
    ("cc3m", "a duck of the porn kind", "spam_words"),
    ("cc12m", "The grey heron", ""), ("cc12m", "The heron", "too_few_words"), ("cc12m", "Grey heron standing",
                                                                                "no_determiner"),
    ("cc12m", "the red the blue the green birds", "repeated_words"), ("cc12m", "a bird " + "of many colours " * 90,
                                                                       "repeated_words"),
    ("coyo", "Grey heron standing", ""), ("coyo", "a b c", "too_few_characters"),
    ("coyo", "Grey heron", "too_few_words"),
    ("coyo", "this of that is", "no_content_word"), ("coyo", "the porn of a grey heron", "spam_words"),
    ("coyo", "grey heron " * 129, "too_many_words"), ("coyo", "incomprehensibilities abc " * 39, "too_many_words"),
    ("laion", "heron", ""), ("laion", "bird", "too_few_characters"), ("laion", "IMG_2034.jpg", ""),
    ("laion", "Das ist der Reiher auf dem See und die Ente", "other_language"),
    ("datacomp-basic", "a grey heron", ""), ("datacomp-basic", "grey heron", "too_few_words"),
    ("datacomp-basic", "a b c", "too_few_characters"), ("datacomp-basic", "Home | About us | Contact | Login", ""),
    ("lait", "Home | About us | Contact | Login", "menu_text"), ("lait", "Grey heron standing", ""),
])
def test_alt_texts(preset, alt, reason):
    judged = judge_candidate(candidate("https://a.example/logo.jpg", in_main=False, texts=texts(alt=alt)),
                             PRESETS[preset].judge)
    assert judged.captions[0].reason == reason
    if preset != "lait":
        assert judged.outcome == (f"not_fetched_{reason}" if reason else FETCH)


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "lait"])
def test_other_texts_than_the_alt_are_not_used_and_personal_data_is_masked(preset):
    row = candidate("https://a.example/h.jpg", texts=texts(title="A heron stands in the water",
                                                           alt="A heron for jane@a.example stands in the water"))
    captions = {caption.source: caption for caption in judge_candidate(row, PRESETS[preset].judge).captions}
    assert captions["title"].reason == "source_not_used"
    assert (captions["alt"].text, captions["alt"].reason) == ("A heron for <email> stands in the water", "")


def test_spaces_alone_are_touched_where_the_source_does_no_more():
    raw = "Heron  in the\nwater &amp; reeds (click to enlarge)"
    texts_of = {name: judge_candidate(candidate("https://a.example/h.jpg", texts=texts(alt=raw)), preset.judge)
                .captions[0].text for name, preset in PRESETS.items()}
    assert texts_of["laion"] == texts_of["coyo"] == "Heron in the water & reeds (click to enlarge)"
    assert texts_of["cc12m"] == texts_of["lait"] == "Heron in the water & reeds"


def test_a_preset_from_candidates_to_pairs_and_what_its_manifest_says(tmp_path):
    out, site = str(tmp_path), "https://a.example"
    rows = [candidate(f"{site}/heron.jpg", texts=texts(alt="Heron 4 you")),
            candidate(f"{site}/short.jpg", texts=texts(alt="bird")),
            candidate(f"{site}/mail.jpg", texts=texts(alt="by jane@a.example"))]
    tiny_web.commit_crawl(out, rows)
    judged = judge(out, dataclasses.replace(PRESETS["laion"].judge, buckets=1), tiny_web.run)
    text = judged.funnel[2]
    assert (text.unit, text.rows_in) == ("text", 3) and text.adds_up()
    assert dict(text.outcomes) == {"passed": 1, "passed_masked": 1, "too_few_characters": 1}
    assert "passed_masked" in outcomes_text(text)
    tiny_web.commit_images(out, judged, {f"{site}/heron.jpg": jpeg(photograph(1)), f"{site}/mail.jpg": jpeg(
        photograph(2).resize((40, 30)))})
    from filter.features_run import FeaturesConfig, features
    features(out, FeaturesConfig(buckets=1), tiny_web.run)
    done = filter_pairs(out, dataclasses.replace(PRESETS["laion"].filter, buckets=1), tiny_web.run)
    assert {row.caption: row.outcome for row in rows_of(done, "pairs", Pair)} == {
        "Heron 4 you": "kept", "by <email>": "too_few_bytes"}
    assert done.extra["preset"]["name"] == "laion" and "CLIP" in "".join(done.extra["preset"]["not_reproduced"])
    unsafe, cosine, missing = done.notes
    assert unsafe.startswith("unsafe filter: off") and cosine.startswith("min_cosine 0.3: not applied")
    assert "preset laion: not reproduced: " in missing and "CLIP" in missing
    assert "CLIP" not in "".join(PRESETS["laion"].missing({"weights"}))
    other = filter_pairs(out, dataclasses.replace(PRESETS["coyo"].filter, buckets=1), tiny_web.run)
    assert "judged by other settings (captions)" in other.notes[2]


def _args(*words):
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers())
    return parser.parse_args(words)


def test_show_config_prints_the_whole_configuration_and_an_unknown_name_is_one_line(capsys, tmp_path):
    args = _args("filter", "--out", str(tmp_path), "--preset", "coyo", "--show-config", "--set", "images.min_side=99")
    assert args.command(args) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["preset"], shown["images"]["min_bytes"], shown["images"]["min_side"]) == ("coyo", 5000, 99)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="'koyo' is not known; there are lait, cc3m"):
        preset_of(_args("judge", "--out", "x", "--preset", "koyo"))


def test_the_page_of_the_documentation_is_what_the_command_prints():
    page = pathlib.Path(__file__).parents[2] / "docs" / "presets.md"
    assert page.read_text(encoding="utf-8") == preset_page()
