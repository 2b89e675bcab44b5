"""What an operator watches: the log for machines, rates, busiest hosts, the table of outcomes."""
from __future__ import annotations

import json
import pathlib

import pytest

from crawl import progress, run_log
from crawl.errors import UsageError
from crawl.funnel import print_outcomes
from crawl.rounds import crawl_pages
from crawl.stages import Funnel
from crawl.tally import Tally
from tests.crawl.loopback import serving
from tests.crawl.running import run
from tests.crawl.test_rounds import CONFIG


def lines(path: pathlib.Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_crawl_writes_its_events(tmp_path: pathlib.Path) -> None:
    log, seeds = tmp_path / "log.jsonl", tmp_path / "s.txt"
    seeds.write_text("http://a.test/\n")

    def shown(name: str, build: object) -> None:
        with progress.shown(name):
            run(name, build)                          # type: ignore[arg-type]
    with serving() as web:
        for _ in range(2):
            with run_log.writing(str(log), "crawl --seeds s.txt"):
                crawl_pages(str(tmp_path / "out"), str(seeds), CONFIG, web.network(), shown)
    found = lines(log)
    assert all({"event", "time"} <= line.keys() for line in found)
    assert [line["event"] for line in found[:2]] == ["started", "job_started"]
    last = [line for line in found if line["event"] == "progress"][-1]
    assert (last["stage"], last["step"], last["done"], last["total"]) == ("crawl", "pages fetched", 1, 1)
    assert last["outcomes"] == {"ok": 1} and last["busiest"] == {"a.test": 1}
    finished = next(line for line in found if line["event"] == "stage_finished")
    assert finished["funnel"][0] == {"unit": "page", "rows_in": 1, "outcomes": {"parsed": 1}}   # type: ignore[index]
    assert [line["event"] for line in found[-3:]] == ["started", "stage_found", "ended"]


def test_lines_are_printable_and_failures_are_told(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.jsonl"
    with pytest.raises(ValueError, match="x"), run_log.writing(str(log), "\x1b[2Jcrawl \u202e"):
        raise ValueError("x\ny")
    text = log.read_text()
    assert all(character.isprintable() or character == "\n" for character in text) and text.isascii()
    assert (lines(log)[-1]["event"], lines(log)[-1]["error"]) == ("failed", "ValueError")
    run_log.event("late")
    assert len(lines(log)) == 2                       # it is closed
    with run_log.writing("-", "judge"), progress.shown("judge"):
        pass
    said = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert said == ["started", "job_started", "job_ended", "ended"]
    with pytest.raises(UsageError, match="--log-json"), run_log.writing(str(tmp_path / "none" / "log"), ""):
        pass


def test_rates_and_hosts_of_several_shards_are_one_line() -> None:
    progress.clear("images: fetch 30 images")
    for shard, host in enumerate(("slow.test", "busy.test")):
        tally = Tally(0, 15, None)
        for _ in range(4 + shard):
            tally.add(host, "ok")
        progress.report("images fetched", shard, tally)
    now = progress.current()
    assert now is not None and (now.done, now.total, now.outcomes["ok"]) == (9, 30, 9)
    step = progress.Step("images fetched", 40, 100, (("a\x1b.test", 3),))
    step.samples.extend([(10.0, 0), (14.0, 10)])
    assert step.line() == "40 of 100 images fetched, 2.5/s, busiest a\\x1b.test 3"
    step.sample(100.0)
    assert step.rate == pytest.approx(30 / 86)
    progress.clear()


def test_a_tally_reports_now_and_then() -> None:
    told, now = [], [0.0]
    tally = Tally(5, 100, lambda tally: told.append(tally.done), lambda: now[0])
    for _ in range(50):
        tally.add("a.test", "ok")
        now[0] += 0.05
    tally.end()
    assert 10 <= len(told) <= 15 and told[-1] == 55


def test_the_table_of_outcomes(capsys: pytest.CaptureFixture[str]) -> None:
    print_outcomes([Funnel("crawl", "page", 4, (("http_404", 1), ("parsed", 3)))], ["a note"])
    said = capsys.readouterr().out
    assert said.index("4 pages") < said.index("parsed") < said.index("75.0 %") < said.index("http_404")
    assert "! a note" in said
