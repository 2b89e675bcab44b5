"""When a recrawl asks again: what changes soon, what stands seldom; what is not due stays in every table unasked."""
from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable

import pytest

import imagebert
from crawl.frontier import DUE, STANDS, FrontierRules, held_back, update
from crawl.plan_run import plan_crawl
from crawl.records import Candidate, CrawlEntry, DueDay, FetchLog, FetchRow
from crawl.recrawl import due_again, with_earlier
from crawl.schedule import DAY, ScheduleRules, add_days, due_day, idle_until, next_interval, scheduled
from crawl.stages import Manifest
from crawl.suppress import Rule, Suppression
from tests.crawl.loopback import Web, serving
from tests.crawl.running import run
from tests.crawl.test_recrawl import CONFIG, asked_with, by_path, crawled, entry, picture, rows, set_up

NOON = 1_700_000_000               # the first crawl: 2023-11-14T22:13:20Z
RULES = ScheduleRules()
Crawled = Callable[..., Manifest]


@pytest.fixture
def web():
    with serving() as server:
        set_up(server)
        yield server


def after(monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(NOON + days * DAY)))


def known(manifest: Manifest) -> dict[str, CrawlEntry]:
    return {one.url.removeprefix("http://a.test"): one for one in rows(manifest, "crawldb", CrawlEntry)}


def shown(manifest: Manifest) -> set[str]:
    return {row.image_url.rpartition("/")[2] for row in rows(manifest, "candidates", Candidate)}


