"""The plan: every kind is there, every URL has a truth, and none of it depends on the process."""
from __future__ import annotations

import collections
import hashlib
import re
import subprocess
import sys
from html import unescape
from urllib.parse import urljoin

import pytest

from crawl.errors import UsageError
from demo.answers import Answer, answer, image_targets
from demo.census import Kind
from demo.images import DrawJob, draw
from demo.kinds import FOREIGN, IMAGE_KINDS, PAGE_KINDS
from demo.plan import GONE_HOST, WebConfig
from demo.render import targets
from demo.web import SyntheticWeb

PROFILES = ("first", "second")
_URL = re.compile(rb'(?:src|data-[a-z-]+|href|content)="((?:https?:)?/[^"]*|[^":, ]+\.(?:jpg|png|webp))"'
                  rb'|srcset="([^"]*)"')


def body(found: Answer) -> bytes:
    return draw(found.body) if isinstance(found.body, DrawJob) else found.body


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_smallest_web_has_every_kind_of_image_where_it_counts(profile: str, seed: int) -> None:
    web = SyntheticWeb(WebConfig(seed, 50, profile=profile))
    shown = {slot.kind.name for slot in web.slots() if slot.expected == slot.kind.expected}
    assert shown == {kind.name for kind in IMAGE_KINDS[profile]}
    pages = {web.article(host, number).kind.name for host in range(48) for number in range(web.articles_of[host])}
    assert pages == {kind.name for kind in PAGE_KINDS}
    assert {"robots_unreachable", "tdm_reserved", "foreign_page"} <= {slot.expected for slot in web.slots()}


@pytest.mark.parametrize("profile", PROFILES)
def test_two_thirds_are_to_be_kept_and_one_seed_is_not_another(profile: str) -> None:
    webs = [SyntheticWeb(WebConfig(seed, 6300, profile=profile)) for seed in (1, 2)]
    kept = [set(web.scenes_to_keep()) for web in webs]
    assert all(4200 <= len(scenes) <= 0.70 * 6300 for scenes in kept)
    assert kept[0] != kept[1]
    assert len(set(webs[0].hosts)) >= 40
    assert 0.3 <= sum(webs[0].scheme(host) == "https" for host in range(48)) / 48 <= 0.35


@pytest.mark.parametrize("profile", PROFILES)
def test_every_image_number_stands_on_exactly_one_page(profile: str) -> None:
    web = SyntheticWeb(WebConfig(1, 1000, profile=profile))
    numbers = [number for host in range(48) for article in range(web.articles_of[host])
               for number in web.article(host, article).images]
    assert sorted(numbers) == list(range(1000))
    assert all(slot.number in web.article(slot.host, slot.page).images for slot in web.slots())


@pytest.mark.parametrize("profile", PROFILES)
def test_every_image_url_on_every_page_has_a_truth_and_the_served_answer_fits_it(profile: str) -> None:
    web = SyntheticWeb(WebConfig(1, 300, profile=profile))
    expected: collections.Counter[str] = collections.Counter()
    for host, path, is_image in targets(web):
        if is_image:
            continue
        origin = f"{web.scheme(web.numbers[host])}://{host}"
        html = body(answer(web, True, host, path, attempt=2))
        base = re.search(rb'<base href="([^"]+)"', html)
        for plain, srcset in _URL.findall(html):
            for text in ([plain] if plain else [part.split()[0] for part in srcset.split(b",")]):
                url = urljoin(origin + (base[1].decode() if base else path), unescape(text.decode()))
                name = url.split("/")[2]
                truth = web.truth(url)
                if name == GONE_HOST:
                    assert truth.expected == "dead_link"
                    continue
                if name not in web.numbers:
                    continue
                found = answer(web, True, name, url.partition(name)[2], attempt=2)
                served_image = dict(found.headers)["Content-Type"].startswith("image/") and found.status == 200
                assert not served_image or truth.expected != "unknown_url", url
                expected[truth.expected] += 1
                if truth.expected == "keep":
                    assert found.status in (200, 302) and truth.true_captions and truth.scene_id is not None
    assert {slot.expected for slot in web.slots()} <= set(expected) | {"robots_unreachable"}


def test_every_served_image_has_a_truth_and_strangers_have_none() -> None:
    web = SyntheticWeb(WebConfig(1, 120))
    for slot in web.slots():
        for url in (web.shown_url(slot), *(f"http://{host}{path}" for host, path in image_targets(web, slot))):
            assert web.truth(url).expected != "unknown_url", url
    for url in ("http://h000.test/img/9999999.jpg", "http://elsewhere.test/img/0000001.jpg", "http://h000.test/x.jpg",
                "http://h001.test/img/0000000.jpg", "not a url", "http://h000.test/img/0000000.jpg?x=1"):
        assert web.truth(url) == type(web.truth(url))(None, "unknown_url", ())


def test_a_true_caption_stands_on_the_page_of_every_scene_to_keep() -> None:
    web = SyntheticWeb(WebConfig(2, 300))
    for number in web.scenes_to_keep():
        slot = web.slot(number)
        path = web.article(slot.host, slot.page).path
        html = " ".join(unescape(body(answer(web, True, web.hosts[slot.host], path)).decode("latin-1")).lower().split())
        assert any(caption in html for caption in web.scene(number).captions), number


