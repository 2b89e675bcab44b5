import pytest

from crawl.records import ALLOW, DENY, UNKNOWN
from crawl.tdmrep import TdmRep

FILE = b"""[{"location": "/open/*.jpg$", "tdm-reservation": 0}, {"location": "/open", "tdm-reservation": 1},
            {"location": "/odd", "tdm-reservation": 7}, {"location": "/text", "tdm-reservation": "1"}]"""


@pytest.mark.parametrize("target, verdict", [
    ("/open/a.jpg", ALLOW), ("/open/a.png", DENY), ("/odd/x", UNKNOWN), ("/text", DENY), ("/OPEN/a.png", None),
    ("/", None)])
def test_the_first_entry_that_fits_counts(target, verdict):
    assert [signal.verdict for signal in TdmRep(FILE).signals(target)] == ([verdict] if verdict else [])


@pytest.mark.parametrize("data", [
    b"", b"<html>", b"{}", b"[1, null]", b'[{"location": 3}]', b"[" * 100_000, b"\xff\xfe", b"NaN"])
def test_a_malformed_file_says_nothing(data):
    assert TdmRep(data).signals("/") == ()


def test_a_true_is_no_one():
    assert TdmRep(b'[{"location": "/", "tdm-reservation": true}]').signals("/")[0].verdict == UNKNOWN