def test_what_changes_is_asked_soon_and_what_stands_seldom(web: Web, tmp_path: pathlib.Path,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    after(monkeypatch, 0)
    first = crawled(web, tmp_path)
    entries = known(first)
    assert (entries["/etag"].interval_s, entries["/etag"].next_due) == (7 * DAY, "2023-11-21T22:13:20.000000Z")
    assert entries["http://b.test/new"].next_due == ""                   # reached by a redirect: its source is asked
    (day,) = rows(first, "schedule", DueDay)
    assert (day.day, day.first, day.urls) == ("2023-11-21", "2023-11-21T22:13:20.000000Z", 12)

    after(monkeypatch, 8)
    web.versioned("http://a.test/changes", picture("after"), {"ETag": '"after"'})
    web.on("http://a.test/goes", status=404)
    second = crawled(web, tmp_path, recrawl="due")
    assert len(asked_with(web)) > 10
    spans = {path: one.interval_s / DAY for path, one in known(second).items() if one.interval_s}
    assert (spans["/changes"], spans["/etag"], spans["/none"], spans["/goes"]) == pytest.approx((5.6, 9.8, 9.8, 10.5))

    after(monkeypatch, 14)                                              # 5.6 days later, and less than 9.8
    web.versioned("http://a.test/changes", picture("later"), {"ETag": '"later"'})
    third = crawled(web, tmp_path, recrawl="due")
    assert web.asked() == ["/changes"] and asked_with(web)["/changes"] == {"If-None-Match": '"after"'}
    found = by_path(third)
    assert (found["/changes"].outcome, found["/etag"].outcome) == ("ok", "not_due") and "/goes" not in found
    for path in ("/etag", "/none", "/old", "/zip", "/map.xml", "/signals"):
        was = by_path(second)[path]
        assert found[path] == dataclasses.replace(was, outcome="not_due", round=found[path].round, revisit_part="",
                                                  revisit_offset=0, revisit_length=0), path
    assert shown(third) == shown(second) - {"after.jpg"} | {"later.jpg"}
    entries = known(third)
    assert entries["/etag"].next_due == known(second)["/etag"].next_due and entries["/etag"].status == "not_due"
    assert entries["http://b.test/new"].status == "reached_by_redirect"     # its redirect stands, so it does
    assert entries["/goes"].status == "http_404" and entries["/changes"].interval_s == int(5.6 * DAY * 0.8)
    assert any("9 stored URLs are not due again yet; 0 of 1 fetches" in note for note in third.notes)
    assert all(line.adds_up() for line in third.funnel)
    assert {row.url_key for row in rows(third, "fetch_list", FetchRow)} == {
        row.url_key for row in rows(third, "fetch_log", FetchLog)}

    after(monkeypatch, 30)                                              # all are due; what stood is held as before
    fourth = crawled(web, tmp_path, recrawl="due")
    assert asked_with(web)["/etag"] == {"If-None-Match": 'W/"1"'} and "/goes" in asked_with(web)
    assert by_path(fourth)["/etag"].outcome == "not_modified" and by_path(fourth)["/etag"].part == (
        by_path(first)["/etag"].part)


def test_where_nothing_is_due_nothing_is_done(web: Web, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch,
                                              capfd: pytest.CaptureFixture[str]) -> None:
    after(monkeypatch, 0)
    first = crawled(web, tmp_path)
    after(monkeypatch, 1)
    assert crawled(web, tmp_path, recrawl="due") == first and not web.log
    assert "is due before 2023-11-21T22:13:20.000000Z; --recrawl all asks" in capfd.readouterr().err
    assert len(list(pathlib.Path(first.out, "crawl").glob("*/manifest.json"))) == 1
    plan, digest = plan_crawl(first.out, str(tmp_path / "seeds.txt"), CONFIG, web.network(), run, recrawl="due")
    assert plan.to_fetch == 0 and digest == first.digest and "nothing is due before 2023-11-21" in plan.notes[0]
    # A new seed is due at once, and a wider scope may have something to ask for.
    again = crawled(web, tmp_path, recrawl="due", seeds="http://a.test/\nhttp://b.test/\nhttp://c.test/\n")
    assert web.asked() == web.asked("c.test") == ["/"]
    assert again.rows("pages") == first.rows("pages") + 1
    everything = crawled(web, tmp_path, recrawl="all", seeds="http://a.test/\nhttp://b.test/\nhttp://c.test/\n")
    outcomes = {log.outcome for log in rows(everything, "fetch_log", FetchLog)}
    assert len(asked_with(web)) > 10 and "not_due" not in outcomes


def test_a_plan_counts_what_is_not_due(web: Web, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after(monkeypatch, 0)
    crawled(web, tmp_path)
    (tmp_path / "more.txt").write_text("http://a.test/\nhttp://c.test/\nhttp://b.test/\n")
    plan, _ = plan_crawl(str(tmp_path / "out"), str(tmp_path / "more.txt"), CONFIG, web.network(), run, recrawl="due")
    counted = {reason.name: reason.count for reason in plan.reasons}
    assert counted["not_due"] == 11 and plan.to_fetch == 1
    # What the crawl before was told is known while it is fresh.
    (tmp_path / "seeds.txt").write_text("http://a.test/\nhttp://b.test/\n")
    plan, _ = plan_crawl(str(tmp_path / "out"), str(tmp_path / "seeds.txt"), CONFIG, web.network(), run, recrawl="all")
    assert {reason.name: reason.count for reason in plan.reasons if reason.name.startswith("fetch")} == {"fetch": 12}


def test_any_number_of_shards_gives_the_same(web: Web, tmp_path: pathlib.Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for shards in (1, 3):
        folder = tmp_path / str(shards)
        folder.mkdir()
        config = dataclasses.replace(CONFIG, shards=shards)
        web.versioned("http://a.test/changes", picture("before"), {"ETag": '"before"'})
        after(monkeypatch, 0)
        crawled(web, folder, config=config)
        web.versioned("http://a.test/changes", picture("after"), {"ETag": '"after"'})
        after(monkeypatch, 8)
        crawled(web, folder, config=config, recrawl="due")
        after(monkeypatch, 14)
        found.append(crawled(web, folder, config=config, recrawl="due"))
    for name in ("pages", "candidates", "links", "crawldb", "schedule", "sitemap_images"):
        assert found[0].table_digest(name) == found[1].table_digest(name), name
    assert found[0].funnel == found[1].funnel


def test_the_command_and_the_main_job_pass_it_on(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path,
                                                 capsys: pytest.CaptureFixture[str]) -> None:
    asked = []
    monkeypatch.setattr("crawl.cli.crawl_pages", lambda *args, recrawl="": asked.append(recrawl) or None)
    monkeypatch.setattr("crawl.cli.print_manifest", lambda *args: None)
    monkeypatch.setattr("imagebert.crawl_pages", lambda *args, recrawl="": asked.append(recrawl) or None)
    monkeypatch.setattr("imagebert.judge", lambda *args: (_ for _ in ()).throw(imagebert.UsageError("far enough")))
    (tmp_path / "seeds.txt").write_text("http://a.test/\n")
    for command, status in (("crawl", 0), ("dataset", 2)):
        words = [command, "--seeds", str(tmp_path / "seeds.txt"), "--out", str(tmp_path / command)]
        for more in ([], ["--recrawl"], ["--recrawl", "all"]):
            assert imagebert.main([*words, *more]) == status
    assert asked == ["", "due", "all"] * 2
    with pytest.raises(SystemExit) as ended:
        imagebert.main([*words, "--recrawl", "soon"])
    assert ended.value.code == 2 and "invalid choice: 'soon'" in capsys.readouterr().err


def log(outcome: str) -> FetchLog:
    return FetchLog(url_key="k", url="http://a.test/x", kind="page", depth=1, outcome=outcome, http_status=200,
                    final_url="http://a.test/x", redirects=(), content_type="",
                    fetched_at="2026-01-01T00:00:00.000000Z", body_bytes=1, truncated=False, signals=(),
                    permission="allow", part="p", offset=0, length=1, sha256="", warc_record_id="", round=1)


@pytest.mark.parametrize(("outcome", "content", "days"), [
    ("ok", "other words", 8), ("ok", "the same words", 14), ("ok", "", 8), ("not_modified", "", 14),
    ("unchanged", "the same words", 14), ("http_404", "", 15), ("optout_meta", "", 15), ("robots_denied", "", 15)])
def test_an_interval_follows_what_came(outcome: str, content: str, days: int) -> None:
    before = dataclasses.replace(entry("due"), content="the same words", interval_s=10 * DAY)
    found = scheduled(before, dataclasses.replace(before, status=outcome), log(outcome), content, RULES)
    assert (found.interval_s, found.next_due) == (days * DAY, f"2026-01-{days + 1:02d}T00:00:00.000000Z")


def test_intervals_stay_within_their_bounds() -> None:
    span = 0
    for _ in range(100):
        span = next_interval(span, False, RULES)
    assert span == RULES.most_s
    for _ in range(100):
        span = next_interval(span, True, RULES)
    assert span == RULES.least_s
    for wrong in ({"least_s": 0}, {"first_s": 1}, {"shrink": 0.0}, {"shrink": 1.5}, {"grow": 0.9}, {"grow": 11.0}):
        with pytest.raises(ValueError, match="must be in"):
            ScheduleRules(**wrong)


def test_a_passing_fault_changes_no_schedule_and_what_is_gone_has_none() -> None:
    rules = FrontierRules(retries=2)
    before = dataclasses.replace(entry("due"), retries=0, interval_s=DAY, next_due="2026-01-01T00:00:00.000000Z")
    row = FetchRow("o", before.url_key, before.url, "page", 3, "a.test", 0)

    def folded(outcome: str) -> CrawlEntry:
        return update(before, [row], [dataclasses.replace(log(outcome), url_key=before.url_key)], [], [], rules,
                      frozenset({"a.test"}), 1)
    assert (folded("http_503").status, folded("http_503").next_due) == (DUE, before.next_due)
    assert folded("http_410").next_due == "" and folded("http_404").next_due == "2026-01-02T12:00:00.000000Z"
    assert held_back(dataclasses.replace(before, status=STANDS), Suppression((Rule("url", before.url),))).status == (
        "suppressed")


@pytest.mark.parametrize(("status", "at", "becomes"), [
    ("ok", "2026-01-02", STANDS), ("not_due", "2026-01-02", STANDS), ("ok", "2026-01-01", DUE),
    ("due", "2026-02-01", DUE), ("http_404", "2026-01-02", "http_404"), ("http_404", "2025-12-01", DUE),
    ("ok", "", DUE)])
def test_what_is_not_due_stands(status: str, at: str, becomes: str) -> None:
    one = dataclasses.replace(entry(status), next_due=at)
    assert due_again(one, None, FrontierRules(), frozenset({"a.test"}), "2026-01-01").status == becomes
    assert due_again(one, None, FrontierRules(), frozenset({"b.test"}), "2026-01-01").next_due == ""     # out of scope
    as_seed = due_again(one, one.url, FrontierRules(), frozenset(), "2026-01-01").status
    assert as_seed == (DUE if becomes == "http_404" else becomes)       # a seed that gave no page is asked each time


def test_a_row_that_stands_needs_bytes() -> None:
    row = FetchRow("o", "k", "http://a.test/x", "page", 1, "a.test", 0)
    assert with_earlier(row, [log("ok")], [], True).standing == (log("ok"),)
    assert with_earlier(row, [], [], True) == row                       # nothing is held: it is asked for
    assert with_earlier(row, [log("http_404")], [], True) == row
    assert with_earlier(row, [log("ok")], [], False).standing == ()


def test_days_add_up() -> None:
    one, two = (DueDay("2026-01-01", f"2026-01-01T0{hour}", hour) for hour in (1, 2))
    assert add_days([two, one]) == DueDay("2026-01-01", "2026-01-01T01", 3) == add_days([add_days([one]), two])
    assert idle_until([one, two], "2026-01-01T00") == "2026-01-01T01" and idle_until([one], "2026-01-01T01") == ""
    assert idle_until([one, DueDay("", "", 1)], "2025") == "" and idle_until([], "2025") == ""
    assert due_day(entry("out_of_scope"), False) is None and due_day(entry("due"), True) == DueDay("", "", 1)
