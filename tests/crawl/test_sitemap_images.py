"""Images that sitemaps name become candidates of their page, under that page's permission, once each, within limits."""
from __future__ import annotations

import itertools
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from crawl import tables, urls
from crawl.frontier import FrontierRules
from crawl.records import ALLOW, DENY, UNKNOWN, Candidate, FetchLog, Page, Signal, SitemapImage
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.sitemap_images import candidates_of, first_named
from crawl.sitemaps import SitemapRules, named_in
from crawl.stages import Manifest
from crawl.traps import TrapRules
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run
from tests.crawl.test_sitemaps import LOG

GOOGLE = "http://www.google.com/schemas/sitemap-image/1.1"
SITEMAPS_ORG = "http://www.sitemaps.org/schemas/sitemap-image/1.1"


def entry(page: str, *images: str, prefix: str = "image:") -> str:
    inner = "".join(f"<{prefix}image>{image.replace('<', '<' + prefix).replace('<' + prefix + '/', '</' + prefix)}"
                    f"</{prefix}image>" for image in images)
    return f"<url><loc>{page}</loc>{inner}</url>"


def document(*entries: str, namespace: str = GOOGLE, prefix: str = "image") -> bytes:
    return (f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" '
            f'xmlns:{prefix}="{namespace}">{"".join(entries)}</urlset>').encode()


def named(body: bytes, rules: SitemapRules = SitemapRules()) -> list[SitemapImage]:     # noqa: B008, it is frozen
    return list(named_in(LOG, body, rules).images)


def shown(images: list[SitemapImage]) -> list[tuple[str, str, str, str]]:
    return [(image.page_url, image.image_url, image.title, image.caption) for image in images]


@pytest.mark.parametrize(("namespace", "prefix"), [(GOOGLE, "image"), (SITEMAPS_ORG, "image"), (GOOGLE, "img")])
def test_both_namespaces_and_any_prefix_are_read(namespace: str, prefix: str) -> None:
    first = "<loc>http://cdn.test/a.jpg</loc><title>A &amp; B</title><caption>A red\n barn.</caption>"
    body = document(entry("/p", first, "<loc>/b.jpg</loc>", prefix=f"{prefix}:"), namespace=namespace, prefix=prefix)
    assert shown(named(body)) == [("http://a.test/p", "http://cdn.test/a.jpg", "A & B", "A red barn."),
                                  ("http://a.test/p", "http://a.test/b.jpg", "", "")]
    assert [link.dst_url for link in named_in(LOG, body, SitemapRules()).links] == ["http://a.test/p"]


@pytest.mark.parametrize("inner", [
    "<image:image><image:caption><![CDATA[<p>A <b>red</b> barn.</p>]]></image:caption><image:loc> <![CDATA[/a.jpg]]>"
    "</image:loc></image:image><loc>/p</loc>",
    "<loc>/p</loc><image xmlns='x'><loc>/a.jpg</loc><caption>A red barn.</caption></image>",
    "<loc>/p</loc><image:image><image:loc>/a.jpg</image:loc><image:caption>A red barn.</image:caption>"
    "<image:caption>Another.</image:caption></image:image><video:video><video:title>No.</video:title>"
    "<video:loc>/v</video:loc></video:video><image:image><image:loc/><image:title>Nothing</image:title></image:image>"])
def test_order_cdata_markup_and_other_extensions(inner: str) -> None:
    body = f"<urlset><url>{inner}</url></urlset>".encode()
    assert shown(named(body)) == [("http://a.test/p", "http://a.test/a.jpg", "", "A red barn.")]
    assert [link.dst_url for link in named_in(LOG, body, SitemapRules()).links] == ["http://a.test/p"]


def test_an_image_belongs_to_its_own_url_and_a_page_to_the_sitemaps_site() -> None:
    body = document(entry("/p", "<loc>/a.jpg</loc>"), entry("http://b.test/q", "<loc>/b.jpg</loc>"),
                    entry("/r", "<loc>data:image/png;base64,AA</loc>", "<loc>http://b.test/c.jpg</loc>"))
    assert [(image.page_url, image.image_url, image.ordinal) for image in named(body)] == [
        ("http://a.test/p", "http://a.test/a.jpg", 0), ("http://a.test/r", "http://b.test/c.jpg", 1)]


