"""The sandbox: what crashes, hangs, swells or floods is named, and everything around it comes out right, in order."""
from __future__ import annotations

import ctypes
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from crawl.html import ParseLimits
from crawl.page_work import ParseSettings, page_sandbox, parsed_pages
from crawl.parse import Found, parse_page
from crawl.records import FetchLog
from crawl.sandbox_client import Sandbox, SandboxLimits
from crawl.sandbox_process import SandboxError
from crawl.sitemaps import SitemapRules

LIMITS = SandboxLimits(memory=512 << 20, item_s=1.0)
SETTINGS = ParseSettings(("imagebert", "*"), ParseLimits(), SitemapRules())


def open_hostile(settings):
    """Returns work that does what its header says: the hostile page of these tests."""
    def work(header, body):
        match header:
            case "segfault":
                ctypes.string_at(0)
            case "hang":
                while True:
                    pass
            case "sleep":
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
                time.sleep(60)
            case "swell":
                return [len(bytearray(1 << 33))], b""
            case "raise":
                raise ValueError("a bug, or a page that found one")
            case "exit":
                os._exit(0)
            case "flood":
                for _ in range(200):
                    os.write(1, b"\x1b[31m" * 2000)
                    os.write(2, b"\x1b[31m" * 2000)
            case "lie":
                return {"not": "an answer"}, b""
            case "file":
                open("/etc/hostname").close()
            case "pid":
                return [str(os.getpid())], b""
        return [header], body
    return work


def hostile(**limits):
    """Returns a sandbox of the hostile work; its results are (header, body)."""
    return Sandbox(f"{__name__}:open_hostile", lambda value, body: (value[0], body),
                   limits=dataclasses.replace(LIMITS, **limits))


@pytest.mark.parametrize("what, reason", [
    ("segfault", "crashed"), ("hang", "timeout"), ("sleep", "timeout"), ("swell", "out_of_memory"),
    ("raise", "crashed"), ("exit", "crashed"), ("lie", "crashed"), ("file", "crashed")])
def test_the_culprit_is_named_and_the_rest_comes_out_in_order(what, reason):
    with hostile() as box:
        found = list(box.map((place, what if place == 3 else f"page {place}", bytes([place]) * 5000)
                             for place in range(8)))
    assert [place for place, _ in found] == list(range(8))
    assert [answer.reason for _, answer in found] == ["", "", "", reason, "", "", "", ""]
    assert all(answer.result == (f"page {place}", bytes([place]) * 5000) for place, answer in found if place != 3)


def test_a_flood_is_drained_and_is_no_answer():
    with hostile() as box:
        assert [answer.result for _, answer in box.map([(0, "flood", b""), (1, "after", b"x")])] == [
            ("flood", b""), ("after", b"x")]


def test_a_child_is_kept_for_many_items_and_replaced_when_it_is_old():
    with hostile(items=3, window=1) as box:
        pids = [answer.result[0] for _, answer in box.map((place, "pid", b"") for place in range(9))]
    assert len(set(pids)) == 3 and pids[0] == pids[2] != pids[3] and str(os.getpid()) not in pids


def test_large_bodies_both_ways_do_not_lock():
    body = os.urandom(6 << 20)
    with hostile(item_s=20) as box:
        assert all(answer.result == ("big", body) for _, answer in box.map((place, "big", body) for place in range(4)))


def test_what_cannot_start_is_an_error_and_no_reason():
    with pytest.raises(SandboxError, match="does not start"), Sandbox("crawl.no_such:work", lambda *_: None) as box:
        box.one(None, b"")


def test_a_killed_parent_leaves_no_child():
    code = (f"from {__name__} import hostile\nbox = hostile()\nprint(box.one('pid', b'').result[0], flush=True)\n"
            "import time; time.sleep(60)")
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _is_running(child):
            return
        time.sleep(0.1)
    raise AssertionError(f"{child} outlived its parent")


def _is_running(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_box_a_thread():
    found = {}

    def use(number):
        with hostile() as box:
            found[number] = [answer.result[0] for _, answer in box.map((at, f"{number} {at}", b"") for at in range(20))]
    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [f"{number} {at}" for at in range(20)] for number in range(4)}


def log_of(number, kind="page", content_type="text/html"):
    """Returns the log row of a stored page."""
    return FetchLog(
        url_key=f"{number:032x}", url=f"http://a.example/{number}", kind=kind, depth=1, outcome="ok", http_status=200,
        final_url=f"http://a.example/{number}", redirects=(), content_type=content_type, fetched_at="2026-01-01",
        body_bytes=1, truncated=False, signals=(), permission="allow", part="p", offset=0, length=1, sha256="ab" * 32,
        warc_record_id="urn:uuid:1", round=0)


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
    tokens = frozenset(SETTINGS.tokens)
    assert len(found) == len(stored) > 5
    for one, (log, body) in zip(found, stored, strict=True):
        assert one == parse_page(log, body, tokens, SETTINGS.limits)


def test_a_page_that_swells_and_a_sitemap_are_rows_too():
    deep = b"<div>" * 3_000_000
    listed = b"<urlset><url><loc>http://a.example/x</loc></url></urlset>"
    stored = [(log_of(1), b"<p>one <img src=a.jpg alt='a red barn'>"), (log_of(2), deep),
              (log_of(3, kind="sitemap", content_type="text/xml"), listed), (log_of(4), b"<p>two")]
    with page_sandbox(SETTINGS, SandboxLimits(memory=400 << 20, item_s=2.0)) as box:
        one, two, links, last = parsed_pages(box, stored)
    assert isinstance(one, Found) and one.candidates[0].image_url == "http://a.example/a.jpg"
    assert isinstance(two, Found) and two.page.outcome in ("parse_failed", "parse_timeout", "parse_out_of_memory",
                                                           "parse_crashed") and not two.candidates
    assert isinstance(links, tuple) and (links[0].dst_url, links[0].src_key) == ("http://a.example/x", f"{3:032x}")
    assert isinstance(last, Found) and last.page.outcome == "parsed"


def test_an_answer_about_another_page_is_a_crash(monkeypatch):
    monkeypatch.setattr("crawl.page_work._is_of", lambda found, log: log.url_key != f"{1:032x}")
    with page_sandbox(SETTINGS) as box:
        found = list(parsed_pages(box, [(log_of(0), b"<p>a"), (log_of(1), b"<p>b")]))
    assert [one.page.outcome for one in found] == ["parsed", "parse_crashed"]
