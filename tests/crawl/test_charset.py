"""Characters of a page: declarations in WHATWG's order, then the detector."""
from __future__ import annotations

import pathlib

import pytest

from crawl import charset

FIXTURES = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / "charset"


@pytest.mark.parametrize(("body", "content_type", "name"), [
    (b"\xef\xbb\xbf<meta charset=latin1>", "text/html; charset=koi8-r", "utf-8"),
    (b"\xff\xfea\x00", "text/html; charset=koi8-r", "utf-16le"),
    (b"<meta charset=utf-8>", "text/html; charset=KOI8-R", "koi8-r"),
    (b"<meta charset=utf-8>", "text/html; charset=klingon", "utf-8"),
    (b"<!-- <meta charset=koi8-r> --><META http-equiv='Content-Type' content='text/html; charset=ISO-8859-1'>", "",
     "windows-1252"),
    (b"<meta charset=utf-16>", "", "utf-8"),
    (b"<meta name=x content='charset=koi8-r'>caf\xc3\xa9", "", "utf-8"),
    (b" " * 1020 + b"<meta charset=koi8-r>", "", "windows-1252"),
])
def test_declarations_count_in_whatwg_order(body: bytes, content_type: str, name: str) -> None:
    assert charset.charset_of(body, content_type) == name


def test_every_encoding_decodes_and_every_label_is_unique() -> None:
    labels = [label for names in charset._LABELS.values() for label in names.split()]
    assert len(labels) == len(set(labels))
    for name, names in charset._LABELS.items():
        text, used = charset.decode(b"a", f"text/html; charset={names.split()[0]}")
        assert used == name
        assert text == ("a" if not name.startswith("utf-16") else "\ufffd")


def test_bytes_that_are_no_characters_are_replaced() -> None:
    assert charset.decode(b"a\xffb", "text/html; charset=utf-8") == ("a\ufffdb", "utf-8")


def test_a_cut_last_character_is_still_utf8() -> None:
    assert charset.detect("Straße und Übermut ä".encode()[:-1]) == "utf-8"


def test_a_long_multibyte_page_is_not_cut_inside_a_character() -> None:
    page = "<p>今日は天気がいいから散歩しましょう。</p>\n" * 2000
    assert charset.detect(page.encode("shift_jis")) == "shift_jis"


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="../shared/data/fixtures/charset is not here")
def test_the_detector_reads_most_real_pages_as_they_were_meant() -> None:
    right = total = 0
    for folder in sorted(path for path in FIXTURES.iterdir() if path.is_dir()):
        truth = charset.encoding_of_label(folder.name.lower()) or charset.encoding_of_label(
            "-".join(folder.name.lower().split("-")[:-1]))
        if truth is None or truth.startswith("utf-16"):              # with their marks: benchmarks/charset.py
            continue
        for file in sorted(folder.iterdir()):
            body = file.read_bytes()
            wanted = body.decode(charset._CODECS.get(truth, truth), errors="replace")
            found = charset.detect(body)
            right += body.decode(charset._CODECS.get(found, found), errors="replace") == wanted
            total += 1
    assert total > 150
    assert right == total, f"{right} of {total}"
