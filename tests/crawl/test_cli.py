"""The commands crawl and images: options in, config and network out, one clear line for what is wrong."""
from __future__ import annotations

import argparse
import json
import pathlib
import types
from collections.abc import Iterator

import pytest

from crawl import cli
from crawl.errors import UsageError
from crawl.images_run import ImagesConfig
from crawl.rounds import CrawlConfig
from tests.crawl.loopback import Web, serving
from tests.crawl.running import run


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.register(parser.add_subparsers())
    args = parser.parse_args(words)
    args.run, args.set = run, []
    args.config = types.SimpleNamespace(crawl=CrawlConfig(), images=ImagesConfig())
    return args


def crawl_args(*words: str) -> argparse.Namespace:
    return parsed("crawl", "--seeds", "s", "--out", "o", *words)


def test_defaults_change_nothing() -> None:
    args = crawl_args()
    assert cli.crawl_from(args, CrawlConfig()) == CrawlConfig()
    assert cli.images_from(parsed("images", "--out", "o"), ImagesConfig()) == ImagesConfig()
    assert cli.network_from(args).allow_hosts == ()


def test_options_reach_config_and_network() -> None:
    args = crawl_args("--agent", "mybot/2.0", "--contact", "https://a.test/bot", "--max-rounds", "3", "--scope", "any",
                      "--max-pages-per-site", "7", "--allow-host", "127.0.0.1:18080", "--min-delay", "0.5",
                      "--resolve", "a.test:80:127.0.0.1", "--connect-to", "::127.0.0.1:8000")
    config = cli.crawl_from(args, CrawlConfig())
    assert (config.fetch.product_token, config.fetch.header) == ("mybot", "mybot/2.0 (+https://a.test/bot)")
    assert (config.max_rounds, config.frontier.scope, config.frontier.max_pages_per_site) == (3, "any", 7)
    network = cli.network_from(args)
    assert (network.allow_hosts, network.min_delay_s) == (("127.0.0.1:18080",), 0.5)
    assert network.resolve == ("a.test:80:127.0.0.1",) and network.connect_to == ("::127.0.0.1:8000",)


@pytest.mark.parametrize(("words", "told"), [
    (("--resolve", "a.test=127.0.0.1"), "a.test=127.0.0.1"), (("--ca-file", "/none.pem"), "/none.pem"),
    (("--min-delay", "-1"), "-1"), (("--connect-to", "x"), "'x'"),
])
def test_bad_network_options(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cli.network_from(crawl_args(*words))


@pytest.mark.parametrize(("words", "told"), [
    (("--agent", "my bot"), "product_token"), (("--contact", "nobody"), "'nobody'"),
    (("--max-rounds", "0"), "max_rounds"), (("--max-pages-per-site", "0"), "max_pages_per_site"),
])
def test_bad_crawl_options(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        cli.crawl_from(crawl_args(*words), CrawlConfig())


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        server.on("http://a.test/", body=b"<img src=a.jpg>")
        yield server


def test_crawl_prints_its_funnel(web: Web, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s").write_text("http://a.test/\n")
    args = parsed("crawl", "--seeds", str(tmp_path / "s"), "--out", str(tmp_path / "out"), "--allow-host", "*.test",
                  "--connect-to", f"::127.0.0.1:{web.port}", "--min-delay", "0", "--json")
    args.set = ["shards=1", "buckets=1"]
    assert cli.crawl_command(args) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["funnel"][0] == {"unit": "page", "rows_in": 1, "outcomes": {"parsed": 1}}
    args.json = False
    assert cli.crawl_command(args) == 0
    assert ["parsed", "1", "100.0", "%"] in [line.split() for line in capsys.readouterr().out.splitlines()]
