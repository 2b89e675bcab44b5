"""Languages of pages and captions."""
from __future__ import annotations

import pytest

from crawl.errors import UsageError
from filter.language import caption_language, page_language, stop_words


@pytest.mark.parametrize(("text", "code"), [
    ("a big striped red circle to the left of a small blue star", "en"),
    ("Ein kleines rotes Haus steht am Ufer eines Sees", "de"),
    ("une petite maison rouge au bord de l'eau", "fr"),
    ("una casa roja junto al lago de la ciudad", "es"),
    ("una piccola casa rossa vicino al lago", "it"),
    ("uma casa vermelha perto do lago com um barco", "pt"),
    ("een klein rood huis staat naast het water", "nl"),
    ("mały czerwony dom stoi nad jeziorem", "pl"),
    ("ett litet rött hus står bredvid sjön", "sv"),
    ("Маленький красный дом у озера, который мы видели", "ru"),
    ("湖のほとりの小さな赤い家", "ja"), ("湖边的红色小房子", "zh"), ("호숫가의 작은 빨간 집", "ko"),
    ("Ένα μικρό κόκκινο σπίτι", "el"), ("بيت أحمر صغير", "ar"), ("בית אדום קטן", "he"), ("บ้านสีแดงหลังเล็ก", "th"),
    ("Golden Gate Bridge", "und"), ("12 34", "und"), ("", "und"),
])
def test_caption_language(text, code):
    assert caption_language(text) == code


def test_the_text_of_a_page_counts_more_than_what_it_declares():
    german = "Das ist die Seite eines kleinen Museums und sie hat viele Bilder."
    assert page_language(german, "en") == "de"
    assert page_language("Golden Gate Bridge", "en-US") == "en"
    assert page_language("Golden Gate Bridge", "not a code") == "und"


def test_a_wrong_model_path_is_said_in_one_line():
    with pytest.raises(UsageError, match="nowhere.ftz"):
        caption_language("a heron", "/nowhere.ftz")


def test_stop_words_are_by_language():
    assert "the" in stop_words() and "und" in stop_words("de") and not stop_words("xx")
