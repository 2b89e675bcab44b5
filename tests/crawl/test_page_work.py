"""Pages and sitemaps through the sandbox: the same as outside, and what hostile ones become."""
from __future__ import annotations

import pathlib

import pytest

from crawl.html import ParseLimits
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import Found, parse_page
from crawl.records import FetchLog
from crawl.sandbox_client import SandboxLimits
from crawl.sitemaps import Named, SitemapRules

SETTINGS = ParseSettings(("imagebert", "*"), ParseLimits(), SitemapRules())


def log_of(number, kind="page", content_type="text/html"):
    """Returns the log row of a stored page."""
    return FetchLog(
        url_key=f"{number:032x}", url=f"http://a.example/{number}", kind=kind, depth=1, outcome="ok", http_status=200,
        final_url=f"http://a.example/{number}", redirects=(), content_type=content_type, fetched_at="2026-01-01",
        body_bytes=1, truncated=False, signals=(), permission="allow", part="p", offset=0, length=1, sha256="ab" * 32,
        warc_record_id="urn:uuid:1", round=0)


def peak_of(box):
    """Returns the largest resident size in KiB of a box's living child."""
    status = pathlib.Path(f"/proc/{box._child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def pages_of(folder):
    """Returns the pages of the developers' data below a folder; skips where it is absent."""
    root = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "fixtures" / folder
    if not root.is_dir():
        pytest.skip(f"no {folder} pages beside this checkout")
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize("folder", ["readability", "charset"])
def test_real_pages_give_the_same_in_the_box_as_outside(folder):
    stored = [(log_of(number), path.read_bytes()) for number, path in enumerate(pages_of(folder))]
    with page_sandbox(SETTINGS) as box:
        found = list(parsed_pages(box, stored))
        peak_kib = peak_of(box)
    assert 0 < peak_kib <= 1 << 20
    tokens = frozenset(SETTINGS.tokens)
    assert len(found) == len(stored) > 5
    for one, (log, body) in zip(found, stored, strict=True):
        assert one == parse_page(log, body, tokens, SETTINGS.limits)


def test_a_page_that_swells_and_a_sitemap_are_rows_too():
    deep = b"<div>" * 3_000_000
    listed = (b"<urlset><url><loc>http://a.example/x</loc><image:image><image:loc>http://b.example/i</image:loc></image:image>"
              b"</url></urlset>")
    stored = [(log_of(1), b"<p>one <img src=a.jpg alt='a red barn'>"), (log_of(2), deep),
              (log_of(3, kind="sitemap", content_type="text/xml"), listed), (log_of(4), b"<p>two")]
    with page_sandbox(SETTINGS, SandboxLimits(memory=400 << 20, item_s=2.0)) as box:
        one, two, named, last = parsed_pages(box, stored)
    assert isinstance(one, Found) and one.candidates[0].image_url == "http://a.example/a.jpg"
    assert isinstance(two, Found) and two.page.outcome in ("parse_failed", "parse_timeout", "parse_out_of_memory",
                                                           "parse_crashed") and not two.candidates
    assert isinstance(named, Named)
    assert [(link.dst_url, link.src_key) for link in named.links] == [("http://a.example/x", f"{3:032x}")]
    assert [(image.image_url, image.sitemap_key) for image in named.images] == [("http://b.example/i", f"{3:032x}")]
    assert isinstance(last, Found) and last.page.outcome == "parsed"


def test_an_answer_about_another_page_is_a_crash(monkeypatch):
    monkeypatch.setattr("crawl.page_work._is_of", lambda found, log: log.url_key != f"{1:032x}")
    with page_sandbox(SETTINGS) as box:
        found = list(parsed_pages(box, [(log_of(0), b"<p>a"), (log_of(1), b"<p>b")]))
    assert [one.page.outcome for one in found] == ["parsed", "parse_crashed"]
