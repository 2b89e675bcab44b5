"""A stricter policy over what is fetched: a new judge, the same parts, no request; a laxer one brings nothing back."""
import pytest

from crawl.images_run import ImagesConfig, fetch_images
from crawl.permission import PermissionRules
from crawl.records import Image, ImageFetch, Signal
from crawl.rounds import CrawlConfig, crawl_pages
from crawl.stages import current
from filter.cases import unarrived_reason
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Judged
from tests.crawl.loopback import quick, serving
from tests.filter.tiny_web import ENGLISH, jpeg, photograph, rows_of, run

UMBRELLA = PermissionRules(umbrella_agents=("GPTBot",))
PAGE = ("<html lang=en><title>Birds of the lake</title><main><p>" + ENGLISH + "<img src={} alt='A grey heron "
        "stands in the shallow water of the lake'><a href=/no>no</a><a href=/private>p</a></main>")


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    with serving() as web:
        web.on("http://a.test/", body=PAGE.format("/1.jpg").encode())
        web.on("http://a.test/no", body=b"<meta name=robots content=noai>" + PAGE.format("/2.jpg").encode())
        web.on("http://a.test/robots.txt", body=b"User-agent: *\nDisallow: /private")
        web.on("http://b.test/", body=PAGE.format("/3.jpg").encode())
        web.on("http://b.test/robots.txt", body=b"User-agent: *\nAllow: /\n\nUser-agent: GPTBot\nDisallow: /\n")
        for number, host in ((1, "a"), (3, "b")):
            web.on(f"http://{host}.test/{number}.jpg", body=jpeg(photograph(number)),
                   headers={"Content-Type": "image/jpeg"})
        (tmp_path / "seeds.txt").write_text("http://a.test/\nhttp://b.test/\n")
        out = str(tmp_path / "out")
        crawl_pages(out, str(tmp_path / "seeds.txt"), CrawlConfig(fetch=quick(), buckets=1, max_rounds=3),
                    web.network(), run)
        yield out, web


def outcomes(manifest):
    return {row.image_url: row.outcome for row in rows_of(manifest, "judged", Judged)}


def test_a_stricter_policy_needs_no_network_and_a_laxer_one_brings_nothing_back(fetched):
    out, web = fetched
    config = ImagesConfig(fetch=quick(), buckets=1)
    usual = judge(out, JudgeConfig(buckets=1), run)
    assert outcomes(usual) == {"http://a.test/1.jpg": "fetch", "http://b.test/3.jpg": "fetch"}
    first = fetch_images(out, config, web.network(), run)
    web.log.clear()

    stricter = judge(out, JudgeConfig(buckets=1, permission=UMBRELLA), run)
    assert outcomes(stricter) == {"http://a.test/1.jpg": "fetch",
                                  "http://b.test/3.jpg": "not_fetched_not_permitted_other_agents"}
    assert stricter.folder != usual.folder and stricter.funnel[0].adds_up()
    assert [row.url for row in rows_of(stricter, "fetch", ImageFetch)] == ["http://a.test/1.jpg"]
    again = fetch_images(out, config, web.network(), run)
    assert [(row.url, row.outcome) for row in rows_of(again, "images", Image)] == [("http://a.test/1.jpg", "ok")]
    assert rows_of(again, "images", Image)[0] in rows_of(first, "images", Image)        # the same bytes, where they lie

    laxer = judge(out, JudgeConfig(buckets=1, permission=PermissionRules(binding=("robots",))), run)
    assert outcomes(laxer) == outcomes(usual)
    for manifest in (usual, stricter, laxer):
        assert manifest.notes[0].startswith(
            "2 pages were refused when they were crawled (1 optout_meta, 1 robots_denied): their bodies were not kept")
    assert web.log == [] and current(out)["judge"] == laxer.folder
    assert "http://a.test/2.jpg" not in {row.url for row in rows_of(laxer, "fetch", ImageFetch)}


def test_the_images_own_signals_are_judged_by_the_same_rules():
    signals = (Signal("robots", "", "allow", "line 2"), Signal("other_agents", "gptbot", "unknown", "line 5"))
    image = Image(url_key="k", url="u", outcome="ok", http_status=200, final_url="u", fetched_at="", signals=signals,
                  permission="allow", format="jpg", width=1, height=1, num_bytes=1, sha256="s", part="p", offset=0,
                  length=1)
    assert unarrived_reason(image, PermissionRules()) == ""
    assert unarrived_reason(image, UMBRELLA) == "not_permitted_other_agents"
    assert unarrived_reason(None, UMBRELLA) == "not_arrived_not_fetched"
