"""Cleaning, and one caption for each reason."""
from __future__ import annotations

import pytest

from filter.captions import CaptionRules, clean_caption, normalise_caption, read_caption, reject_caption
from filter.sentences import sentences

RULES = CaptionRules()


@pytest.mark.parametrize(("raw", "cleaned"), [
    ("Fish &amp;amp; chips on a plate", "Fish & chips on a plate"),
    ("A dog on a beach http://a.example/x?y=1 at dusk", "A dog on a beach at dusk"),
    ("A dog on a beach IMG_2034.JPG", "A dog on a beach"),
    ("[figure: A heron in shallow water]", "A heron in shallow water"),
    ("[Illustration]", "Illustration"),
    ("[A heron in shallow water]", "A heron in shallow water"),
    ("Figure 12.3 – The heart of a frog", "The heart of a frog"),
    ("THE GREAT CRESTED GREBE AND ITS NEST", "The great crested grebe and its nest"),
    ("A heron. Photo by Jane Doe/Getty Images", "A heron."),
    ("A heron (credit: Jane Doe)", "A heron"),
    ("A heron on a lake © 2019 Lake Museum", "A heron on a lake"),
    ("A heron on a lake (click to enlarge)", "A heron on a lake"),
    ("A heron on a lake - stock photo", "A heron on a lake"),
    ("A heron on a lake | Lake Museum", "A heron on a lake"),
    ("Sunset at the lake #sunset #lake 😍", "Sunset at the lake"),
    ("<b>A heron</b>\n on   a lake!!!", "A heron on a lake!"),
    ("“A heron on a lake”", "A heron on a lake"),
    ("Mount Wilson Observatory. FIG. 11.—MARS, showing the dark markings", "MARS, showing the dark markings"),
    ('A gradient in a cell. (credit: "Synaptitude"/Wikimedia Commons)', "A gradient in a cell."),
    ("A tower [1] of stone", "A tower of stone"),
    ("a photo of a big red circle on the green grass", "a photo of a big red circle on the green grass"),
    ("A photo by the window in the morning", "A photo by the window in the morning"),
    ("***", ""),
])
def test_clean_caption(raw, cleaned):
    assert clean_caption(raw) == cleaned
    assert clean_caption(cleaned) == cleaned


@pytest.mark.parametrize(("caption", "reason"), [
    ("", "empty"), ("A heron", "too_few_words"), (" ".join(["herons and egrets"] * 20), "too_many_words"),
    (" ".join(f"{a}{b}ing" for a in ("walk", "talk", "jump", "sail", "fish", "wash", "look") for b in
              ("", "er", "or", "en", "est", "ist", "ard")), "too_many_words"),
    ("IMG_2034", "file_name"), ("red_car_2", "file_name"), ("holiday at sea.jpg", "file_name"),
    ("Call us on 030 1234 5678 today", "personal_data"), ("Write to jane.doe@a.example for prints", "personal_data"),
    ("O. J. J. Shepstone.", "credit"),
    ("From the reconstruction by J. H. McGregor.", "credit"), ("Reproduced from an old book of plates", "credit"),
    ("Image not available", "boilerplate"), ("Home | About us | Contact | Login", "menu_text"),
    ("home about contact login page", "menu_text"), ("¶ § ※ † a ‡ ‖ b", "mostly_symbols"),
    ("cheap red shoes for you", "spam_words"), ("order 4711 0815 2020 1234 now", "too_many_digits"),
    ("shoes shoes shoes red shoes", "repeated_words"), ("xkcvb qwrtz plmkq of the year", "out_of_vocabulary"),
    ("A grey heron stands in the water", None), ("a tiny striped red ring to the left of a blue star", None),
])
def test_reject_caption(caption, reason):
    assert reject_caption(caption, RULES) == reason


@pytest.mark.parametrize(("source", "raw", "read"), [
    ("alt", "DSC01234", ("", "file_name")),
    ("alt", "mail me: jane@a.example, a heron on the lake", ("", "personal_data")),
    ("alt", "click to enlarge", ("", "boilerplate")),
    ("alt", "   ", ("", "empty")),
    ("alt", "a big striped red circle to...", ("a big striped red circle to.", "cut_off")),
    ("surrounding", "of the facts known to those who read " * 9 + "this. The heron stands in the water. And they",
     ("The heron stands in the water.", "")),
    ("surrounding", "a heron stands in the water of the lake", ("a heron stands in the water of the lake", "")),
    ("surrounding", "a heron stands in the water\nWe left in the morning.",
     ("a heron stands in the water", "")),
    ("alt", "cheap herons, best price, click here", ("", "spam_words")),
    ("alt", "A heron stands in the water - a.example", ("A heron stands in the water", "")),
    ("surrounding", "Read on. The grey heron stands in the water. It waits for fish in the morning.",
     ("The grey heron stands in the water.", "")),
])
def test_read_caption(source, raw, read):
    assert read_caption(source, raw, RULES) == read


def test_long_text_gives_its_first_sentence_within_limits():
    first = "The heart of Mr. Smith's frog has three rooms, two above and one below."
    assert read_caption("figcaption", first + " It beats slowly." * 20, RULES) == (first, "")


def test_sentences_do_not_end_after_initials():
    assert sentences("A work of J. S. Bach in St. Thomas. It is old! Is it?") == [
        "A work of J. S. Bach in St. Thomas.", "It is old!", "Is it?"]


def test_normalise_caption_is_the_identity_of_a_caption():
    assert normalise_caption("The  CAFÉ—at night.") == normalise_caption("the cafe at night") == "the cafe at night"


@pytest.mark.parametrize(("raw", "caption"), [
    ("A boat on the lake – pictures.a.example archive", "A boat on the lake"),
    ("A boat on the lake © pictures.a.example 2021", "A boat on the lake"),
    ("A boat on the lake. © J. Doe 2021. It sails.", "A boat on the lake. It sails."),
    ("A boat on the lake. Scroll down for the story of it", "A boat on the lake."),
    ("A boat - the last one", "A boat - the last one")])
def test_addresses_in_suffixes_and_copyright_lines_go_whole(raw, caption):
    assert clean_caption(raw) == caption


def test_a_rule_is_switched_off_by_its_reason_and_the_next_one_still_holds():
    assert read_caption("alt", "IMG_2034.jpg", CaptionRules())[1] == "file_name"
    allowed = CaptionRules(let_pass=("file_name",))
    assert read_caption("alt", "A heron - lake-2034-a on the shore of it", allowed)[1] == ""
    assert read_caption("alt", "buy buy buy shoes", CaptionRules(let_pass=("spam_words",)))[1] == "repeated_words"
    with pytest.raises(ValueError, match="spam_wrods"):
        CaptionRules(let_pass=("spam_wrods",))
