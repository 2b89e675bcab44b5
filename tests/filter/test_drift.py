"""An image that is not the one its table saw: said of the row that says so, dropped or marked."""
from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from typing import Any

import pytest

from crawl.records import Image
from filter.drift import Drift, DriftRules, drift_of
from filter.facts import image_facts
from filter.features_run import FeaturesConfig, features
from filter.filter_config import FilterConfig
from filter.filter_run import filter_pairs
from filter.image_work import image_sandbox, measured_images
from filter.judge_run import judge
from filter.judging import JudgeConfig
from filter.records import Best, ImageFacts, ImageOutcome, Pair
from tests.filter import tiny_web
from tests.filter.tiny_web import candidate, jpeg, photograph, rows_of, texts

HERON, RECODED, BARN = jpeg(photograph(1)), jpeg(photograph(1), 60), jpeg(photograph(2))


def facts_of(data: bytes) -> ImageFacts:
    row = Image(url_key="", url="", outcome="ok", http_status=200, final_url="", fetched_at="", signals=(),
                permission="", format="jpg", width=400, height=320, num_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(), part="p", offset=0, length=len(data))
    with image_sandbox(10_000_000) as box:
        return next(iter(measured_images(box, [(row, data)])))


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def test_the_verdict_on_the_bytes_that_arrived() -> None:
    heron, recoded, barn = facts_of(HERON), facts_of(RECODED), facts_of(BARN)
    md5, phash = f"md5:{hashlib.md5(HERON).hexdigest()}", f"perceptual:{heron.perceptual_hash}"
    assert drift_of((), heron, 8) == Drift("", -1)
    assert drift_of((sha256(HERON), md5), heron, 8) == Drift("same", -1)
    assert drift_of((sha256(HERON), phash), heron, 8) == Drift("same", 0)
    assert drift_of((md5,), recoded, 8) == Drift("drifted", -1)
    verdict, near = drift_of((sha256(HERON), phash), recoded, 8)
    assert verdict == "drifted" and 0 <= near <= 8                 # another file, the same picture
    assert drift_of((phash,), recoded, 8) == Drift("same", near)
    verdict, far = drift_of((phash,), barn, 8)
    assert verdict == "drifted" and far > 16
    assert drift_of((phash,), dataclasses.replace(barn, perceptual_hash=""), 8) == Drift("", -1)
    assert image_facts(Image(**{field.name: "" for field in dataclasses.fields(Image)}), HERON).md5 == ""


@pytest.mark.parametrize("rules", [{"action": "no"}, {"radius": 65}])
def test_rules_are_checked(rules: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        DriftRules(**rules)


SITE = "https://a.example"
ROWS = [
    # Of two rows of one URL one was made from other bytes: its caption goes, the other's stays.
    candidate(f"{SITE}/heron.jpg", "", page_key="1" * 32, expected=(sha256(BARN),), extras='{"n":1}',
              texts=texts(alt="A red barn stands behind the old wooden fence")),
    candidate(f"{SITE}/heron.jpg", "", page_key="2" * 32, expected=(sha256(HERON),), extras='{"n":2}',
              texts=texts(alt="A grey heron stands in the shallow water of the lake")),
    candidate(f"{SITE}/gone.jpg", "", page_key="3" * 32, expected=(sha256(RECODED), "perceptual:" + "0" * 16),
              texts=texts(alt="A boat with a white sail leaves the harbour")),
    candidate(f"{SITE}/tiny.jpg", "", page_key="4" * 32, expected=(sha256(RECODED),),
              texts=texts(alt="A boat with a brown sail leaves the harbour")),
]


def built(out: str, rules: DriftRules) -> dict[str, Any]:
    tiny_web.commit_crawl(out, ROWS)
    judged = judge(out, JudgeConfig(buckets=1), tiny_web.run)
    tiny_web.commit_images(out, judged, {f"{SITE}/heron.jpg": HERON, f"{SITE}/gone.jpg": BARN,
                                         f"{SITE}/tiny.jpg": jpeg(photograph(3, (200, 200)))})
    features(out, FeaturesConfig(buckets=1), tiny_web.run)
    done = filter_pairs(out, FilterConfig(min_score=0.1, buckets=1, drift=rules), tiny_web.run)
    assert all(line.adds_up() for line in done.funnel)
    return {"best": {row.image_url[18:]: row for row in rows_of(done, "best", Best)},
            "pairs": {row.caption[:10]: row for row in rows_of(done, "pairs", Pair)},
            "images": sorted(row.outcome for row in rows_of(done, "image_outcomes", ImageOutcome))}


def test_a_pair_whose_image_has_changed_is_dropped_and_says_how_far(tmp_path: pathlib.Path) -> None:
    found = built(str(tmp_path), DriftRules())
    assert {name: row.outcome for name, row in found["pairs"].items()} == {
        "A red barn": "drifted", "A grey her": "kept", "A boat wit": "drifted"}
    assert found["images"] == ["drifted", "kept", "too_small"]
    best, = found["best"].values()
    assert (best.caption[:12], best.extras, best.drift, best.drift_distance) == ("A grey heron", '{"n":2}', "same", -1)
    gone = [row for row in found["pairs"].values() if row.image_url.endswith("gone.jpg")]
    assert all(row.drift == "drifted" and row.drift_distance > 8 for row in gone)


def test_keep_marks_the_sample(tmp_path: pathlib.Path) -> None:
    found = built(str(tmp_path), DriftRules(action="keep"))
    assert found["images"] == ["kept", "kept", "too_small"]
    assert {name: row.drift for name, row in found["best"].items()} == {"heron.jpg": "same", "gone.jpg": "drifted"}
    assert found["best"]["gone.jpg"].drift_distance > 8
