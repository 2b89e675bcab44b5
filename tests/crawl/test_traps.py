"""Sites without an end are closed, each by the rule that was made for it; large sites are not."""
from __future__ import annotations

import collections
import dataclasses
import pathlib
import random
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from crawl.frontier import FrontierRules, place_of, seed_entry
from crawl.plan_run import plan_crawl
from crawl.records import CrawlEntry, Trap
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import Manifest
from crawl.tables import read_table
from crawl.traps import (
    CALENDAR,
    DUPLICATE_SITE,
    DUPLICATES,
    FACETS,
    PREFIX,
    TEMPLATE,
    TOO_MANY,
    Crowd,
    Member,
    TrapRules,
    calendar_template,
    fault_of,
    groups_of,
    limit_of,
    settled,
    trap_of,
)
from crawl.urls import site
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run
from tests.crawl.test_plan import _Stop, counts

RULES = FrontierRules()
TRAPS = TrapRules(max_calendar_pages=10, max_facet_pages=12, max_template_pages=30)


@pytest.mark.parametrize(("url", "fault"), [
    ("http://a.test/" + "x" * 1_100, "trap_url_length"),
    ("http://a.test/" + "/".join(map(str, range(21))), "trap_path_depth"),
    ("http://a.test/b/c/b/c/b/c", "trap_repeated_segment"),
    ("http://a.test/?" + "&".join(f"p{n}=1" for n in range(17)), "trap_query"),
    ("http://a.test/b/c/b/c?" + "&".join(f"p{n}=1" for n in range(16)), None),
])
def test_one_url(url: str, fault: str | None) -> None:
    assert fault_of(url, TrapRules()) == fault


@pytest.mark.parametrize(("url", "template"), [
    ("http://a.test/calendar/2031/05", "a.test/calendar/{n}/{n}"),
    ("http://a.test/calendar/2031/05/17/", "a.test/calendar/{n}/{n}/{n}/"),
    ("http://a.test/day/2031-05-17.html", "a.test/day/{n}"),
    ("http://a.test/cal?month=5&year=2031", "a.test/cal?month&year"),
    ("http://a.test/cal?date=2031-05-17", "a.test/cal?date"),
    ("http://a.test/2019/05/a-walk", None),
    ("http://a.test/photos/1024", None),
    ("http://a.test/?page=7", None),
    ("http://a.test/", None),
])
def test_calendars_are_known_by_their_dates(url: str, template: str | None) -> None:
    assert calendar_template(url) == template


@pytest.mark.parametrize(("url", "names"), [
    ("http://www.a.test/a/7", {DUPLICATES: "a.test/a/*", PREFIX: "a.test/a/"}),
    ("http://a.test/s/1f2e/page-3.html", {DUPLICATES: "a.test/s/{n}/*", PREFIX: "a.test/s/"}),
    ("http://a.test/view?id=5", {TEMPLATE: "a.test/view?id", DUPLICATES: "a.test/*?id", PREFIX: "a.test/"}),
    ("http://a.test/shop?b=1&a=2&c=3", {FACETS: "a.test/shop", DUPLICATES: "a.test/*?a&b&c", PREFIX: "a.test/"}),
    ("http://a.test/e/2031/05", {CALENDAR: "a.test/e/{n}/{n}", DUPLICATES: "a.test/e/{n}/*", PREFIX: "a.test/e/"}),
])
def test_the_groups_of_a_url(url: str, names: dict[str, str]) -> None:
    found = {group.status: group.name for group in groups_of(url)}
    assert found == names | {DUPLICATE_SITE: "a.test", TOO_MANY: "a.test"}
    assert all(trap_of(dataclasses.replace(seed_entry(url), status=status)) == (status, name)
               for status, name in found.items())


def test_a_crowd_is_bounded_and_does_not_depend_on_order_or_cuts() -> None:
    members = [Member((n % 3, f"{zlib.crc32(str(n).encode()):08x}"), n % 7 == 0, "") for n in range(400)]
    fetched = sum(member.is_fetched for member in members)
    places = sorted(member.place for member in members if not member.is_fetched)
    for seed in range(5):
        shuffled = random.Random(seed).sample(members, len(members))
        left, right = Crowd(100), Crowd(100)
        for number, member in enumerate(shuffled):
            (left if number % (seed + 2) else right).add(member)
            assert len(left.first) <= 401
        left.merge(right)
        assert left.last_place(TRAPS) == places[100 - fetched - 1] and len(left.first) == 100
    full = Crowd(5)
    for member in members:
        full.add(member)
    assert full.last_place(TRAPS) == (-1, "")                  # below every place: nothing more is asked for
    small = Crowd(500)
    for member in members:
        small.add(member)
    assert small.last_place(TRAPS) is None


