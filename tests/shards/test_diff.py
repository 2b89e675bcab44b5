import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from crawl.stages import Stage, current_manifest, funnel_of
from crawl.tables import read_table, write_table
from filter.records import ImageOutcome, Pair
from shards.diff import diff, summary
from shards.manifest import load_shards
from tests.shards.made_root import Config, Made, commit_shards, made_root, made_sample
from tests.shards.test_inspect import parsed


def later_build(out: str, samples: list[Made], outcomes: dict[str, str], texts: dict[tuple[str, str], str]) -> None:
    """Commits another filter and its shards: `samples` are stored, images and texts end as told."""
    before = current_manifest(out, "filter")
    stage = Stage.open(out, "filter", 1, Config(seed=2), before.inputs)
    rows = [row for path in before.paths("pairs") for row in read_table(path, Pair)]
    rows = [dataclasses.replace(row, outcome=texts.get((row.image_sha256, row.caption),
                                                       outcomes.get(row.image_sha256, row.outcome))) for row in rows]
    pairs = write_table(stage.directory, "pairs-00000-of-00001.parquet", Pair, rows)
    images = write_table(stage.directory, "image_outcomes-00000-of-00001.parquet", ImageOutcome,
                         [ImageOutcome(sha256, outcome) for sha256, outcome in outcomes.items()])
    manifest = stage.commit({"pairs": [pairs], "image_outcomes": [images]}, [funnel_of("filter", "pair", [pairs])])
    commit_shards(out, samples, {"filter": manifest.digest})


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, list[Made]]:
    out = str(tmp_path_factory.mktemp("root"))
    samples = made_root(out, 12)
    first = load_shards(out).directory
    other_text = made_sample(4, caption="another text")
    other_score = made_sample(5)
    other_score = dataclasses.replace(other_score, best=dataclasses.replace(other_score.best, score=0.125))
    stored = [*samples[:2], other_text, other_score, *samples[6:], made_sample(40)]
    later_build(out, stored, {samples[2].best.image_sha256: "low_score", samples[3].best.image_sha256: "not_natural"},
                {(samples[4].best.image_sha256, samples[4].best.caption): "worse_text"})
    return first, load_shards(out).directory, samples


def test_every_difference_has_its_reason(builds: tuple[str, str, list[Made]]) -> None:
    first, second, samples = builds
    found = {(one.change, one.key): one for one in diff(load_shards(first), load_shards(second))}
    keys = [made.best.key for made in samples]
    assert set(found) == {("went", keys[2]), ("went", keys[3]), ("came", made_sample(40).best.key),
                          ("caption", keys[4]), ("score", keys[5])}
    assert found["caption", keys[4]].why == "filter: worse_text"
    assert (found["caption", keys[4]].before, found["caption", keys[4]].after) == (samples[4].best.caption,
                                                                                    "another text")
    assert found["score", keys[5]].score_after == 0.125
    assert found["came", made_sample(40).best.key].why == "crawl: no candidate with its URL"


def test_the_first_stage_that_dropped_it_is_named(builds: tuple[str, str, list[Made]]) -> None:
    first, second, samples = builds
    a, b = load_shards(first), load_shards(second)
    # The made images table knows no bytes, so the trace ends there: image 2 is asked for by nobody, 3 was answered ok.
    why = {one.key: one.why for one in diff(a, b) if one.change == "went"}
    assert why[samples[2].best.key] == "crawl: no candidate with its URL"
    from shards import diff as module
    reasons = module.Reasons(b, [{"key": made.best.key, "sha256": made.best.image_sha256, "caption": made.best.caption,
                                  "image_urls": made.best.image_urls} for made in samples])
    reasons._bytes = {made.best.image_sha256 for made in samples}
    row = {"key": "", "sha256": samples[2].best.image_sha256, "image_urls": []}
    assert reasons.of_image(row) == "filter: low_score"
    assert reasons.of_image(row | {"sha256": samples[0].best.image_sha256}).startswith("shards: kept")


def test_equal_sets_do_not_differ_and_order_is_reversed(builds: tuple[str, str, list[Made]]) -> None:
    first, second, _ = builds
    assert diff(load_shards(first), load_shards(first)) == []
    there, back = (summary(diff(load_shards(one), load_shards(other)))
                   for one, other in ((first, second), (second, first)))
    assert sum(there["went"].values()) == sum(back["came"].values()) == 2
    assert sum(there["came"].values()) == sum(back["went"].values()) == 1


def test_outside_its_root_the_reason_is_unknown(builds: tuple[str, str, list[Made]], tmp_path: Path) -> None:
    first, second, _ = builds
    shutil.copytree(second, tmp_path / "x" / "taken")
    why = {one.why for one in diff(load_shards(first), load_shards(str(tmp_path / "x" / "taken")))
           if one.change == "went"}
    assert why == {"unknown: the other set lies outside its dataset's root"}


def test_the_command_prints_counts_examples_and_json(builds: tuple[str, str, list[Made]],
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    first, second, samples = builds
    assert parsed("diff", first, second) == 0
    printed = capsys.readouterr().out
    assert "2 went" in printed and "worse_text" in printed and samples[4].best.key in printed
    assert parsed("diff", first, second, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["caption"] == {"filter: worse_text": 1} and len(told["changes"]) == 5
