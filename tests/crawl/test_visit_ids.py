"""A server that numbers its visitors in its links is crawled once, not once a visit."""
from __future__ import annotations

import itertools
import pathlib
from typing import Any

import pytest

from crawl import urls
from crawl.frontier import FrontierRules
from crawl.records import FetchLog
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.sitemaps import SitemapRules, named_in
from crawl.visit_ids import without_visit_id
from tests.crawl.loopback import quick, serving
from tests.crawl.running import run

HEX = "9b1c44f0a2d84e7f9b1c44f0a2d84e7f"


@pytest.mark.parametrize(("url", "kept"), [
    (f"http://a.test/x?PHPSESSID={HEX}", "http://a.test/x"), (f"http://a.test/x?phpsessid={HEX}&p=2", "http://a.test/x?p=2"),
    (f"http://a.test/x?p=2&sid={HEX}", "http://a.test/x?p=2"), ("http://a.test/x;jsessionid=1A.node2", "http://a.test/x"),
    ("http://a.test/x;jsessionid=1A/y?z=1", "http://a.test/x/y?z=1"), ("http://a.test/x?CFID=1&CFTOKEN=2", "http://a.test/x"),
    (f"http://a.test/(S({HEX[:24]}))/x.aspx", "http://a.test/x.aspx"),
    (f"http://a.test/x?ASPSESSIONIDABCD={HEX}", "http://a.test/x")])
def test_identifiers_of_a_visit_are_dropped(url: str, kept: str) -> None:
    assert without_visit_id(url) == kept and without_visit_id(kept) == kept and urls.normalize(kept) == kept


@pytest.mark.parametrize("url", [
    "http://a.test/article?sid=1234", "http://a.test/find?s=a-long-search-for-red-bicycles", "http://a.test/x?",
    "http://a.test/x?q=PHPSESSID", "http://a.test/sid=1234", f"http://a.test/x?id={HEX}", "http://a.test/x;v=1?a&b=",
    "http://a.test/talk?session=3"])
def test_what_numbers_things_stays(url: str) -> None:
    assert without_visit_id(url) == url


def test_a_site_that_numbers_its_visits_is_crawled_once(tmp_path: pathlib.Path) -> None:
    numbers = itertools.count(10**9)

    def page(handler: Any) -> None:
        links = "".join(f"<a href='/{name}?PHPSESSID={next(numbers):032x}'>x</a>" for name in "abca")
        body = (links + f"<a href='/d;jsessionid={next(numbers)}' rel=nofollow>d</a>").encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "text/html")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    seeds = tmp_path / "s.txt"
    seeds.write_text("http://a.test/\n")
    config = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(retries=0), max_rounds=5, shards=1, buckets=1)
    with serving() as web:
        for path in ("", "a", "b", "c"):
            web.call(f"http://a.test/{path}", page)
        manifest = crawl_pages(str(tmp_path / "out"), str(seeds), config, web.network(), run)
        assert sorted(web.asked()) == ["/", "/a", "/b", "/c"]
    assert manifest.rows("crawldb") == 5 and manifest.extra["rounds"] == 2
    assert manifest.rows("links") == 4 * 4            # two links to one page are one row


def test_a_sitemap_names_no_visit() -> None:
    url = "http://a.test/sitemap.xml"
    log = FetchLog(urls.url_key(url), url, "sitemap", 1, "ok", 200, url, (), "", "", 0, False, (), "unknown", "", 0, 0,
                   "", "", 0)
    body = f"<urlset><loc>http://a.test/x?PHPSESSID={HEX}</loc><loc>http://a.test/x</loc></urlset>".encode()
    assert [link.dst_url for link in named_in(log, body, SitemapRules()).links] == ["http://a.test/x"]
