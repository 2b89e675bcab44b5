"""Personal data in texts: what is somebody's, what only looks like it, and the three policies."""
from __future__ import annotations

import pytest

from filter.captions import CaptionRules, read_caption
from filter.judging import JudgeConfig, read_text
from filter.personal import masked, shown

MASKING = CaptionRules(personal_data="mask")


@pytest.mark.parametrize("text, mask", [
    ("Write to jane.doe+art@mail.a.example for prints", "Write to <email> for prints"),
    ("The office, +49 30 1234567", "The office, <phone>"),
    ("Reach her at +1 (555) 123-4567.", "Reach her at <phone>."),
    ("Studio 0049-89-12345-678 in the yard", "Studio <phone> in the yard"),
    ("The shop (030) 1234 5678 in spring", "The shop <phone> in spring"),
    ("A van with 555-123-4567 on its side", "A van with <phone> on its side"),
    ("Call us on 030 1234 5678 today", "Call us on <phone> today"),
    ("Call 5551234 for a ride", "Call <phone> for a ride"),
    ("A card, 4111 1111 1111 1111, on the table", "A card, <number>, on the table"),
    ("Passport 123456789 of a man", "Passport <number> of a man"),
    ("Number 078-05-1120 was printed", "Number <number> was printed"),
    ("a@b.example and c@d.example", "<email> and <email>"),
])
def test_what_is_somebodys_is_masked(text, mask):
    assert shown(masked(text)) == mask
    assert read_caption("alt", text, CaptionRules(let_pass=("too_many_digits",)))[1] == "personal_data"


@pytest.mark.parametrize("text", [
    "The war of 1914-1918 in the north", "Winners of 1998, 2002, 2006 and 2010", "Olympics 1936 1948 1952 1956",
    "A car for $1,299,000.00 in the window", "A house for 12500000 euros", "A screen of 1024x768 or 1920 x 1080",
    "Taken on 2019-04-12 at noon", "Called on 12.04.2019 by a friend", "The phone of 2007, 2008 and 2009",
    "Pi is 3.14159265358979", "A population of 1,407,000,000 people", "A cell magnified 1000000 times",
    "A book, ISBN 978-3-16-148410-0, on a shelf", "A book (ISBN-13: 9783161484100) on a shelf",
    "Route 66 at mile 1234567", "Flight 2001 to 90210 at 12:30", "Meet @ the lake", "Ratio 16:9 at 300 dpi",
    "Galaxy NGC 1300 at 61,300,000 light years",
    "Rooms 4111 1111 1111 1112 of the hotel"])
def test_what_only_looks_like_it_stays(text):
    assert masked(text) == text
    assert read_caption("alt", text, CaptionRules())[1] != "personal_data"


def test_a_mask_survives_the_cleaning_and_stands_in_the_caption_and_in_what_the_table_keeps():
    raw = "A HERON ON THE LAKE BY JANE@A.EXAMPLE (click to enlarge)"
    assert read_caption("alt", raw, MASKING) == ("A heron on the lake by <email>", "")
    config = JudgeConfig(captions=MASKING)
    assert read_text("alt", "A heron on the lake, +49 30 1234567", "en", config).raw == "A heron on the lake, <phone>"
    assert "jane" not in read_text("alt", "A heron on the lake, jane@a.example", "en", JudgeConfig()).raw


def test_kept_means_kept():
    for rules in (CaptionRules(personal_data="keep"), CaptionRules(let_pass=("personal_data",))):
        assert read_caption("alt", "A white van with 555-123-4567 painted on its side in red", rules) == (
            "A white van with 555-123-4567 painted on its side in red", "")
    with pytest.raises(ValueError, match="personal_data is 'hide'"):
        CaptionRules(personal_data="hide")


def test_of_a_running_text_only_the_sentence_with_the_number_is_out():
    raw = "Call us on 030 1234 5678 today. A grey heron stands in the shallow water of the lake."
    assert read_caption("surrounding", raw, CaptionRules()) == (
        "A grey heron stands in the shallow water of the lake.", "")


def test_a_megabyte_of_digits_takes_no_time():
    import time
    began = time.process_time()
    for piece in ("1 ", "12-", "(1) ", "+4", "a@", "0"):
        masked(piece * 3000)
    assert time.process_time() - began < 5