def test_duplicates_show_a_scene_to_keep_and_none_of_its_captions() -> None:
    from demo.texts import texts_of
    web = SyntheticWeb(WebConfig(1, 1000))
    kept = set(web.scenes_to_keep())
    copies = [slot for slot in web.slots() if slot.kind.name == "duplicate"]
    assert len(copies) > 30
    for slot in copies:
        assert slot.scene_id in kept
        texts = texts_of(web, slot, "open")
        assert not {texts.alt.lower(), texts.figcaption.lower()} & set(web.truth(web.image_url(slot)).true_captions)


def test_one_caption_stands_under_many_images_and_placeholders_are_the_same_bytes() -> None:
    from demo.texts import SHARED_GROUP, texts_of
    web = SyntheticWeb(WebConfig(1, 2000))
    shared = [texts_of(web, slot, "open") for slot in web.slots() if slot.kind.name == "shared_caption"]
    assert min(collections.Counter(texts.alt or texts.figcaption for texts in shared).values()) >= SHARED_GROUP
    blanks = [image_targets(web, slot)[0] for slot in web.slots() if slot.kind.name == "placeholder"][:6]
    assert len(set(blanks)) == 6
    assert len({body(answer(web, True, *target)) for target in blanks}) == 1


def test_foreign_pages_are_sent_in_their_charset() -> None:
    web = SyntheticWeb(WebConfig(1, 300))
    seen = set()
    for host in range(48):
        for number in range(web.articles_of[host]):
            article = web.article(host, number)
            if article.kind.name in FOREIGN:
                found = answer(web, True, web.hosts[host], article.path)
                declared = dict(found.headers)["Content-Type"] + body(found)[:200].decode("ascii", "replace")
                seen.add((article.kind.name, re.search(r"charset=\W?([\w-]+)", declared)[1]))  # type: ignore[index]
    assert seen == {("german", "iso-8859-1"), ("french", "utf-8"), ("russian", "windows-1251"),
                    ("japanese", "shift_jis")}


DIGEST = """
import hashlib
from demo.answers import answer
from demo.images import DrawJob, draw
from demo.plan import WebConfig
from demo.render import targets
from demo.web import SyntheticWeb
web = SyntheticWeb(WebConfig(4, 60))
sha = hashlib.sha256()
for host, path, _ in list(targets(web))[::5]:
    found = answer(web, True, host, path)
    sha.update(repr((host, path, found.status, found.headers, found.pace)).encode())
    sha.update(draw(found.body) if isinstance(found.body, DrawJob) else found.body)
print(sha.hexdigest())
"""


def test_another_process_serves_the_same_bytes() -> None:
    runs = [subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True,
                           env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(filter(None, sys.path))}).stdout
            for seed in ("1", "2")]
    assert len(runs[0].strip()) == len(hashlib.sha256().hexdigest()) and runs[0] == runs[1]


def test_a_million_images_cost_nothing_until_asked_for() -> None:
    web = SyntheticWeb(WebConfig(1, 1_000_000))
    assert len({web.slot(number).page for number in range(0, 1_000_000, 50_000)}) > 5
    last = web.slot(999_999)
    assert web.slot_at(web.image_url(last)) == (last, "")
    assert web.images.counts["keep"] > 650_000


@pytest.mark.parametrize("bad", [{"num_images": 49}, {"num_images": 1_000_001}, {"hosts": 39}, {"profile": "third"},
                                 {"seed": -1}])
def test_impossible_configs_name_the_field_the_value_and_the_way_out(bad: dict[str, int]) -> None:
    (name, value), = bad.items()
    with pytest.raises(UsageError, match=f"{name}={value!r}.*choose"):
        WebConfig(**bad)  # type: ignore[arg-type]


def test_kinds_have_stable_snake_case_reasons() -> None:
    kinds: list[Kind] = [*PAGE_KINDS, *IMAGE_KINDS["first"], *IMAGE_KINDS["second"]]
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", kind.expected) for kind in kinds)


@pytest.mark.parametrize("profile", PROFILES)
def test_every_article_is_at_most_four_links_from_a_seed_and_the_trap_goes_on(profile: str) -> None:
    web = SyntheticWeb(WebConfig(1, 1200, profile=profile))
    due, seen = set(web.seeds), set(web.seeds)
    for _ in range(5):
        found: set[str] = set()
        for url in due:
            host, path = url.split("/", 3)[2:]
            reply = answer(web, url.startswith("https:"), host, "/" + path)
            texts = [re.sub(rb"<img[^>]*>", b"", body(reply))] if reply.status == 200 and not reply.pace else []
            links = re.findall(rb'<a href="([^"]+)"', texts[0]) if texts else []
            links += [value.encode() for name, value in reply.headers if name == "Location"]
            found |= {urljoin(url, unescape(link.decode())) for link in links}
        due = {url for url in found - seen if not url.endswith((".jpg", ".png", ".webp"))}
        seen |= due
    articles = {web.origin(host) + web.article(host, number).path
                for host in range(48) for number in range(web.articles_of[host])}
    assert articles <= seen
    assert due and all("/calendar/" in url or "/chain/" in url or "h019" in url for url in due), sorted(due)[:5]
