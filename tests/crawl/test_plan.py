"""`--dry-run`: nobody is asked, nothing is written, and what it says is what the run then does."""
from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterator

import pytest

from crawl import cli, urls
from crawl.frontier import FrontierRules, fetch_row, seed_entry
from crawl.images_run import ImagesConfig, fetch_images
from crawl.plan import Plan, Planner
from crawl.plan_run import plan_crawl, plan_dataset, plan_images
from crawl.policy import FetchPolicy, Network
from crawl.robots_access import host_of
from crawl.rounds import CrawlConfig, crawl_pages
from tests.crawl.loopback import Web, quick, serving
from tests.crawl.running import run
from tests.crawl.test_cli import parsed
from tests.crawl.test_images_run import Judging, judged, picture
from tests.crawl.test_robots_access import NOW, fetched

CONFIG = CrawlConfig(fetch=quick(retries=0), frontier=FrontierRules(max_pages_per_site_round=3), max_rounds=2,
                     shards=2, buckets=1)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /no\nCrawl-delay: 0.25\n")
        links = "".join(f"<a href=/{name}>x</a>" for name in ("1", "2", "3", "4", "no")).encode()
        server.on("http://a.test/", body=links + b"<a href=/hidden rel=nofollow>h</a><a href=http://c.test/>c</a>")
        yield server


def tree(folder: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*")) if path.is_file()}


def counts(plan: Plan) -> dict[str, int]:
    return {reason.name: reason.count for reason in plan.reasons}


def seeds(tmp_path: pathlib.Path) -> str:
    path = tmp_path / "seeds.txt"
    path.write_text("http://a.test/\nhttp://10.0.0.1/\n")
    return str(path)


def test_a_new_crawl_is_planned_without_a_trace(web: Web, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "out"
    plan, digest = plan_crawl(str(out), seeds(tmp_path), CONFIG, web.network(allow_hosts=("*.test", "10.0.0.1")), run)
    assert counts(plan) == {"fetch_if_robots_allows": 2} and digest == "" and plan.to_fetch == 2
    assert web.log == [] and not out.exists()


class _Stop(Exception):
    pass


def test_the_next_round_is_planned_as_it_is_then_fetched(web: Web, tmp_path: pathlib.Path) -> None:
    out, file = str(tmp_path / "out"), tmp_path / "s.txt"
    file.write_text("http://a.test/\n")

    def first_round(name: str, build: object) -> None:
        if name == "crawl: select round 1":
            raise _Stop
        run(name, build)                              # type: ignore[arg-type]
    with pytest.raises(_Stop):
        crawl_pages(out, str(file), CONFIG, web.network(), first_round)
    before = tree(tmp_path)
    web.log.clear()
    plan, _ = plan_crawl(out, str(file), CONFIG, web.network(), run)
    assert tree(tmp_path) == before and web.log == []
    found = counts(plan)
    assert found.pop("fetch") + found.get("robots_denied", 0) == 3 and found.pop("not_selected_quota") == 2
    assert found.pop("nofollow") == 1 and found.pop("out_of_scope") == 1
    slowest = plan.hosts[0]
    assert (slowest.host, slowest.delay_s, slowest.requests) == ("a.test", 0.25, plan.to_fetch)
    assert plan.lower_bound_s == 0.25 * plan.to_fetch

    crawl_pages(out, str(file), CONFIG, web.network(), run)
    assert sorted(f"http://a.test{path}" for path in web.asked()) == [
        url for reason in plan.reasons if reason.name == "fetch" for url in reason.examples]


def test_a_plan_names_every_reason_and_the_slowest_hosts_first() -> None:
    policy, rules = FetchPolicy(contact="https://example.org/bot", shard_seconds=100.0), FrontierRules()
    denied = host_of(urls.authority("http://b.test/"), fetched(body=b"User-agent: *\nDisallow: /\n"), NOW, policy)
    denied = dataclasses.replace(denied, ai_cause="robots_denied")
    planner = Planner("page", policy, Network(), {denied.authority: denied}, NOW)
    for url in [*(f"http://slow.test/{n}" for n in range(60)), "http://b.test/x", "http://127.0.0.1/",
                "http://a.test:9999/", *(f"http://h{n}.test/" for n in range(30))]:
        planner.add(fetch_row(seed_entry(url), 1, rules))
    plan = planner.plan("crawl", "round 0")
    assert counts(plan) == {"fetch_if_robots_allows": 90, "robots_denied": 1, "blocked_address": 1,
                            "blocked_egress": 1}
    assert len(plan.hosts) == 20 and plan.hosts[0].host == "slow.test"
    assert plan.hosts[0].requests == 63 and plan.lower_bound_s == 63 * policy.page_delay_s
    assert plan.beyond_budget == 13 and all(len(reason.examples) <= 3 for reason in plan.reasons)
    silent = Planner("page", FetchPolicy(), Network(), {}, NOW)
    silent.add(fetch_row(seed_entry("http://a.test/"), 1, rules))
    assert counts(silent.plan("crawl", "")) == {"blocked_no_contact": 1}


def test_images_and_dataset(web: Web, tmp_path: pathlib.Path) -> None:
    out, config = str(tmp_path / "out"), ImagesConfig(fetch=quick(retries=0), shards=2, buckets=1)
    file = tmp_path / "s.txt"
    file.write_text("http://d.test/\n")
    for name in ("1", "2"):
        web.on(f"http://i.test/{name}.png", body=picture(int(name)), headers={"Content-Type": "image/png"})
    crawl_pages(out, str(file), CONFIG, web.network(), run)
    judged(out, ["http://i.test/1.png"], 1)
    fetch_images(out, config, web.network(), run)
    judged(out, ["http://i.test/1.png", "http://i.test/2.png"], 2)
    web.log.clear()
    before = tree(tmp_path)
    plan = plan_images(out, config, web.network(), run)
    assert counts(plan) == {"answered_before": 1, "fetch": 1}
    (pages,) = plan_dataset(out, str(file), CONFIG, config, Judging(2), web.network(), run)
    assert pages.what.startswith("finished in crawl/") and "imagebert judge" in pages.notes[-1]
    assert tree(tmp_path) == before and web.log == []
    fetch_images(out, config, web.network(), run)
    assert web.asked() == ["/2.png"]
    assert plan_images(out, config, web.network(), run).what.startswith("finished in images/")


def test_the_command_prints_it(web: Web, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    ready = tmp_path / "web.json"
    ready.write_text(json.dumps({"seeds": ["http://a.test/"], "connect_to": [f"::127.0.0.1:{web.port}"],
                                 "ca_file": ""}))
    words = ["crawl", "--web", str(ready), "--out", str(tmp_path / "out"), "--dry-run"]
    assert cli.crawl_command(parsed(*words, "--json")) == 0
    (plan,) = json.loads(capsys.readouterr().out)["plans"]
    assert plan["to_fetch"] == 1 and plan["hosts"][0]["host"] == "a.test"
    assert cli.crawl_command(parsed(*words)) == 0
    printed = capsys.readouterr().out
    assert "fetch_if_robots_allows" in printed and "at least 0.1 s" in printed and "nobody was asked" in printed
    assert web.log == [] and not (tmp_path / "out").exists()