def test_limits_hold() -> None:
    many = document(entry("/p", *(f"<loc>/{n}.jpg</loc>" for n in range(9))), entry("/q", "<loc>/q.jpg</loc>"))
    assert len(named(many)) == 10 and named(many, SitemapRules(max_images=0)) == []
    assert [image.ordinal for image in named(many, SitemapRules(max_images=4))] == [0, 1, 2, 3]
    assert len(named(many, SitemapRules(max_images_of_page=2))) == 3
    assert {image.page_url for image in named(many, SitemapRules(max_urls=1))} == {"http://a.test/p"}
    (long,) = named(document(entry("/p", f"<loc>/a.jpg</loc><caption>{'word ' * 1600}</caption>")))
    assert 2000 < len(long.caption) <= 2048
    assert shown(named(document(entry("/p", f"<loc>/a.jpg</loc><caption>{'word ' * 2000}</caption>"))))[0][3] == ""


def test_texts_of_one_file_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crawl.sitemaps._MAX_CHARACTERS", 1000)
    body = document(*(entry(f"/{n}", f"<loc>/{n}.jpg</loc><caption>{'word ' * 40}</caption>") for n in range(50)))
    assert 3 <= len(named(body)) <= 6 and len(named_in(LOG, body, SitemapRules()).links) == 50


@pytest.mark.parametrize("piece", [
    b"<image:image>", b"<image:loc>", b"<image:caption><![CDATA[", b"<image:image><image:loc>", b"<url ", b"<loc a",
    b"<image:image><image:caption>" + b"x" * 500, b"<caption><<<", b"<url><loc>/</loc><image:image>"])
def test_hostile_text_takes_no_long_time(piece: bytes) -> None:
    began = time.process_time()
    named(b"<x>" + piece * ((4 << 20) // len(piece)))
    assert time.process_time() - began < 10


def test_no_entity_is_expanded_and_nothing_outside_is_named() -> None:
    body = (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY e SYSTEM "file:///etc/passwd">]><urlset><url><loc>/p</loc>'
            b"<image:image><image:loc>/a.jpg</image:loc><image:caption>&a; &e; x</image:caption></image:image></url>")
    assert shown(named(body)) == [("http://a.test/p", "http://a.test/a.jpg", "", "&a; &e; x")]


def image(url: str, sitemap: str = "s", ordinal: int = 0, **more: str) -> SitemapImage:
    values: dict[str, Any] = {"title": "", "caption": "", "licence": ""} | more
    return SitemapImage("k", "http://a.test/p", urls.url_key(url), url, sitemap, ordinal, **values)


def test_an_image_that_several_sitemaps_name_counts_once_however_they_are_grouped() -> None:
    images = [image("http://a.test/1", "t", 0, caption="later"), image("http://a.test/1", "s", 5, caption="first"),
              image("http://a.test/2", "s", 6), image("http://a.test/3", "s", 7), image("http://a.test/2", "s", 8)]
    expected = first_named([tuple(images)], 2)
    assert [(one.image_url, one.caption) for one in expected] == [("http://a.test/1", "first"), ("http://a.test/2", "")]
    for order in itertools.permutations(images):
        halves = first_named([order[:2]], 2), first_named([order[2:4]], 2), (order[4],)
        assert first_named(halves, 2) == expected


def page(permission: str, outcome: str = "parsed", signals: tuple[Signal, ...] = ()) -> Page:
    return Page("k", "http://a.test/p", "http://a.test/p", outcome, "T", "", "utf-8", "en", "Some text.", signals,
                permission, 0, 0, "urn:uuid:1", "ab", "2026-01-01T00:00:00Z")


def test_permission_is_the_pages_and_unknown_where_it_was_never_asked() -> None:
    robots = Signal("robots", "", ALLOW, "")
    refusal = Signal("meta_robots", "noai", DENY, "")
    one = (image("http://a.test/1", title="T1", caption="C1", licence="http://a.test/licence"),)
    (never,) = candidates_of(one, [], [])
    assert (never.permission, never.page_url, never.page_text) == (UNKNOWN, "http://a.test/p", "")
    assert [(text.source, text.text) for text in never.texts] == [("image_caption", "C1"), ("image_title", "T1")]
    assert [(signal.name, signal.raw, signal.verdict) for signal in never.signals] == [
        ("license", "http://a.test/licence", UNKNOWN)]
    (parsed,) = candidates_of(one, [page(ALLOW, signals=(robots,))], [_log("ok", ALLOW)])
    assert (parsed.permission, parsed.page_text, parsed.page_record_id, parsed.signals[0]) == (
        ALLOW, "Some text.", "urn:uuid:1", robots)
    (refused,) = candidates_of(one, [page(DENY, "optout_meta", (refusal,))], [_log("ok", ALLOW)])
    assert (refused.permission, refused.page_text, refused.signals[0]) == (DENY, "", refusal)
    # Refused once, then reached over another URL that allows it: refused.
    (mixed,) = candidates_of(one, [page(ALLOW)], [_log("optout_header", DENY), _log("ok", ALLOW)])
    assert mixed.permission == DENY and mixed.page_text == ""


def _log(outcome: str, permission: str) -> FetchLog:
    return FetchLog("k", "http://a.test/p", "page", 1, outcome, 200, "http://a.test/p", (), "", "2026-01-02", 0, False,
                    (), permission, "", 0, 0, "", "", 0)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /closed\nSitemap: /s.xml\n"
                                                   b"Sitemap: /t.xml\n")
        server.on("http://a.test/", body=b"<p>Home.")
        server.on("http://a.test/s.xml", headers={"Content-Type": "application/xml"}, body=document(
            entry("/page", "<loc>http://cdn.test/barn.jpg</loc><caption>A red barn in a field.</caption>",
                  "<loc>/shown.jpg</loc>"),
            entry("/closed/1", "<loc>/closed.jpg</loc><caption>A closed door.</caption>"),
            entry("/noai", "<loc>/noai.jpg</loc>"), entry("/header", "<loc>/header.jpg</loc>"),
            entry("/old", "<loc>/old.jpg</loc>"), entry("/gone", "<loc>/gone.jpg</loc>"),
            *(entry(f"/cal/2031/{month:02d}", f"<loc>/cal{month}.jpg</loc>") for month in (1, 2))))
        server.on("http://a.test/t.xml", headers={"Content-Type": "application/xml"}, body=document(
            entry("/page", "<loc>http://cdn.test/barn.jpg</loc><caption>Something else.</caption>"),
            namespace=SITEMAPS_ORG))
        server.on("http://a.test/page", body=b"<html lang=en><title>Farm</title><p>Cows.<img src=shown.jpg alt=cow>")
        server.on("http://a.test/noai", body=b"<meta name=robots content=noai>")
        server.on("http://a.test/header", headers={"X-Robots-Tag": "noai"})
        server.on("http://a.test/old", status=301, headers={"Location": "/page"})
        server.on("http://a.test/gone", status=404)
        yield server


