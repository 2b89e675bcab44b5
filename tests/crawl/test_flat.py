"""Records over a pipe: the same record comes back, and nothing else becomes one."""
import json

import pytest

from crawl.flat import flat, unflat
from crawl.records import Candidate, FetchLog, Link, Signal, SourceText
from tests.crawl.test_page_work import log_of

CANDIDATE = Candidate(
    occurrence="0" * 32, page_key="a", page_url="http://a/", image_key="b", image_url="http://a/b", found_in="img.src",
    alternatives=("http://a/c", "http://a/d"), texts=(SourceText("alt", "a cat"), SourceText("title", "ü\ud800")),
    alt_present=True, declared_width=3, declared_height=0, ordinal=1, images_on_page=2, in_main=False,
    repeats_on_page=1, link_href="", html_lang="", page_title="t", page_text="x", permission="allow",
    signals=(Signal("robots", "", "allow", "line 3"),), page_record_id="", page_sha256="", page_fetched_at="")


@pytest.mark.parametrize("record", [CANDIDATE, log_of(3), Link("a", "b", "c", 1, True)])
def test_a_record_comes_back_equal(record):
    assert unflat(type(record), json.loads(json.dumps(flat(record)))) == record


def test_fields_left_out_are_given_again():
    sent = json.loads(json.dumps(flat(CANDIDATE, frozenset({"page_url", "signals"}))))
    assert unflat(Candidate, sent, page_url="http://a/", signals=CANDIDATE.signals) == CANDIDATE


@pytest.mark.parametrize("change", [
    (0, 3), (0, None), (6, ["http://a/c", 4]), (6, "no list"), (6, {"a": 1}), (7, [["alt"]]), (7, [["alt", 1]]),
    (7, ["alt"]), (8, 1), (9, True), (9, 3.0), (20, [["robots", "", "allow"]])])
def test_anything_else_is_refused(change):
    place, value = change
    values = flat(CANDIDATE)
    values[place] = value
    with pytest.raises(ValueError):
        unflat(Candidate, json.loads(json.dumps(values)))


@pytest.mark.parametrize("values", [None, "text", 3, {}, [], [1, 2], flat(CANDIDATE)[:-1], [*flat(CANDIDATE), ""]])
def test_lists_of_another_form_are_refused(values):
    with pytest.raises(ValueError, match="no "):
        unflat(Candidate, values)
    with pytest.raises(ValueError, match="no FetchLog"):
        unflat(FetchLog, values)