@pytest.mark.parametrize(("pages", "contents", "is_closed"), [
    (24, 1, True), (23, 1, False), (100, 20, True), (100, 21, False), (4_000, 30, True), (4_000, 4_000, False)])
def test_contents_close_a_group_when_most_pages_repeat_others(pages: int, contents: int, is_closed: bool) -> None:
    crowd = Crowd(limit_of(DUPLICATES, TrapRules(), 20_000))
    for number in range(pages):
        crowd.add(Member((1, f"{zlib.crc32(str(number).encode()):08x}"), True, str(number % contents)))
        assert len(crowd.contents) <= 1_025
    assert crowd.last_place(TrapRules()) is None               # nobody waits
    crowd.add(Member((1, "0"), False, ""))
    assert (crowd.last_place(TrapRules()) == (-1, "")) == is_closed


def test_seeds_and_sitemaps_are_no_traps() -> None:
    nothing_more = {(status, "a.test"): (-1, "") for status in (DUPLICATE_SITE, TOO_MANY)}
    page = dataclasses.replace(seed_entry("http://a.test/x"), depth=2)
    of_site = {(TOO_MANY, "a.test"): (-1, "")}
    for named in (dataclasses.replace(page, depth=0), dataclasses.replace(page, kind="sitemap")):
        place = place_of(named, RULES)
        assert settled(named, place, {(DUPLICATE_SITE, "a.test"): (-1, "")}).status == "due"
        assert settled(named, place, of_site).status == TOO_MANY
    assert settled(page, place_of(page, RULES), nothing_more).status == DUPLICATE_SITE
    assert settled(page, place_of(page, RULES), {(DUPLICATE_SITE, "b.test"): (-1, "")}) == page


@pytest.mark.parametrize("change", [{"max_duplicate_share": 0.0}, {"max_duplicate_share": 1.1}, {"max_facet_pages": 0},
                                    {"min_duplicate_pages": 1_000}, {"max_repeats": -1}])
def test_rules_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(change))):
        TrapRules(**change)


