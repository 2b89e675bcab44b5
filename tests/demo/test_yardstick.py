"""The yardstick on a perfect answer and on answers that are wrong in each way."""
from __future__ import annotations

import pytest

from demo.plan import WebConfig
from demo.web import SyntheticWeb
from demo.yardstick import measure

Kept = list[tuple[str, tuple[str, ...], str]]


@pytest.fixture(scope="module")
def web() -> SyntheticWeb:
    return SyntheticWeb(WebConfig(1, 300))


@pytest.fixture
def perfect(web: SyntheticWeb) -> Kept:
    return [(web.shown_url(web.slot(number)), (), web.scene(number).captions[number % 4].capitalize() + ".")
            for number in web.scenes_to_keep()]


def of_kind(web: SyntheticWeb, name: str) -> str:
    return web.image_url(next(slot for slot in web.slots()
                              if slot.kind.name == name and slot.expected == slot.kind.expected))


def test_a_perfect_answer(web: SyntheticWeb, perfect: Kept) -> None:
    measured = measure(perfect, web)
    assert measured.precision == measured.recall == 1.0 and not measured.mistakes
    assert measured.kept == measured.right == measured.to_keep == len(perfect)


def test_an_empty_answer(web: SyntheticWeb, perfect: Kept) -> None:
    measured = measure([], web)
    assert (measured.precision, measured.recall, measured.to_keep) == (0.0, 0.0, len(perfect))


def test_half_an_answer_has_half_the_recall(web: SyntheticWeb, perfect: Kept) -> None:
    measured = measure(perfect[::2], web)
    assert measured.precision == 1.0 and measured.recall == pytest.approx(0.5, abs=0.01)


def test_a_caption_of_another_scene_is_wrong(web: SyntheticWeb, perfect: Kept) -> None:
    broken = [(url, others, caption) for (url, others, _), (_, _, caption)
              in zip(perfect, perfect[1:] + perfect[:1], strict=True)]
    measured = measure(broken, web)
    assert measured.right == 0 and measured.precision == measured.recall == 0.0
    assert {expected for _, _, expected in measured.mistakes} == {"wrong_caption"}


@pytest.mark.parametrize("kind", ["shared_caption", "alt_spam", "text_screenshot", "robots_path", "optout_header",
                                  "tdm_header", "too_small", "placeholder"])
def test_a_distractor_kept_is_a_mistake_with_the_reason_it_should_have_had(
        web: SyntheticWeb, perfect: Kept, kind: str) -> None:
    url = of_kind(web, kind)
    truth = web.truth(url)
    caption = truth.true_captions[0] if truth.true_captions else "a large red star on the green grass"
    measured = measure([*perfect, (url, (), caption)], web)
    assert measured.mistakes == ((url, caption, truth.expected),) and truth.expected != "keep"
    assert measured.recall == 1.0 and measured.precision == len(perfect) / (len(perfect) + 1)


def test_a_copy_with_a_true_caption_is_right_once(web: SyntheticWeb, perfect: Kept) -> None:
    copy = of_kind(web, "duplicate")
    scene = web.truth(copy).scene_id
    caption = web.truth(copy).true_captions[0]
    original = next(kept for kept in perfect if web.truth(kept[0]).scene_id == scene)
    others = [kept for kept in perfect if kept != original]
    assert measure([*others, (copy, (original[0],), caption)], web).recall == 1.0
    assert measure([*perfect, (copy, (), caption)], web).mistakes == ((copy, caption, "kept_twice"),)


def test_a_scene_under_two_pages_of_which_one_is_forbidden(web: SyntheticWeb) -> None:
    slot = next(slot for slot in web.slots() if slot.expected == "page_opted_out" and slot.kind.name == "keep")
    url = web.image_url(slot)
    assert measure([(url, (), web.scene(slot.number).captions[0])], web).mistakes[0][2] == "page_opted_out"


def test_an_unknown_url_is_looked_up_under_the_others(web: SyntheticWeb, perfect: Kept) -> None:
    url, _, caption = perfect[0]
    assert measure([("http://cache.example/1.jpg", (url,), caption)], web).right == 1
    assert measure([("http://cache.example/1.jpg", (), caption)], web).mistakes[0][2] == "unknown_url"
