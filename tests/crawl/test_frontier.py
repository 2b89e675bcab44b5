"""The frontier's reducers as state machines, its traps and its quotas."""
from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest

from crawl import urls
from crawl.frontier import (
    FrontierRules,
    Quota,
    fetch_row,
    first_arrival,
    refuse,
    seed_entry,
    telling_links,
    update,
)
from crawl.records import CrawlEntry, FetchLog, Link

RULES = FrontierRules()
SITES = frozenset({"a.test"})
URL = "http://a.test/x"


def log(url: str = URL, outcome: str = "ok", final_url: str = "", depth: int = 1) -> FetchLog:
    return FetchLog(url_key=urls.url_key(url), url=url, kind="page", depth=depth, outcome=outcome, http_status=0,
                    final_url=final_url or url, redirects=(), content_type="",
                    fetched_at="2026-01-01T00:00:00.000000Z", body_bytes=0, truncated=False, signals=(),
                    permission="unknown", part="", offset=0, length=0, sha256="", warc_record_id="", round=0)


def link(url: str = URL, depth: int = 1, nofollow: bool = False, source: str = "s") -> Link:
    return Link(source, urls.url_key(url), url, depth, nofollow)


def entry(url: str = URL, **changes: Any) -> CrawlEntry:
    return dataclasses.replace(seed_entry(url), **changes)


def step(known: CrawlEntry | None, outcome: str = "", links: list[Link] | None = None,
         arrivals: list[FetchLog] | None = None, number: int = 1, rules: FrontierRules = RULES) -> CrawlEntry:
    asked = [fetch_row(known, 4, rules)] if known and outcome else []
    logs = [log(known.url, outcome)] if known and outcome else []
    return update(known, asked, logs, links or [], arrivals or [], rules, SITES, number)


def test_a_new_link_is_due_one_deeper_and_a_fetched_page_is_done() -> None:
    found = step(None, links=[link(depth=3), link(depth=2)])
    assert (found.status, found.depth, found.last_round, found.discovered_round) == ("due", 2, -1, 2)
    fetched = step(found, "ok", number=2)
    assert (fetched.status, fetched.last_round) == ("ok", 2)
    assert step(fetched, links=[link(depth=5)]) == fetched


@pytest.mark.parametrize("outcome", ["http_503", "timeout_total", "deferred_suspended", "http_429"])
def test_a_passing_fault_is_due_again_until_the_retries_are_spent(outcome: str) -> None:
    known, statuses = seed_entry(URL), []
    for number in range(4):
        if known.status != "due":
            break
        known = step(known, outcome, number=number)
        statuses.append((known.status, known.retries))
    assert statuses == [("due", 1), ("due", 2), (outcome, 2)]


def test_what_our_own_time_limit_put_off_stays_due_and_spends_no_retry() -> None:
    known = seed_entry(URL)
    for number in range(9):
        known = step(known, "deferred_budget", number=number)
        assert (known.status, known.retries) == ("due", 0)


@pytest.mark.parametrize("outcome", ["http_404", "robots_denied", "blocked_address", "not_html"])
def test_an_answer_is_an_answer(outcome: str) -> None:
    assert step(seed_entry(URL), outcome).status == outcome


@pytest.mark.parametrize(("url", "depth", "reason"), [
    ("http://a.test/", 1, None),
    ("http://www.a.test/", 1, None),
    ("http://b.test/", 1, "out_of_scope"),
    ("http://a.test/", 21, "too_deep"),
    ("http://a.test/" + "/".join(map(str, range(21))), 1, "trap_path_depth"),
    ("http://a.test/b/c/b/c/b/c", 1, "trap_repeated_segment"),
    ("http://a.test/b/c/b/c", 1, None),
    ("http://a.test/?" + "&".join(f"p{n}=1" for n in range(17)), 1, "trap_query"),
])
def test_scope_and_traps(url: str, depth: int, reason: str | None) -> None:
    assert refuse(url, depth, RULES, SITES) == reason
    assert step(None, links=[link(url, depth)]).status == (reason or "due")
    if reason == "out_of_scope":
        assert refuse(url, depth, FrontierRules(scope="any"), SITES) is None


def test_nofollow_closes_until_another_link_opens() -> None:
    closed = step(None, links=[link(nofollow=True)])
    assert closed.status == "nofollow"
    assert step(closed, links=[link(nofollow=True, depth=1)]).status == "nofollow"
    assert step(closed, links=[link(depth=4)]).status == "due"
    assert step(None, links=[link(nofollow=True)], rules=FrontierRules(follow_nofollow=True)).status == "due"


def test_a_shorter_way_opens_what_was_too_deep() -> None:
    deep = step(None, links=[link(depth=30)])
    assert deep.status == "too_deep"
    assert (step(deep, links=[link(depth=3)]).status, step(deep, links=[link(depth=3)]).depth) == ("due", 3)


def test_a_page_reached_by_redirect_is_not_fetched_again() -> None:
    arrival = log("http://a.test/old", final_url=URL)
    assert step(None, arrivals=[arrival], links=[link()]).status == "reached_by_redirect"
    assert step(entry(status="due"), arrivals=[arrival]).status == "reached_by_redirect"
    assert step(entry(status="http_404"), arrivals=[arrival]).status == "http_404"


def test_a_list_and_a_log_that_do_not_answer_each_other_are_an_error() -> None:
    known = seed_entry(URL)
    row = fetch_row(known, 4, RULES)
    for asked, logs in (([row], []), ([], [log()]), ([row, row], [log(), log()]), ([row], [log(), log()])):
        with pytest.raises(AssertionError, match="in the fetch list"):
            update(known, asked, logs, [], [], RULES, SITES, 0)


def test_telling_links_and_first_arrival_are_associative() -> None:
    links = [link(depth=depth, nofollow=nofollow, source=source) for depth in (3, 1, 2) for nofollow in (True, False)
             for source in "ba"]
    whole = telling_links([(one,) for one in links])
    assert whole == telling_links([telling_links([(one,) for one in links[:5]]), telling_links([tuple(links[5:])])])
    assert [(one.depth, one.nofollow, one.src_key) for one in whole] == [(1, False, "a"), (1, True, "a")]
    logs = [log(f"http://a.test/{n}", final_url=URL, depth=n % 2) for n in range(6)]
    assert first_arrival([tuple(logs)]) == first_arrival([first_arrival([tuple(logs[:3])]), tuple(logs[3:])])


def due(count: int, **changes: Any) -> list[CrawlEntry]:
    return [entry(f"http://a.test/{n}", **changes) for n in range(count)]


def test_a_quota_takes_shallow_pages_first_and_does_not_depend_on_the_order() -> None:
    entries = due(30, depth=2) + [entry(f"http://a.test/top{n}", depth=1) for n in range(3)]
    results = []
    for seed in range(5):
        shuffled = random.Random(seed).sample(entries, len(entries))
        left, right = Quota(8), Quota(8)
        for number, one in enumerate(shuffled):
            (left if number < 20 else right).add(one, RULES)
        left.merge(right)
        results.append(left.selected())
        assert len(left.due) <= 8
    assert all(result == results[0] for result in results)
    assert [one.depth for one in results[0]] == [1, 1, 1] + [2] * 5


def test_one_politeness_key_one_shard() -> None:
    rows = [fetch_row(seed_entry(f"http://{host}.a.test/{n}"), 16, RULES) for host in ("www", "img") for n in range(20)]
    assert len({row.shard for row in rows}) == 1 and len({row.order_key for row in rows}) == 40
    assert len({fetch_row(seed_entry(f"http://h{n}.test/"), 16, RULES).shard for n in range(40)}) > 8