def crawled(web: Web, folder: pathlib.Path, shards: int = 1, buckets: int = 1, **rules: int) -> Manifest:
    folder.mkdir()
    (folder / "seeds.txt").write_text("http://a.test/\n")
    config = CrawlConfig(fetch=quick(retries=0), shards=shards, buckets=buckets,
                         frontier=FrontierRules(retries=0, traps=TrapRules(max_calendar_pages=1)),
                         sitemaps=SitemapRules(**rules))
    return crawl_pages(str(folder / "out"), str(folder / "seeds.txt"), config, web.network(), run)


def rows(manifest: Manifest) -> list[Candidate]:
    return [row for path in manifest.paths("candidates") for row in tables.read_table(path, Candidate)]


def test_a_crawl_gives_the_images_of_its_sitemaps(web: Web, tmp_path: pathlib.Path,
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    manifest = crawled(web, tmp_path / "one")
    found = {row.image_url.removeprefix("http://a.test"): row for row in rows(manifest) if row.found_in == "sitemap"}
    assert {name: row.permission for name, row in found.items()} == {
        "http://cdn.test/barn.jpg": ALLOW, "/shown.jpg": ALLOW, "/closed.jpg": DENY, "/noai.jpg": DENY,
        "/header.jpg": DENY, "/old.jpg": ALLOW, "/gone.jpg": ALLOW,
        **dict(zip(("/cal1.jpg", "/cal2.jpg"), _calendar(found), strict=True))}
    assert sorted(_calendar(found)) == [ALLOW, UNKNOWN]          # one is beyond the quota of calendars: never asked
    barn = found["http://cdn.test/barn.jpg"]
    assert (barn.page_url, barn.page_title, barn.html_lang) == ("http://a.test/page", "Farm", "en")
    assert "Cows." in barn.page_text and barn.page_record_id
    assert [row.found_in for row in rows(manifest) if row.image_url == "http://a.test/shown.jpg"].count("sitemap") == 1
    assert len({row.occurrence for row in rows(manifest)}) == len(rows(manifest)) == 11
    # Two of the eleven are what /page shows, under its own URL and under /old, which leads there.
    lines = {line.unit: line for line in manifest.funnel}
    assert dict(lines["image in a sitemap"].outcomes) == {"candidate": 9, "repeated_or_over_limit": 1}
    assert lines["candidate row"].rows_in == 11 and all(line.adds_up() for line in manifest.funnel)
    assert web.asked("cdn.test") == []

    other = crawled(web, tmp_path / "two", shards=3, buckets=2)
    assert other.table_digest("candidates") == manifest.table_digest("candidates")
    without = crawled(web, tmp_path / "three", max_images=0)
    assert without.rows("candidates") == 2 and len(without.funnel) == 3


def _calendar(found: dict[str, Candidate]) -> list[str]:
    return [found["/cal1.jpg"].permission, found["/cal2.jpg"].permission]
