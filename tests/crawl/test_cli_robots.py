"""`imagebert crawl robots`: the decision, the line that made it, and nothing asked that need not be."""
from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

import imagebert
from crawl import robots_explain
from crawl.policy import FetchPolicy
from tests.crawl.loopback import Web, quick, serving

RULES = (b"User-agent: *\nDisallow: /x\nAllow: /x/open\n\nUser-agent: mybot\nCrawl-delay: 4\nDisallow: /y*.php$\n"
         b"Sitemap: https://a.test/s.xml\n")


@pytest.fixture
def rules(tmp_path: pathlib.Path) -> str:
    (tmp_path / "robots.txt").write_bytes(RULES)
    return str(tmp_path / "robots.txt")


def told(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[dict[str, Any]]]:
    status = imagebert.main(["crawl", "robots", *words, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_of_a_file_the_line_and_the_group_are_named(rules: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = told(capsys, rules, "--url", "/x/1", "/x/open/1", "/z")
    assert status == 1
    assert [(one["allowed"], one["group"], one["line"], one["rule"]) for one in found] == [
        (False, "*", 2, "Disallow: /x"), (True, "*", 3, "Allow: /x/open"), (True, "*", 0, "")]
    status, found = told(capsys, rules, "--agent", "MyBot/2.0", "--url", "/x/1")
    assert (status, found[0]["group"], found[0]["crawl_delay_s"]) == (0, "mybot", 4.0)
    assert found[0]["sitemaps"] == ["https://a.test/s.xml"]
    assert imagebert.main(["crawl", "robots", rules, "--agent", "mybot", "--url", "/y/a.php"]) == 1
    printed = capsys.readouterr().out
    assert "denied   https://example.com/y/a.php" in printed and "line 7, group 'mybot': Disallow: /y*.php$" in printed


def test_a_preference_in_the_file_is_the_reason(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r").write_text("User-agent: *\nContent-Signal: ai-train=no\nAllow: /\n")
    status, found = told(capsys, str(tmp_path / "r"))
    assert (status, found[0]["outcome"]) == (1, "optout_robots") and "robots.txt line 2" in found[0]["why"]


def test_a_file_that_is_too_long_ends_at_its_last_whole_line() -> None:
    body = b"User-agent: *\n#" + b"x" * 524_260 + b"\nDisallow: /z\n"
    found = robots_explain.explain_file(body, ["/z"], FetchPolicy())
    assert found[0].allowed and found[0].line == 0


def network_words(web: Web) -> list[str]:
    return ["--allow-host", "*.test", "--connect-to", f"::127.0.0.1:{web.port}", "--min-delay", "0"]


def test_of_a_url_its_site_is_asked_and_the_url_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as web:
        web.on("http://a.test/robots.txt", status=301, headers={"Location": "http://www.a.test/robots.txt"})
        web.on("http://www.a.test/robots.txt", body=RULES)
        status, found = told(capsys, "http://a.test/x/1", *network_words(web))
        assert (status, found[0]["line"], found[0]["robots"]) == (1, 2, "ok")
        assert web.asked("a.test") == [] and [path for _, _, path in web.log].count("/robots.txt") == 2


@pytest.mark.parametrize(("code", "allowed", "robots", "why"), [
    (404, True, "unavailable", "2.3.1.3"), (403, False, "forbidden", "robots_forbidden=disallow"),
    (503, False, "unreachable", "2.3.1.4"), (429, False, "unreachable", "status 429")])
def test_without_rules_the_status_is_the_reason(code: int, allowed: bool, robots: str, why: str) -> None:
    with serving() as web:
        web.on("http://a.test/robots.txt", status=code)
        found = robots_explain.ask("http://a.test/p", quick(retries=0), web.network())
    assert (found.allowed, found.robots, found.http_status) == (allowed, robots, code)
    assert why in found.why


def test_an_umbrella_agent_is_named() -> None:
    policy = FetchPolicy(umbrella_agents=("GPTBot",))
    found = robots_explain.explain_file(b"User-agent: GPTBot\nDisallow: /\n", ["/"], policy)[0]
    assert (found.allowed, found.group, found.line) == (False, "gptbot", 2)


def test_a_private_address_is_not_dialled(capsys: pytest.CaptureFixture[str]) -> None:
    with serving() as web:
        status, found = told(capsys, f"http://127.0.0.1:{web.port}/", "--contact", "https://a.test/bot")
        assert (status, found[0]["allowed"], web.log) == (1, False, [])
        assert found[0]["outcome"].startswith("blocked_")


@pytest.mark.parametrize(("words", "said"), [
    (("/no/such/file",), "/no/such/file"), (("ftp://a.test/",), "ftp://a.test/"),
    (("https://a.example/",), "--contact"), (("https://a.example/", "--url", "/x"), "--url")])
def test_bad_input_is_one_line(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert imagebert.main(["crawl", "robots", *words]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
