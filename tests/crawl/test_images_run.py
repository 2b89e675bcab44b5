"""The stage `images`: every URL asked for is answered once, and nothing is downloaded twice."""
from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
from collections.abc import Iterator

import pytest
from PIL import Image as Pillow

from crawl import storage, tables, urls
from crawl.errors import UsageError
from crawl.images_run import ImagesConfig, fetch_images
from crawl.known_images import may_carry, one_for_one
from crawl.records import Image, ImageFetch
from crawl.sniff import is_served_otherwise
from crawl.stages import Manifest, Stage, current, read_manifest
from crawl.suppress import Suppressed, add_lines, parse_rule
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run

CONFIG = ImagesConfig(fetch=quick(retries=0), shards=2, buckets=2)


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Pillow.new("RGB", (64, 48), (shade, 10, 20)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        for number in range(6):
            server.on(f"http://h{number % 3}.test/{number}.png", body=picture(number),
                      headers={"Content-Type": "image/png"})
        server.on("http://h0.test/0.png", body=picture(0), headers={"Content-Type": "image/jpeg"})
        server.on("http://h0.test/gone.png", status=404)
        server.on("http://h1.test/busy.png", status=503)
        server.on("http://h2.test/text.png", body=b"not a picture", headers={"Content-Type": "image/png"})
        server.on("http://h2.test/no.png", body=picture(99), headers={"Content-Type": "image/png",
                                                                      "X-Robots-Tag": "noimageai"})
        yield server


@dataclasses.dataclass(frozen=True)
class Judging:
    threshold: int


def judged(out: str, wanted: list[str], threshold: int) -> Manifest:
    """A judge stage that asks for these URLs."""
    stage = Stage.open(out, "judge", 1, Judging(threshold), {})
    done = stage.finished()
    if done is not None:
        return done
    rows = [ImageFetch(urls.url_key(url), url) for url in wanted]
    entry = tables.write_table(stage.directory, "fetch.parquet", ImageFetch, sorted(rows, key=lambda row: row.url_key))
    return stage.commit({"fetch": [entry]}, [])


def images(manifest: Manifest) -> dict[str, Image]:
    found = [row for path in manifest.paths("images") for row in tables.read_table(path, Image)]
    assert len(found) == len({row.url_key for row in found})
    return {row.url: row for row in found}


FIRST = [f"http://h{number % 3}.test/{number}.png" for number in range(4)] + [
    "http://h0.test/gone.png", "http://h1.test/busy.png", "http://h2.test/text.png", "http://h2.test/no.png"]


def test_every_url_is_answered_and_a_changed_judge_downloads_only_what_is_new(web: Web, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path)
    judged(out, FIRST, 1)
    first = fetch_images(out, CONFIG, web.network(), run)
    found = images(first)
    assert set(found) == set(FIRST)
    assert {url: row.outcome for url, row in found.items() if row.outcome != "ok"} == {
        "http://h0.test/gone.png": "http_404", "http://h1.test/busy.png": "http_503",
        "http://h2.test/text.png": "not_an_image", "http://h2.test/no.png": "optout_header"}
    for number in range(4):
        row = found[FIRST[number]]
        assert storage.read_range(storage.join(out, row.part), row.offset, row.length) == picture(number)
        assert (row.format, row.width, row.height) == ("png", 64, 48)
        assert is_served_otherwise(row.content_type, row.format) == (number == 0)
    assert found["http://h2.test/no.png"].part == ""
    assert first.funnel[0].adds_up() and first.funnel[0].rows_in == len(FIRST)

    asked = len(web.log)
    assert fetch_images(out, CONFIG, web.network(), run) == first
    assert len(web.log) == asked

    web.log.clear()
    second_wanted = [FIRST[0], *FIRST[2:], "http://h1.test/4.png", "http://h2.test/5.png"]
    judged(out, second_wanted, 2)
    second = fetch_images(out, CONFIG, web.network(), run)
    assert sorted(web.asked()) == ["/4.png", "/5.png", "/busy.png", "/no.png"]
    assert second.inputs["known"] == first.digest and set(images(second)) == set(second_wanted)
    carried = images(second)[FIRST[0]]
    assert carried == found[FIRST[0]] and carried.part.startswith(first.folder)

    web.log.clear()
    assert fetch_images(out, CONFIG, web.network(), run) == second
    judged(out, FIRST, 1)
    assert fetch_images(out, CONFIG, web.network(), run) == first
    assert web.log == [] and current(out)["images"] == first.folder


def test_a_half_finished_run_keeps_what_it_knew_and_refuses_another_config(web: Web, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path)
    judged(out, FIRST[:2], 1)
    first = fetch_images(out, CONFIG, web.network(), run)
    judged(out, FIRST[:3], 2)

    def stops(name: str, build: object) -> None:
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fetch_images(out, CONFIG, web.network(), stops)
    other = dataclasses.replace(CONFIG, order_seed=7)
    with pytest.raises(UsageError, match="order_seed"):
        fetch_images(out, other, web.network(), run)
    second = fetch_images(out, CONFIG, web.network(), run)
    assert second.inputs["known"] == first.digest
    assert read_manifest(out, second.folder) == second


def test_a_round_of_retries_asks_only_for_what_failed_in_passing(web: Web, tmp_path: pathlib.Path) -> None:
    out, busy = str(tmp_path), "http://h1.test/busy.png"
    judged(out, FIRST, 1)
    first = fetch_images(out, CONFIG, web.network(), run)
    web.log.clear()

    def stops(name: str, build: object) -> None:
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        fetch_images(out, CONFIG, web.network(), stops, retry_failed=True)
    web.on(busy, body=picture(50), headers={"Content-Type": "image/png"})
    second = fetch_images(out, CONFIG, web.network(), run)             # the half-finished round is gone on with
    assert sorted(web.asked()) == ["/busy.png", "/no.png"] and second.inputs["known"] == first.digest
    before, after = images(first), images(second)
    assert {url for url in before if before[url] != after[url]} <= {busy, "http://h2.test/no.png"}
    assert (before[busy].outcome, after[busy].outcome) == ("http_503", "ok")

    web.log.clear()
    assert fetch_images(out, CONFIG, web.network(), run) == second and web.log == []     # it is the current one now
    web.on("http://h2.test/no.png", body=picture(99), headers={"Content-Type": "image/png"})
    third = fetch_images(out, CONFIG, web.network(), run, retry_failed=True)
    assert web.asked() == ["/no.png"] and images(third)["http://h2.test/no.png"].outcome == "ok"
    assert fetch_images(out, CONFIG, web.network(), run, retry_failed=True) == third     # nothing is left to ask for
    assert web.asked() == ["/no.png"] and third.funnel[0].rows_in == len(FIRST)

    judged(out, ["http://h0.test/9.png"], 2)
    fetch_images(out, CONFIG, web.network(), run, retry_failed=True)
    judged(out, FIRST, 1)                      # back again: the rounds of this judge count, not the one in between
    web.log.clear()
    assert fetch_images(out, CONFIG, web.network(), run, retry_failed=True) == third and web.log == []


def test_what_may_be_carried_over() -> None:
    row = Image("k", "u", "ok", 200, "u", "", (), "unknown", "png", 1, 1, 1, "s", "p", 0, 1)
    outcomes = {"ok": True, "http_404": True, "not_an_image": True, "too_large": True, "http_503": False,
                "timeout_total": False, "deferred_budget": False, "robots_denied": False, "optout_header": False,
                "blocked_address": False}
    assert {name: may_carry(dataclasses.replace(row, outcome=name)) for name in outcomes} == outcomes


def test_one_answer_to_each_url() -> None:
    rows = [Image(key, "u", "ok", 200, "u", "", (), "unknown", "png", 1, 1, 1, "s", "p", 0, 1) for key in "bca"]
    assert [row.url_key for row in one_for_one("cab", rows)] == ["a", "b", "c"]
    for asked, answered, message in (("abc", [*rows, rows[0]], "b: asked for 1 times, answered 2 times"),
                                     ("abcd", rows, "d: asked for 1 times, answered 0 times"),
                                     ("ab", rows, "c: asked for 0 times, answered 1 times"),
                                     ("aabc", rows, "a: asked for 2 times, answered 1 times")):
        with pytest.raises(AssertionError, match=message):
            one_for_one(asked, answered)


def test_without_a_judge_the_way_out_is_named(web: Web, tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="judge"):
        fetch_images(str(tmp_path), CONFIG, web.network(), run)


def test_what_was_removed_is_not_asked_for_not_stored_and_not_carried(web: Web, tmp_path: pathlib.Path) -> None:
    out = str(tmp_path)
    judged(out, FIRST[:3], 1)
    fetch_images(out, CONFIG, web.network(), run)
    digest = hashlib.sha256(picture(2)).hexdigest()
    key = hashlib.sha256(picture(3)).hexdigest()[:32]
    web.on("http://h2.test/moved.png", status=302, headers={"Location": "http://h1.test/4.png"})
    for kind, value in (("url", FIRST[0]), ("domain", "h1.test"), ("sha256", digest), ("key", key)):
        add_lines(out, [Suppressed(parse_rule(kind, value), "2026-01-01T00:00:00.000000Z", ())])
    web.log.clear()
    judged(out, [*FIRST[:4], "http://h2.test/5.png", "http://h2.test/moved.png"], 2)
    second = fetch_images(out, CONFIG, web.network(), run)
    found = images(second)
    assert {url: row.outcome for url, row in found.items()} == {
        FIRST[0]: "suppressed", FIRST[1]: "suppressed", FIRST[2]: "suppressed", FIRST[3]: "suppressed",
        "http://h2.test/5.png": "ok", "http://h2.test/moved.png": "suppressed"}
    assert not any(row.part for row in found.values() if row.outcome == "suppressed")
    stored = b"".join(pathlib.Path(second.directory, entry.name).read_bytes() for entry in second.tables["tars"])
    assert picture(3) not in stored and picture(4) not in stored and picture(5) in stored
    assert not {"/0.png", "/1.png", "/2.png"} & set(web.asked())
