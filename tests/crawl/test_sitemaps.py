"""Sitemaps that robots.txt names give further pages of a round, of their own site only, and within limits (R-21)."""
from __future__ import annotations

import dataclasses
import gzip
import pathlib
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from crawl import tables, urls
from crawl.frontier import FrontierRules
from crawl.records import CrawlEntry, FetchLog, FetchRow
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.sitemaps import SitemapRules, named_by, named_in
from crawl.stages import Manifest
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run

LOG = FetchLog("k", "http://a.test/s.xml", "sitemap", 1, "ok", 200, "http://a.test/s.xml", (), "", "", 0, False, (),
               "unknown", "", 0, 0, "", "", 0)
RULES = SitemapRules()


def urlset(*given: str) -> bytes:
    return ("<?xml version='1.0'?><urlset xmlns='x'>" + "".join(f"<url><loc>{url}</loc></url>" for url in given)
            + "</urlset>").encode()


def index(*given: str) -> bytes:
    return urlset(*given).replace(b"urlset", b"sitemapindex").replace(b"<url>", b"<sitemap>")


def pages(body: bytes, log: FetchLog = LOG, rules: SitemapRules = RULES) -> list[tuple[str, str, int]]:
    return [(link.dst_url.removeprefix("http://a.test"), link.kind, link.depth)
            for link in named_in(log, body, rules).links]


@pytest.mark.parametrize("body", [
    urlset("http://a.test/1", "/2?a=1&amp;b=2"), gzip.compress(urlset("http://a.test/1", "/2?a=1&amp;b=2")),
    b"\xef\xbb\xbfhttp://a.test/1\r\nhttp://a.test/2?a=1&b=2\n\nnothing",
    b"<s:urlset><s:url><s:loc>\n <![CDATA[http://a.test/1]]> </s:loc></s:url><loc>/2?a=1&amp;b=2</loc>"
    b"<image:image><image:loc>/i.jpg</image:loc></image:image><loc>ftp://a.test/</loc><loc>/1</loc><loc>/cut"])
def test_every_form_gives_the_pages(body: bytes) -> None:
    assert pages(body) == [("/1", "page", 1), ("/2?a=1&b=2", "page", 1)]


def test_a_sitemap_speaks_for_its_own_site_only() -> None:
    assert pages(urlset("http://b.test/1", "http://www.a.test/1", "/2")) == [
        ("http://www.a.test/1", "page", 1), ("/2", "page", 1)]
    named = named_by([("http://a.test:80", ("http://b.test/s.xml", "http://cdn.a.test/s.xml"))], RULES)
    assert [link.dst_url for link in named] == ["http://cdn.a.test/s.xml"]


def test_an_index_leads_to_sitemaps_two_deep() -> None:
    assert pages(index("/s2.xml")) == [("/s2.xml", "sitemap", 2)]
    assert pages(index("/s3.xml"), dataclasses.replace(LOG, depth=2)) == [("/s3.xml", "sitemap", 3)]
    assert pages(index("/s4.xml"), dataclasses.replace(LOG, depth=3)) == []
    assert pages(urlset("/p"), dataclasses.replace(LOG, depth=3)) == [("/p", "page", 1)]


def test_limits_hold() -> None:
    many = [f"/{n}" for n in range(50)]
    assert len(pages(urlset(*many), rules=SitemapRules(max_urls=7))) == 7
    assert len(list(named_by([("http://a.test:80", tuple(f"http://a.test/{n}" for n in range(500)))], RULES))) == 100
    assert list(named_by([("http://a.test:80", ("http://a.test/s",))], SitemapRules(follow=False))) == []
    bomb = gzip.compress(urlset("/1") + b" " * (60 << 20))
    tracemalloc.start()
    assert len(pages(bomb, rules=SitemapRules(max_bytes=1 << 20))) <= 1
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    cut = gzip.compress(urlset(*many))
    assert pages(cut[:len(cut) // 2])[:2] == [("/0", "page", 1), ("/1", "page", 1)]


@pytest.mark.parametrize("piece", [b"<loc>", b"<loc> ", b"<sitemapindex ", b"<loc><![CDATA[", b"http://a.test/", b"<"])
def test_hostile_text_takes_no_long_time(piece: bytes) -> None:
    began = time.process_time()
    pages(b"<x>" + piece * ((4 << 20) // len(piece)))
    pages(piece * ((1 << 20) // len(piece)))
    assert time.process_time() - began < 10


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /closed\nSitemap: /index.xml\n"
                                                   b"Sitemap: /closed.xml\nSitemap: http://c.test/theirs.xml\n")
        server.on("http://a.test/", body=b"<a href=/linked>l</a>")
        server.on("http://a.test/index.xml", body=index("/list.xml.gz", "/gone.xml"),
                  headers={"X-Robots-Tag": "noindex", "Content-Type": "application/xml"})
        server.on("http://a.test/list.xml.gz", body=gzip.compress(urlset("/only", "/linked", "/closed/1",
                                                                         "http://b.test/other")),
                  headers={"Content-Type": "application/gzip"})
        server.on("http://a.test/gone.xml", status=404)
        server.on("http://a.test/only", body=b"<img src=only.jpg alt='A dog in a field.'>")
        server.on("http://c.test/theirs.xml", body=urlset("http://c.test/1"))
        yield server


def crawled(web: Web, folder: pathlib.Path, shards: int = 1, **rules: bool) -> Manifest:
    (folder / "seeds.txt").write_text("http://a.test/\n")
    config = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(retries=0, scope="any"), shards=shards,
                         buckets=1, sitemaps=SitemapRules(**rules))
    return crawl_pages(str(folder / "out"), str(folder / "seeds.txt"), config, web.network(), run)


def test_a_crawl_reaches_what_only_a_sitemap_names(web: Web, tmp_path: pathlib.Path) -> None:
    manifest = crawled(web, tmp_path)
    known = {entry.url.removeprefix("http://a.test"): (entry.kind, entry.status)
             for path in manifest.paths("crawldb") for entry in tables.read_table(path, CrawlEntry)}
    assert known == {
        "/": ("page", "ok"), "/linked": ("page", "ok"), "/only": ("page", "ok"), "/index.xml": ("sitemap", "ok"),
        "/list.xml.gz": ("sitemap", "ok"), "/gone.xml": ("sitemap", "http_404"),
        "/closed.xml": ("sitemap", "robots_denied"), "/closed/1": ("page", "robots_denied")}
    assert web.asked("b.test") == web.asked("c.test") == [] and web.asked("a.test").count("/linked") == 1
    assert dict(manifest.funnel[0].outcomes) == {"parsed": 3, "sitemap_read": 2, "http_404": 1, "robots_denied": 2}
    assert manifest.rows("pages") == 3 and manifest.rows("candidates") == 1
    asked = {row.url_key for path in manifest.paths("fetch_list") for row in tables.read_table(path, FetchRow)}
    assert urls.url_key("http://a.test/index.xml") in asked

    (tmp_path / "off").mkdir()
    without = crawled(web, tmp_path / "off", follow=False)
    assert without.rows("fetch_log") == 2
