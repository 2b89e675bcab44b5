"""The prescan against the parser: what the parser finds denied, the prescan has seen, on made and on real pages."""
import pathlib
import random
import time

import pytest

from crawl import consent, meta_prescan
from crawl.html import ParseFailure, ParseLimits, parse
from crawl.records import DENY

TOKENS = frozenset({"imagebert-lait"})
SITES = pathlib.Path(__file__).parents[2].parent / "shared" / "data" / "sites"
PIECES = [
    b"<meta ", b"<META\n", b"<meta/", b"name=", b"NAME = ", b"name", b"property=", b"http-equiv=", b"content=",
    b"content = '", b'content="', b"'", b'"', b">", b"/>", b" ", b"\t", b"robots", b"ROBOTS", b"rob&#111;ts",
    b"imagebert-lait", b"tdm-reservation", b"1", b"0", b"noai", b"NoIndex", b"noimage&#x61;i", b", ", b"index", b"<!--",
    b"-->", b"<script>", b"</script>", b"<title>", b"</title>", b"<svg>", b"</svg>", b"<p>", b"<body>", b"<noscript>",
    b"</noscript>", b"<template>", b"</template>", b"\xe3\x80\x80", b"\xa0", b"&nbsp;", b"\xe9", b"<", b"=", b"\r\n",
    b"<meta name=robots content=noai>", b"<meta content='all' name=robots>", b"<![CDATA[", b"]]>", b"<plaintext>"]


def denied_by_parser(body, content_type):
    try:
        metas = parse(body, content_type, "http://a.test/", ParseLimits()).metas
    except ParseFailure:
        return False
    return any(signal.verdict == DENY for signal in consent.from_meta(metas, TOKENS))


def perhaps(body):
    metas = meta_prescan.metas(body)
    return metas is None or any(signal.verdict == DENY for signal in consent.from_meta(metas, TOKENS))


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "shift_jis", "gb18030", "utf-16le", "iso-2022-jp"])
def test_what_the_parser_refuses_the_prescan_has_seen(charset):
    generator = random.Random(f"prescan {charset}")
    refused = 0
    for _ in range(1_500):
        body = b"".join(generator.choice(PIECES) for _ in range(generator.randrange(4, 30)))
        if charset == "utf-16le":
            body = body.decode("latin-1").encode(charset)
        if denied_by_parser(body, f"text/html; charset={charset}"):
            refused += 1
            assert perhaps(body), body
    assert refused > 20


@pytest.mark.parametrize("body", [
    b"<meta name=robots content=noai><!-- <meta name=robots content=all> -->",
    b"<meta name=tdm-reservation content=1><!-- <meta name=tdm-reservation content=0> -->",
    b"<meta name=robots content='noai\xe3\x80\x80index'>", b"<meta name='robots&#32;' content=no&#97;i>",
    b"<body>" + b"x" * 100_000 + b"<meta content=noindex name=robots>", b"<meta name=robots name=x content=noai>"])
def test_it_is_not_deceived(body):
    assert denied_by_parser(body, "text/html; charset=utf-8") and perhaps(body)


def test_an_ordinary_page_is_not_asked_of_the_parser():
    assert not perhaps(b"<meta charset=utf-8><meta name=robots content='index, follow, max-snippet:-1'><p>noai")


@pytest.mark.skipif(not SITES.is_dir(), reason="the real pages are not here")
def test_on_real_pages_it_agrees():
    pages = sorted(path for path in SITES.rglob("*.htm*") if path.is_file())[:300]
    assert pages
    bodies = [path.read_bytes() for path in pages]
    asked = [perhaps(body) for body in bodies]
    for body, asks in zip(bodies, asked, strict=True):
        assert asks or not denied_by_parser(body, "")
    assert sum(asked) <= len(pages) // 4                 # else every page would be parsed twice


@pytest.mark.parametrize("unit", [
    b"<meta ", b"<meta a='", b'<meta a="x', b"<meta x=", b"<meta\n=", b"<meta " + b"a " * 70])
def test_hostile_bytes_take_bounded_time(unit):
    body = unit * (4_000_000 // len(unit))
    begin = time.process_time()
    meta_prescan.metas(body)
    assert time.process_time() - begin < 2
