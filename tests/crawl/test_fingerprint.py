"""Pages that say the same have one fingerprint, pages that do not have another."""
from __future__ import annotations

import random

import pytest

from crawl.fingerprint import fingerprint
from tests.crawl.pages import URL, candidates, parsed


def of(html: str, url: str = URL) -> str:
    return fingerprint(parsed(html, url).document.text, url, candidates(html, url))


def words(seed: int, count: int) -> str:
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randrange(3, 10))) for _ in range(count))


BODY = f"<p>{words(1, 300)}</p><img src=/a.jpg>"


@pytest.mark.parametrize("other", [
    BODY.replace("<p>", "<p>17 views since 2031-05-17: "[:4] + "17 / 2031-05-17 "),
    BODY + "<img src='/count.gif?visit=77' width=1 height=1>",
    BODY.replace("<p>", "<p class=new>\n\n"),
    "<img src=/a.jpg>" + BODY,
])
def test_counters_dates_pixels_and_markup_change_nothing(other: str) -> None:
    assert of(other) == of(BODY) and other != BODY


def test_the_name_that_was_asked_for_changes_nothing() -> None:
    first, second = (of(f"<h1>{name}: nothing here</h1>{BODY}", f"http://a.test/x/{name}?q={name}-2")
                     for name in ("red-bus", "b-lue-horse"))
    assert first == second


def test_another_picture_or_another_text_is_another_page() -> None:
    assert of(BODY.replace("/a.jpg", "/b.jpg")) != of(BODY)
    assert of(f"<p>{words(2, 300)}</p><img src=/a.jpg>") != of(BODY)


def test_articles_between_one_long_menu_differ_and_pages_that_differ_in_a_word_mostly_do_not() -> None:
    menu = words(3, 400)
    articles = {of(f"<p>{menu}</p><p>{words(100 + n, 80)}</p>") for n in range(200)}
    assert len(articles) > 100                                # far from the four of five that close a template
    almost = [of(f"<p>{menu} {words(100 + n, 1)}</p>") for n in range(200)]
    assert len(set(almost)) < 40


def test_other_scripts_and_no_text_at_all() -> None:
    text = "赤いバスが橋を渡ります。青い馬が草を食べています。" * 3
    assert of(f"<p>{text}") != of(f"<p>{text}黒い猫が眠っています。白い犬が走ります。")
    assert of(f"<p>{text}1") == of(f"<p>{text}2")
    assert of("") == of("<div></div>") and len(of("")) == 16