MENU = " ".join(f"menu{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(200))


def words(seed: str, count: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(count))


def links(paths: list[str]) -> str:
    return "".join(f'<a href="{path}">x</a>' for path in paths)


def calendar(path: str) -> bytes:
    year, month = map(int, (path if path.count("/") == 3 else "/cal/2031/1").split("/")[2:])
    months = [f"/cal/{year + (month + n - 1) // 12}/{(month + n - 1) % 12 + 1}" for n in range(1, 9)]
    return f"<p>{words(path, 40)}</p>{links(months)}".encode()


def session(path: str) -> bytes:
    """The same eight pages under a new name for each link on each page."""
    page = path.rpartition("/")[2] or "0"
    names = [f"/v/{zlib.crc32((path + str(n)).encode()):08x}1/{n}" for n in range(8)]
    return f"<p>{words(page, 40)} {zlib.crc32(path.encode())}</p><img src=/i{page}.jpg>{links(names)}".encode()


def shop(path: str) -> bytes:
    rng = random.Random(path)
    more = [f"/list?colour={rng.randrange(99)}&size={rng.randrange(99)}&sort={rng.randrange(99)}" for _ in range(8)]
    return f"<p>{words(path, 40)}</p>{links(more)}".encode()


def anything(path: str) -> bytes:
    """A soft 404: whatever is asked for is a page that says it cannot be found, and names pages beside it."""
    more = [f"/{words(path + str(n), 1)}" for n in range(6)]
    return (f"<h1>{path[1:]} was not found, sorry</h1><p>{MENU}</p><img src=/logo.png>"
            f"<img src='/count.gif?at={path}' width=1 height=1>{links(more)}").encode()


def pages_of_values(path: str) -> bytes:
    start = int(path.partition("=")[2] or 0)
    return f"<p>{words(path, 40)}</p>{links([f'/view?id={start + n}' for n in range(1, 20)])}".encode()


def big(path: str) -> bytes:
    """500 articles that share a menu of 200 words and no picture."""
    number = path.rpartition("/")[2]
    return (f"<p>{MENU}</p><p>{words(path, 60)}</p>".encode() if number else
            links([f"/articles/{n}" for n in range(500)]).encode())


def photos(path: str) -> bytes:
    """60 pages that share every word; each has its own photograph."""
    number = path.rpartition("/")[2]
    return (f"<p>{MENU} Photo {number}</p><img src=/p/{number}.jpg>".encode() if number else
            links([f"/photo/{n}" for n in range(60)]).encode())


HOSTS = {"calendar.test": calendar, "session.test": session, "shop.test": shop, "anything.test": anything,
         "values.test": pages_of_values, "big.test": big, "photos.test": photos}
CONFIG = CrawlConfig(fetch=quick(retries=0, latency_factor=0.0), max_rounds=5, shards=2, buckets=2,
                     frontier=FrontierRules(traps=TRAPS, max_pages_per_site_round=600))


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        for host, page in HOSTS.items():
            server.every(host, page)
        yield server


def crawled(web: Web, folder: pathlib.Path, config: CrawlConfig, hosts: tuple[str, ...] = tuple(HOSTS)) -> Manifest:
    seeds = folder / "seeds.txt"
    folder.mkdir(exist_ok=True)
    seeds.write_text("".join(f"http://{host}/\n" for host in hosts))
    return crawl_pages(str(folder / "out"), str(seeds), config, web.network(), run)


def test_each_endless_site_is_caught_by_its_rule_and_large_ones_are_whole(web: Web, tmp_path: pathlib.Path) -> None:
    manifest = crawled(web, tmp_path, CONFIG)
    known = [entry for path in manifest.paths("crawldb") for entry in read_table(path, CrawlEntry)]
    statuses = {host: collections.Counter(entry.status for entry in known if site(entry.url) == host) for host in HOSTS}
    assert statuses["calendar.test"].keys() == {"ok", CALENDAR} and statuses["calendar.test"]["ok"] == 10 + 1
    assert statuses["shop.test"].keys() == {"ok", FACETS} and statuses["shop.test"]["ok"] == 12 + 1
    assert statuses["values.test"].keys() == {"ok", TEMPLATE} and statuses["values.test"]["ok"] == 30 + 1
    for host, rules in (("session.test", {DUPLICATES, DUPLICATE_SITE}), ("anything.test", {DUPLICATES})):
        assert statuses[host].keys() - {"ok"} <= rules and statuses[host].keys() & rules, statuses
        assert 24 <= statuses[host]["ok"] <= 300, statuses
    assert statuses["big.test"] == {"ok": 501} and statuses["photos.test"] == {"ok": 61}

    of_known = next(line for line in manifest.funnel if line.unit == "known URL")
    assert of_known.adds_up() and dict(of_known.outcomes) == sum(statuses.values(), collections.Counter[str]())
    traps = [trap for path in manifest.paths("traps") for trap in read_table(path, Trap)]
    assert sum(trap.urls for trap in traps) == sum(count for name, count in of_known.outcomes if name != "ok")
    by_status = {trap.status: trap for trap in traps}
    assert by_status[CALENDAR].group == "calendar.test/cal/{n}/{n}" and len(by_status[FACETS].examples) == 3
    assert any(f"{TEMPLATE}: " in note and "values.test/view?id" in note for note in manifest.notes)


def test_what_is_closed_depends_on_no_number_of_shards(web: Web, tmp_path: pathlib.Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")         # crawldb says when a URL is due again
    hosts = ("calendar.test", "session.test", "shop.test")
    one, five = (crawled(web, tmp_path / str(shards), dataclasses.replace(CONFIG, max_rounds=3, shards=shards,
                                                                          buckets=3 - shards // 3), hosts)
                 for shards in (1, 5))
    assert one.table_digest("crawldb") == five.table_digest("crawldb") and one.rows("traps") > 2
    assert one.table_digest("traps") == five.table_digest("traps")


def test_a_dry_run_names_them_and_folders_share_a_round(web: Web, tmp_path: pathlib.Path) -> None:
    traps = dataclasses.replace(TRAPS, max_prefix_pages_round=40, max_prefix_pages=100)
    config = dataclasses.replace(CONFIG, frontier=FrontierRules(traps=traps, max_pages_per_site=450))

    def two_rounds(name: str, build: Any) -> None:
        if name == "crawl: select round 2":
            raise _Stop
        run(name, build)
    seeds = tmp_path / "seeds.txt"
    seeds.write_text("".join(f"http://{host}/\n" for host in ("big.test", "values.test", "photos.test")))
    with pytest.raises(_Stop):
        crawl_pages(str(tmp_path / "out"), str(seeds), config, web.network(), two_rounds)
    assert len(web.asked("big.test")) == 1 + 40
    plan, _ = plan_crawl(str(tmp_path / "out"), str(seeds), config, web.network(), run)
    # Of 500 articles 100 may be asked for, and 60 of them are left, 40 in this round; of 60 photographs 20 are.
    found = counts(plan)
    assert found.pop(TEMPLATE) and found == {PREFIX: 400, "not_selected_quota": 20, "fetch": 40 + 20 + 11}
