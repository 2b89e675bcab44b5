"""The sample browser: pages, filters, one sample, and what a hostile page or name gets."""
from __future__ import annotations

import http.client
import threading

import pytest

from crawl.errors import UsageError
from shards.browse import Filters, page_of
from shards.manifest import load_shards
from shards.serve import Browser, server
from tests.shards.made_root import commit_shards, made_sample
from tests.shards.test_inspect import parsed


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("serve") / "root"
    commit_shards(str(path), [made_sample(number) for number in range(1, 31)])
    return str(path)


def test_pages_go_through_every_sample_once(root: str) -> None:
    shards = load_shards(root)
    seen, cursor = [], ""
    while True:
        page = page_of(shards, Filters(), cursor, size=7)
        seen += [tile.key for tile in page.tiles]
        if not page.after:
            break
        assert len(page.tiles) == 7
        cursor = page.after
    assert sorted(seen) == sorted(made_sample(number).best.key for number in range(1, 31))


def test_filters_narrow(root: str) -> None:
    shards = load_shards(root)
    one = made_sample(5).best

    def keys(**asked: str) -> set[str]:
        return {tile.key for tile in page_of(shards, Filters.of(asked)).tiles}
    assert one.key in keys(contains=one.caption.upper()) and len(keys(contains=one.caption)) < 30
    assert keys(language="de") == {made_sample(number).best.key for number in range(1, 31)
                                   if made_sample(number).best.page_language == "de"}
    assert keys(split="test") == {made_sample(number).best.key for number in (10, 20, 30)}
    assert keys(site="site3.example") == {made_sample(number).best.key for number in range(1, 31) if number % 7 == 3}
    assert keys(least="0.5") | keys(most="0.49999") == keys() and not keys(least="0.5") & keys(most="0.49999")
    assert keys(contains="no caption says this") == set()


def test_a_sample_is_shown_with_all_that_is_known_and_nothing_of_it_acts(root: str) -> None:
    browser, best = Browser(load_shards(root)), made_sample(10).best
    shards = load_shards(root).shards
    number = next(place for place, shard in enumerate(shards) if shard.split == "test")
    status, kind, body = browser.answer(f"/sample/{number}/{best.key}")
    text = body.decode()
    assert (status, kind) == (200, "text/html; charset=utf-8") and "<script" not in text
    assert best.image_url.partition("://")[2] in text and "another text" in text and "robots" in text
    assert browser.answer(f"/image/{number}/{best.key}") == (200, "image/jpeg", made_sample(10).image)
    assert browser.answer(f"/image/{number}/{best.key}?boxes=1")[1] == "image/png"
    listing = browser.answer("/?contains=%3Cscript%3E&least=0.1")[2].decode()
    assert "<script" not in listing and "&lt;script&gt;" in listing


@pytest.mark.parametrize("target, status", [
    ("/sample/0/../../manifest.json", 404), ("/image/99/00", 404), ("/image/-1/00", 404), ("/image/²/00", 404),
    ("/image/0/" + "0" * 5000, 404), ("/manifest.json", 404), ("/report", 404), ("/?least=low", 400),
    ("/?after=1", 400), ("/?after=0.999999", 200), ("//", 404)])
def test_what_is_not_there_is_said(root: str, target: str, status: int) -> None:
    assert Browser(load_shards(root)).answer(target)[0] == status


def test_only_loopback_names_are_answered(root: str) -> None:
    with server(load_shards(root), 0) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        try:
            port = listening.server_address[1]
            said = {}
            for host in (f"127.0.0.1:{port}", f"localhost:{port}", "rebound.example", ""):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request("GET", "/", headers={"Host": host})
                answer = connection.getresponse()
                said[host.partition(":")[0]] = answer.status
                assert "default-src 'none'" in answer.getheader("Content-Security-Policy", "")
                answer.read()
                connection.close()
            assert said == {"127.0.0.1": 200, "localhost": 200, "rebound.example": 403, "": 403}
            with pytest.raises(UsageError, match="give another"):
                server(load_shards(root), port)
        finally:
            listening.shutdown()
            thread.join()


def test_the_port_is_checked(root: str) -> None:
    with pytest.raises(UsageError, match="0 to 65535"):
        parsed("serve", root, "--port", "70000")
